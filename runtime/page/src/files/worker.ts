/** The worker that reads, blends and writes pictures. */

import { type Picture, shown } from "../core/picture";
import { type Strengths, blended } from "../core/strengths";
import { serve } from "../network/served";
import { decoded } from "./decode";
import { type Format, encoded } from "./encode";
import type { Header } from "./header";
import { zipped } from "./zip";

export interface DecodedPicture extends Picture {
  /** The kind of the file, by its content. */
  readonly kind: Header["kind"];
}

export interface Shape {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly wide: boolean;
}

/** What the page is to show. Calls have rising numbers: one that comes late does not replace a newer one. */
interface Holding {
  readonly number: number;
  readonly picture: Picture;
  readonly cleaned: Blob | null;
  readonly shape: Shape;
}

export interface Saving {
  readonly file: Blob;
  readonly name: string;
  /** The cleaned pixels, of this shape. */
  readonly cleaned: Blob;
  readonly shape: Shape;
  readonly strengths: Strengths;
  readonly format: Format;
  readonly quality: number;
}

let held: { number: number; picture: Picture; cleaned: Picture | null } | null = null; // what the page shows
let newest = 0; // number of a call of `hold`

serve({
  async decode({ file, name }: { file: Blob; name: string }) {
    const { picture, header } = await decoded(file, name);
    return { result: { ...picture, kind: header.kind } satisfies DecodedPicture, transfer: [picture.data.buffer] };
  },
  async hold({ number, picture, cleaned, shape }: Holding) {
    newest = Math.max(newest, number);
    const one = { number, picture, cleaned: cleaned && (await pixels(cleaned, shape)) };
    if (number === newest) held = one;
    return bitmap(picture);
  },
  /** The blended picture of the call of `hold` of this number; null if another one, or no cleaned one, is held by now. */
  view({ number, strengths }: { number: number; strengths: Strengths }) {
    if (held?.number !== number || !held.cleaned) return { result: null };
    return bitmap(blended(held.picture, held.cleaned, strengths));
  },
  /** Holds nothing; calls of `hold` below this number are late. */
  forget({ number }: { number: number }) {
    [held, newest] = [null, number];
    return { result: null };
  },
  async save(given: Saving) {
    return { result: await saved(given) };
  },
  async zip({ all }: { all: readonly (Saving & { as: string })[] }, tell) {
    const made = async (index: number) => {
      const file = await saved(all[index]);
      tell({ done: index + 1, all: all.length });
      return file;
    };
    return { result: await zipped(all.map((one) => one.as), made) };
  },
});

async function saved({ file, name, cleaned, shape, strengths, format, quality }: Saving): Promise<Blob> {
  const { picture, header } = await decoded(file, name);
  return encoded(blended(picture, await pixels(cleaned, shape), strengths), format, quality, header);
}

async function pixels(raw: Blob, { width, height, channels, wide }: Shape): Promise<Picture> {
  const buffer = await raw.arrayBuffer();
  return { width, height, channels, data: wide ? new Uint16Array(buffer) : new Uint8Array(buffer) };
}

async function bitmap(picture: Picture) {
  const result = await createImageBitmap(shown(picture));
  return { result, transfer: [result] };
}
