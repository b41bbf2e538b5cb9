/** Files to pixels: PNG exactly as it is stored, all else by the browser. */

import type { Picture } from "../core/picture";
import { orientation, uprightExif } from "./exif";
import { type Header, header } from "./header";
import { pngPixels } from "./png";
import { uprightXmp } from "./xmp";

export const MOST_MEGAPIXELS = 40;
const LARGEST_FILE = 512 * 2 ** 20;

export interface Decoded {
  readonly picture: Picture;
  readonly header: Header;
}

export async function decoded(file: Blob, name: string): Promise<Decoded> {
  if (file.size > LARGEST_FILE) throw new Error(`${name} is larger than 512 MB: cae-run cleans it, this page does not.`);
  if (!file.size) throw new Error(`${name} is empty: it has no bytes.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const says = await header(bytes);
  refuseLarge(says, name);
  if (says.kind === "png") {
    try {
      const picture = pngPixels(bytes);
      if (picture) return { picture, header: says };
    } catch {
      throw new Error(`${name} is damaged: its pixels cannot be read.`);
    }
  }
  const picture = await byBrowser(file, name, says.gray);
  if (!wasTurned(says, picture)) return { picture, header: says };
  const exif = says.exif && uprightExif(says.exif), xmp = says.xmp && uprightXmp(says.xmp);
  return { picture, header: { ...says, exif, xmp } };
}

/** Whether the browser turned the pixels upright: Chromium does so except for WebP. */
function wasTurned({ kind, width, height, exif }: Header, picture: Picture): boolean {
  if (orientation(exif) > 4 && width !== height) return picture.width === height;
  return kind !== "webp";
}

export function refuseLarge({ width, height }: { width: number; height: number }, name: string): void {
  const megapixels = (width * height) / 1e6;
  if (megapixels > MOST_MEGAPIXELS)
    throw new Error(
      `${name} has ${megapixels.toFixed(0)} megapixels. This page cleans up to ${MOST_MEGAPIXELS}; cae-run has no such limit.`,
    );
}

async function byBrowser(file: Blob, name: string, gray: boolean): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${name} cannot be read: it is no picture that this browser knows, or it is damaged.`);
  }
  try {
    refuseLarge(bitmap, name);
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error(`${name} is too large for this browser: ${width} x ${height} pixels.`);
    context.drawImage(bitmap, 0, 0);
    return withoutSpare(context.getImageData(0, 0, width, height), gray);
  } finally {
    bitmap.close();
  }
}

/** A picture without the channels that say nothing: alpha where all is opaque, two of three colors in gray files. */
function withoutSpare({ width, height, data }: ImageData, gray: boolean): Picture {
  let opaque = true;
  for (let at = 3; at < data.length && opaque; at += 4) opaque = data[at] === 255;
  const from = [...(gray ? [0] : [0, 1, 2]), ...(opaque ? [] : [3])], kept = new Uint8Array(width * height * from.length);
  for (let at = 0, to = 0; at < data.length; at += 4) for (const channel of from) kept[to++] = data[at + channel];
  return { width, height, channels: from.length, data: kept };
}
