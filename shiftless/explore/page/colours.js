// Heat maps and feature pictures as small canvases, to be drawn over photos.

// matplotlib's "inferno" at nine places, from dark to bright; colours between them are interpolated.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
  [249, 201, 50], [252, 255, 164],
];

const TABLE = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((value, i) => Math.round(value + (INFERNO[low + 1][i] - value) * (place - low)));
});

/** A canvas of h x w pixels whose colours are `colour(data, i)`: [red, green, blue, opacity]. */
function canvasOf([h, w], colour) {
  const canvas = document.createElement("canvas");
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  for (let i = 0; i < w * h; i += 1) image.data.set(colour(i), 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Heat h w, 256 levels: glowing where high, clear where low. */
export const heatCanvas = ({ shape, data }) =>
  canvasOf(shape, (i) => [...TABLE[data[i]], 90 + Math.round((data[i] * 165) / 255)]);

/** A picture h w 3. */
export const pictureCanvas = ({ shape, data }) =>
  canvasOf(shape, (i) => [data[3 * i], data[3 * i + 1], data[3 * i + 2], 255]);
