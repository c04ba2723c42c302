// Group norm with an optional SiLU behind it, for bfloat16 tensors that are channels-last in memory (N, H*W, C).
// The moments of a channel are sums over rows, so every loop below runs along C, where the compiler vectorises it.
#include <torch/extension.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

inline float widen(uint16_t v) {
  uint32_t u = static_cast<uint32_t>(v) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

inline uint16_t narrow(float f) {  // to the nearest, ties to even
  uint32_t u;
  std::memcpy(&u, &f, 4);
  u += 0x7FFFu + ((u >> 16) & 1u);
  return static_cast<uint16_t>(u >> 16);
}

inline const uint16_t* bits(const at::Tensor& t) { return reinterpret_cast<const uint16_t*>(t.data_ptr()); }

}  // namespace

std::vector<at::Tensor> forward(at::Tensor x, at::Tensor weight, at::Tensor bias, int64_t groups, double eps, bool silu) {
  x = x.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t N = x.size(0), C = x.size(1), HW = x.size(2) * x.size(3), D = C / groups;
  auto y = at::empty_like(x);
  auto mean = at::empty({N, groups}, at::kFloat), rstd = at::empty({N, groups}, at::kFloat);
  const auto wf = weight.to(at::kFloat).contiguous(), bf = bias.to(at::kFloat).contiguous();
  const float *w = wf.data_ptr<float>(), *b = bf.data_ptr<float>();
  float *mp = mean.data_ptr<float>(), *rp = rstd.data_ptr<float>();
  const uint16_t* xp = bits(x);
  uint16_t* yp = reinterpret_cast<uint16_t*>(y.data_ptr());
  at::parallel_for(0, N, 1, [&](int64_t from, int64_t to) {
    std::vector<float> buffer(4 * C);
    float *s = buffer.data(), *q = s + C, *scale = q + C, *shift = scale + C;
    for (int64_t n = from; n < to; n++) {
      const uint16_t* __restrict__ xn = xp + n * HW * C;
      uint16_t* __restrict__ yn = yp + n * HW * C;
      std::fill(s, s + 2 * C, 0.f);
      for (int64_t i = 0; i < HW; i++)
        for (int64_t c = 0; c < C; c++) {
          const float v = widen(xn[i * C + c]);
          s[c] += v;
          q[c] += v * v;
        }
      for (int64_t g = 0; g < groups; g++) {
        double a = 0, aa = 0;
        for (int64_t c = g * D; c < (g + 1) * D; c++) a += s[c], aa += q[c];
        const double m = a / (HW * D), variance = std::max(0.0, aa / (HW * D) - m * m);
        const float r = static_cast<float>(1.0 / std::sqrt(variance + eps));
        mp[n * groups + g] = static_cast<float>(m);
        rp[n * groups + g] = r;
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
          scale[c] = r * w[c];
          shift[c] = b[c] - static_cast<float>(m) * scale[c];
        }
      }
      for (int64_t i = 0; i < HW; i++) {
        if (silu) {
#pragma omp simd
          for (int64_t c = 0; c < C; c++) {
            const float z = widen(xn[i * C + c]) * scale[c] + shift[c];
            yn[i * C + c] = narrow(z / (1.f + expf(-z)));
          }
        } else {
#pragma omp simd
          for (int64_t c = 0; c < C; c++) yn[i * C + c] = narrow(widen(xn[i * C + c]) * scale[c] + shift[c]);
        }
      }
    }
  });
  return {y, mean, rstd};
}

std::vector<at::Tensor> backward(
    at::Tensor dy, at::Tensor x, at::Tensor mean, at::Tensor rstd, at::Tensor weight, at::Tensor bias, bool silu) {
  x = x.contiguous(at::MemoryFormat::ChannelsLast);
  dy = dy.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t N = x.size(0), C = x.size(1), HW = x.size(2) * x.size(3), groups = mean.size(1), D = C / groups;
  auto dx = at::empty_like(x);
  auto sums = at::empty({N, 2, C}, at::kFloat);  // each image's share of the weight's and bias's gradients
  const auto wf = weight.to(at::kFloat).contiguous(), bf = bias.to(at::kFloat).contiguous();
  const float *w = wf.data_ptr<float>(), *b = bf.data_ptr<float>();
  const float *mp = mean.data_ptr<float>(), *rp = rstd.data_ptr<float>();
  float* sp = sums.data_ptr<float>();
  const uint16_t *xp = bits(x), *gp = bits(dy);
  uint16_t* dp = reinterpret_cast<uint16_t*>(dx.data_ptr());
  at::parallel_for(0, N, 1, [&](int64_t from, int64_t to) {
    std::vector<float> buffer(7 * C), kept(HW * C);
    float *A = buffer.data(), *B = A + C, *scale = B + C, *shift = scale + C, *P = shift + C, *Q = P + C, *R = Q + C;
    float* __restrict__ dz = kept.data();
    for (int64_t n = from; n < to; n++) {
      const uint16_t* __restrict__ xn = xp + n * HW * C;
      const uint16_t* __restrict__ gn = gp + n * HW * C;
      uint16_t* __restrict__ dn = dp + n * HW * C;
      for (int64_t c = 0; c < C; c++) {
        const float m = mp[n * groups + c / D], r = rp[n * groups + c / D];
        scale[c] = r * w[c];
        shift[c] = b[c] - m * scale[c];
        A[c] = B[c] = 0.f;
      }
      for (int64_t i = 0; i < HW; i++) {
        if (silu) {
#pragma omp simd
          for (int64_t c = 0; c < C; c++) {
            const float v = widen(xn[i * C + c]), z = v * scale[c] + shift[c];
            const float sigmoid = 1.f / (1.f + expf(-z));
            const float d = widen(gn[i * C + c]) * sigmoid * (1.f + z * (1.f - sigmoid));
            dz[i * C + c] = d;
            A[c] += d;
            B[c] += d * v;
          }
        } else {
#pragma omp simd
          for (int64_t c = 0; c < C; c++) {
            const float d = widen(gn[i * C + c]);
            dz[i * C + c] = d;
            A[c] += d;
            B[c] += d * widen(xn[i * C + c]);
          }
        }
      }
      for (int64_t g = 0; g < groups; g++) {
        const float m = mp[n * groups + g], r = rp[n * groups + g];
        double c1 = 0, c2 = 0;
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
          const float along = r * (B[c] - m * A[c]);
          sp[n * 2 * C + c] = along;
          sp[n * 2 * C + C + c] = A[c];
          c1 += w[c] * A[c];
          c2 += w[c] * along;
        }
        c1 /= HW * D;
        c2 /= HW * D;
        for (int64_t c = g * D; c < (g + 1) * D; c++) {
          P[c] = scale[c];
          Q[c] = static_cast<float>(-r * r * c2);
          R[c] = static_cast<float>(r * r * c2 * m - r * c1);
        }
      }
      for (int64_t i = 0; i < HW; i++) {
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
          dn[i * C + c] = narrow(dz[i * C + c] * P[c] + widen(xn[i * C + c]) * Q[c] + R[c]);
      }
    }
  });
  const auto total = sums.sum(0).to(weight.scalar_type());
  return {dx, total[0].contiguous(), total[1].contiguous()};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("forward", &forward);
  m.def("backward", &backward);
}
