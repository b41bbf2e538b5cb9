/** What a file says about its picture before it is decoded: its kind, its size, EXIF and color profile. */

import { jpegHeader } from "./jpeg";
import { isPng, pngHeader } from "./png";
import { webpHeader } from "./webp";
import { ascii } from "./bytes";

export interface Header {
  readonly kind: "png" | "jpeg" | "webp" | "other";
  /** 0 where the file does not say it in a place that this page knows. */
  readonly width: number;
  readonly height: number;
  readonly gray: boolean;
  /** A TIFF structure, without `Exif\0\0`. */
  readonly exif: Uint8Array | null;
  readonly icc: Uint8Array | null;
}

export async function header(bytes: Uint8Array): Promise<Header> {
  if (isPng(bytes)) return { kind: "png", ...(await pngHeader(bytes)) };
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { kind: "jpeg", ...jpegHeader(bytes) };
  if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 4) === "WEBP") return { kind: "webp", ...webpHeader(bytes) };
  return { kind: "other", width: 0, height: 0, gray: false, exif: null, icc: null };
}
