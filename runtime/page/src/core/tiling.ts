/** Where the patches of a picture lie, and how they are blended: steps 3, 4 and 6 of export/FORMAT.md. */

export interface Place {
  readonly start: number;
  /** Of each pixel of the patch along this axis, float32. */
  readonly weights: Float32Array;
}

/** The patches along an axis of `length` pixels, at least `patch`. */
export function places(length: number, patch: number, overlap: number): Place[] {
  const starts: number[] = [];
  for (let start = 0; start < length - patch; start += patch - overlap) starts.push(start);
  starts.push(length - patch);
  const ramp = (i: number) => (i < overlap ? (i + 0.5) / overlap : 1);
  const window = Array.from({ length: patch }, (_, i) => ramp(i) * ramp(patch - 1 - i));
  const total = new Float64Array(length);
  for (const start of starts) window.forEach((weight, i) => (total[start + i] += weight));
  return starts.map((start) => ({ start, weights: Float32Array.from(window, (w, i) => w / total[start + i]) }));
}

/** An index beyond the end, mirrored at the last pixel, and at the first, and so on. */
export function reflected(i: number, length: number): number {
  const period = Math.max(1, 2 * (length - 1));
  return Math.min(i % period, period - (i % period));
}
