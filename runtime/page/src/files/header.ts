/** What a file says about its picture before it is decoded: its kind, its size, EXIF, XMP and color profile. */

import { jpegHeader } from "./jpeg";
import { isPng, pngHeader } from "./png";
import { webpHeader } from "./webp";
import { ascii } from "./bytes";
import { boxedMetadata, isBoxed } from "./boxes";
import type { Metadata } from "./metadata";

export interface Header extends Metadata {
  readonly kind: "png" | "jpeg" | "webp" | "other";
  /** 0 where the file does not say it in a place that this page knows. */
  readonly width: number;
  readonly height: number;
  readonly gray: boolean;
}

export async function header(bytes: Uint8Array): Promise<Header> {
  if (isPng(bytes)) return { kind: "png", ...(await pngHeader(bytes)) };
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { kind: "jpeg", ...jpegHeader(bytes) };
  if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 4) === "WEBP") return { kind: "webp", ...webpHeader(bytes) };
  const says = isBoxed(bytes) ? boxedMetadata(bytes) : { exif: null, icc: null, xmp: null };
  return { kind: "other", width: 0, height: 0, gray: false, ...says };
}
