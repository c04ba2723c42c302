/* Group norm with an optional SiLU behind it, for bfloat16 images that are channels-last in memory (N, HW, C).
   The moments of a channel are sums over rows, so every inner loop runs along C, where the compiler vectorises it. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

static inline float widen(bf16 v) {
  uint32_t u = (uint32_t)v << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static inline bf16 narrow(float f) { /* to the nearest, ties to even */
  uint32_t u;
  memcpy(&u, &f, 4);
  return (bf16)((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}

static void forward_one(const bf16 *restrict x, const float *w, const float *b, bf16 *restrict y, float *mean,
                        float *rstd, long HW, long C, long G, float eps, int silu, float *restrict room) {
  float *s = room, *q = s + C, *scale = q + C, *shift = scale + C;
  const long D = C / G;
  memset(s, 0, 2 * C * sizeof(float));
  for (long i = 0; i < HW; i++)
    for (long c = 0; c < C; c++) {
      const float v = widen(x[i * C + c]);
      s[c] += v;
      q[c] += v * v;
    }
  for (long g = 0; g < G; g++) {
    double a = 0, aa = 0;
    for (long c = g * D; c < (g + 1) * D; c++) a += s[c], aa += q[c];
    const double m = a / (HW * D), v = aa / (HW * D) - m * m;
    mean[g] = (float)m;
    rstd[g] = (float)(1.0 / sqrt((v > 0 ? v : 0) + eps));
    for (long c = g * D; c < (g + 1) * D; c++) {
      scale[c] = rstd[g] * w[c];
      shift[c] = b[c] - mean[g] * scale[c];
    }
  }
  for (long i = 0; i < HW; i++) {
    if (silu) {
#pragma omp simd
      for (long c = 0; c < C; c++) {
        const float z = widen(x[i * C + c]) * scale[c] + shift[c];
        y[i * C + c] = narrow(z / (1.f + expf(-z)));
      }
    } else {
#pragma omp simd
      for (long c = 0; c < C; c++) y[i * C + c] = narrow(widen(x[i * C + c]) * scale[c] + shift[c]);
    }
  }
}

/* sums: 2 C, this image's share of the gradients of weight and bias */
static void backward_one(const bf16 *restrict dy, const bf16 *restrict x, const float *mean, const float *rstd,
                         const float *w, const float *b, bf16 *restrict dx, float *sums, long HW, long C, long G,
                         int silu, float *restrict room) {
  float *A = room, *B = A + C, *scale = B + C, *shift = scale + C, *P = shift + C, *Q = P + C, *R = Q + C;
  float *restrict dz = R + C;
  const long D = C / G;
  for (long c = 0; c < C; c++) {
    scale[c] = rstd[c / D] * w[c];
    shift[c] = b[c] - mean[c / D] * scale[c];
    A[c] = B[c] = 0.f;
  }
  for (long i = 0; i < HW; i++) {
    if (silu) {
#pragma omp simd
      for (long c = 0; c < C; c++) {
        const float v = widen(x[i * C + c]), z = v * scale[c] + shift[c], sigmoid = 1.f / (1.f + expf(-z));
        const float d = widen(dy[i * C + c]) * sigmoid * (1.f + z * (1.f - sigmoid));
        dz[i * C + c] = d;
        A[c] += d;
        B[c] += d * v;
      }
    } else {
#pragma omp simd
      for (long c = 0; c < C; c++) {
        const float d = widen(dy[i * C + c]);
        dz[i * C + c] = d;
        A[c] += d;
        B[c] += d * widen(x[i * C + c]);
      }
    }
  }
  for (long g = 0; g < G; g++) {
    const float m = mean[g], r = rstd[g];
    double c1 = 0, c2 = 0;
    for (long c = g * D; c < (g + 1) * D; c++) {
      sums[c] = r * (B[c] - m * A[c]);
      sums[C + c] = A[c];
      c1 += w[c] * A[c];
      c2 += w[c] * sums[c];
    }
    c1 /= HW * D;
    c2 /= HW * D;
    for (long c = g * D; c < (g + 1) * D; c++) {
      P[c] = scale[c];
      Q[c] = (float)(-r * r * c2);
      R[c] = (float)(r * r * c2 * m - r * c1);
    }
  }
  for (long i = 0; i < HW; i++) {
#pragma omp simd
    for (long c = 0; c < C; c++)
      dx[i * C + c] = narrow(dz[i * C + c] * P[c] + widen(x[i * C + c]) * Q[c] + R[c]);
  }
}

void norm_forward(const bf16 *x, const float *w, const float *b, bf16 *y, float *mean, float *rstd, long N, long HW,
                  long C, long G, float eps, int silu, int threads) {
#pragma omp parallel num_threads(threads)
  {
    float *room = malloc(4 * C * sizeof(float));
#pragma omp for schedule(static)
    for (long n = 0; n < N; n++)
      forward_one(x + n * HW * C, w, b, y + n * HW * C, mean + n * G, rstd + n * G, HW, C, G, eps, silu, room);
    free(room);
  }
}

void norm_backward(const bf16 *dy, const bf16 *x, const float *mean, const float *rstd, const float *w, const float *b,
                   bf16 *dx, float *sums, long N, long HW, long C, long G, int silu, int threads) {
#pragma omp parallel num_threads(threads)
  {
    float *room = malloc((7 + HW) * C * sizeof(float));
#pragma omp for schedule(static)
    for (long n = 0; n < N; n++)
      backward_one(dy + n * HW * C, x + n * HW * C, mean + n * G, rstd + n * G, w, b, dx + n * HW * C, sums + n * 2 * C,
                   HW, C, G, silu, room);
    free(room);
  }
}
