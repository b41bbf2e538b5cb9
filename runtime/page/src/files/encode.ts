/** Pixels to files: PNG exactly, JPEG and WebP by the browser; EXIF, XMP and color profile are kept. */

import { type Picture, colorsOf, hasAlpha, shown } from "../core/picture";
import { ascii } from "./bytes";
import type { Header } from "./header";
import { jpegWith } from "./jpeg";
import { pngFile } from "./png";
import { webpWith } from "./webp";

export type Format = "png" | "jpeg" | "webp";

const NAMES = { png: "PNG", jpeg: "JPEG", webp: "WebP" };
const WHITE = 255;

export async function encoded(picture: Picture, format: Format, quality: number, says: Header): Promise<Blob> {
  const space = format === "png" && colorsOf(picture) === 1 ? "GRAY" : "RGB "; // of the file that is written
  const icc = says.icc && ascii(says.icc, 16, 4) === space ? says.icc : null;
  const kept = { exif: says.exif, icc, xmp: says.xmp };
  if (format === "png") return pngFile(picture, kept);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser cannot encode a picture of this size: save it as PNG.");
  const image = shown(picture);
  if (format === "jpeg" && hasAlpha(picture)) onWhite(image.data);
  context.putImageData(image, 0, 0);
  const type = `image/${format}`, blob = await canvas.convertToBlob({ type, quality });
  if (blob.type !== type) throw new Error(`This browser does not write ${NAMES[format]} files: choose another format.`);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return new Blob([format === "jpeg" ? jpegWith(bytes, kept) : webpWith(bytes, kept)], { type });
}

/** JPEG has no alpha: what shows through becomes white. */
function onWhite(data: Uint8ClampedArray): void {
  for (let at = 0; at < data.length; at += 4) {
    const share = data[at + 3] / WHITE;
    for (let k = 0; k < 3; k++) data[at + k] = WHITE + share * (data[at + k] - WHITE);
    data[at + 3] = WHITE;
  }
}
