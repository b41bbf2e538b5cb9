/** Fully transparent pixels: the model sees mirrored visible ones in their place, see export/FORMAT.md. */

const FAR = 2 ** 31;
// Steps of a 5 x 5 neighborhood, as cv2.distanceTransformWithLabels(DIST_L2, 5) takes them, in 1 / 65536 pixels.
const STRAIGHT = 65536, DIAGONAL = Math.round(1.4 * 65536), LONG = Math.round(2.1969 * 65536);
const AROUND: readonly (readonly [dy: number, dx: number, far: number])[] = [
  [-2, -1, LONG], [-2, 1, LONG], [-1, -2, LONG], [-1, -1, DIAGONAL],
  [-1, 0, STRAIGHT], [-1, 1, DIAGONAL], [-1, 2, LONG], [0, -1, STRAIGHT],
];

/**
 * For each pixel of some rows, the pixel that the model sees instead: its own index where it is visible.
 *
 * @param hidden 1 where a pixel is hidden, of height * width pixels
 * @returns null if nothing is hidden, or nothing is visible
 */
export function stands(hidden: Uint8Array, width: number, height: number): Int32Array | null {
  if (!hidden.includes(1) || !hidden.includes(0)) return null;
  const nearest = nearestVisible(hidden, width, height), result = new Int32Array(hidden.length);
  const inside = (value: number, length: number) => Math.min(Math.max(value, 0), length - 1);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      if (!hidden[i]) {
        result[i] = i;
        continue;
      }
      const edge = nearest[i], edgeY = Math.floor(edge / width), edgeX = edge - edgeY * width;
      const mirrored = inside(2 * edgeY - y, height) * width + inside(2 * edgeX - x, width);
      result[i] = hidden[mirrored] ? edge : mirrored;
    }
  return result;
}

function nearestVisible(hidden: Uint8Array, width: number, height: number): Int32Array {
  const border = 2, step = width + 2 * border;
  const far = new Float64Array(step * (height + 2 * border)).fill(FAR);
  const label = new Int32Array(far.length);
  const pass = (y: number, x: number, sign: number) => {
    const at = (y + border) * step + x + border;
    if (!hidden[y * width + x]) {
      far[at] = 0;
      label[at] = y * width + x;
      return;
    }
    for (const [dy, dx, length] of AROUND) {
      const other = at + sign * (dy * step + dx);
      if (far[other] + length < far[at]) {
        far[at] = far[other] + length;
        label[at] = label[other];
      }
    }
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) pass(y, x, 1);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) pass(y, x, -1);
  const nearest = new Int32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) nearest[y * width + x] = label[(y + border) * step + x + border];
  return nearest;
}
