/** How much of what a model changes is kept, in brightness and in color apart, as cae_runtime/tasks/strengths.py does. */

import { type Picture, colorsOf, emptyLike, rint, whiteOf } from "./picture";

export interface Strengths {
  readonly brightness: number;
  readonly color: number;
}

export const FULL: Strengths = { brightness: 1, color: 1 };

const LUMINANCE = [0.299, 0.587, 0.114]; // of red, green and blue (ITU-R BT.601)

/** A new picture between the original and the fully cleaned one; at full strength the cleaned one itself. */
export function blended(original: Picture, cleaned: Picture, { brightness, color }: Strengths): Picture {
  const colors = colorsOf(original);
  if (brightness === 1 && (color === 1 || colors === 1)) return cleaned;
  const result = emptyLike(original), { channels } = original;
  const from = original.data, full = cleaned.data, to = result.data, white = whiteOf(original);
  const share = colors === 1 ? 0 : brightness - color, own = colors === 1 ? brightness : color;
  to.set(from); // alpha
  for (let at = 0; at < from.length; at += channels) {
    let light = 0;
    if (share) for (let k = 0; k < 3; k++) light += LUMINANCE[k] * (full[at + k] - from[at + k]);
    for (let k = 0; k < colors; k++) {
      const value = rint(from[at + k] + own * (full[at + k] - from[at + k]) + share * light);
      to[at + k] = value < 0 ? 0 : value > white ? white : value;
    }
  }
  return result;
}
