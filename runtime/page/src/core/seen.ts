/** What a model sees of a picture: rows of floats in 0..1, padded to a patch; steps 1 to 3 of export/FORMAT.md. */

import { stands } from "./hidden";
import type { ModelSpec } from "./metadata";
import { type Picture, colorsOf, hasAlpha, whiteOf } from "./picture";
import { reflected } from "./tiling";

export class Seen {
  /** The color of a model of one channel is the picture's luminance. */
  readonly byLuminance: boolean;
  /** Planes of a row, each `values` long, of pixels with `depth` values side by side. */
  readonly planes: number;
  readonly depth: number;
  readonly values: number;
  private readonly scaled: Float32Array;
  private readonly alpha: boolean;

  constructor(private readonly picture: Picture, private readonly spec: ModelSpec) {
    const colors = colorsOf(picture), white = whiteOf(picture);
    this.byLuminance = colors === 3 && spec.channels === 1;
    const seen = this.byLuminance ? 1 : colors;
    this.depth = spec.layout === "nhwc" && seen === 3 ? 3 : 1;
    this.planes = seen / this.depth;
    this.values = Math.max(picture.width, spec.patch) * this.depth;
    this.scaled = Float32Array.from({ length: white + 1 }, (_, value) => value / white);
    this.alpha = hasAlpha(picture) && anyHidden(picture);
  }

  /** Rows top..top + patch - 1: planes x patch x values. Also says which pixels are hidden, if any is. */
  rows(top: number): { floats: Float32Array; hidden: Uint8Array | null } {
    const { picture: { width, height, channels, data }, spec: { patch }, planes, depth, values, scaled } = this;
    const first = Math.max(0, top - patch), hidden = this.alpha ? this.hiddenRows(first, top + 2 * patch) : null;
    const instead = hidden && stands(hidden, width, hidden.length / width);
    const floats = new Float32Array(planes * patch * values), wide = values / depth;
    const columns = Int32Array.from({ length: wide }, (_, x) => (x < width ? x : reflected(x, width)));
    for (let y = 0; y < patch; y++) {
      const row = reflected(top + y, height);
      for (let x = 0; x < wide; x++) {
        let pixel = row * width + columns[x];
        if (instead) pixel = instead[pixel - first * width] + first * width;
        const from = pixel * channels, to = y * values + x * depth;
        if (this.byLuminance) floats[to] = scaled[luminance(data[from], data[from + 1], data[from + 2])];
        else if (depth === 3) {
          floats[to] = scaled[data[from]];
          floats[to + 1] = scaled[data[from + 1]];
          floats[to + 2] = scaled[data[from + 2]];
        } else for (let k = 0; k < planes; k++) floats[k * patch * values + to] = scaled[data[from + k]];
      }
    }
    return { floats, hidden: hidden && hidden.subarray((top - first) * width, (top - first + patch) * width) };
  }

  private hiddenRows(first: number, end: number): Uint8Array {
    const { width, height, channels, data } = this.picture, rows = Math.min(end, height) - first;
    const hidden = new Uint8Array(rows * width);
    for (let i = 0, at = first * width * channels + channels - 1; i < hidden.length; i++, at += channels)
      hidden[i] = data[at] === 0 ? 1 : 0;
    return hidden;
  }
}

/** The luminance of ITU-R BT.601 in whole steps of the picture. */
export function luminance(r: number, g: number, b: number): number {
  return Math.floor((9798 * r + 19235 * g + 3735 * b + 16384) / 32768);
}

function anyHidden({ channels, data }: Picture): boolean {
  for (let at = channels - 1; at < data.length; at += channels) if (data[at] === 0) return true;
  return false;
}
