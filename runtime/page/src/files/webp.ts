/** The chunks of WebP files: size, EXIF, XMP and color profile, read and written. */

import { ascii, fromAscii, joined, littleEndian, view } from "./bytes";
import type { Metadata } from "./metadata";
import { trueXmp } from "./xmp";

const HAS_ICC = 0x20, HAS_ALPHA = 0x10, HAS_EXIF = 0x08, HAS_XMP = 0x04;

export function webpHeader(bytes: Uint8Array) {
  const found = chunks(bytes), { width, height } = size(found);
  let exif = found.get("EXIF") ?? null;
  if (exif && ascii(exif, 0, 4) === "Exif") exif = exif.subarray(6);
  return { width, height, gray: false, exif, xmp: trueXmp(found.get("XMP ")), icc: found.get("ICCP") ?? null };
}

/** A WebP file with EXIF, XMP and a color profile. */
export function webpWith(bytes: Uint8Array, { exif, icc, xmp }: Metadata): Uint8Array<ArrayBuffer> {
  if (!exif && !icc && !xmp) return joined(bytes);
  const found = chunks(bytes), { width, height, alpha } = size(found);
  const flags = (icc ? HAS_ICC : 0) | (exif ? HAS_EXIF : 0) | (xmp ? HAS_XMP : 0) | (alpha ? HAS_ALPHA : 0);
  const extent = [width - 1, height - 1].flatMap((value) => [value & 255, (value >> 8) & 255, value >> 16]);
  const parts = [chunk("VP8X", Uint8Array.of(flags, 0, 0, 0, ...extent))];
  if (icc) parts.push(chunk("ICCP", icc));
  for (const name of ["ALPH", "VP8 ", "VP8L"]) if (found.has(name)) parts.push(chunk(name, found.get(name)!));
  if (exif) parts.push(chunk("EXIF", exif));
  if (xmp) parts.push(chunk("XMP ", xmp));
  const content = joined(fromAscii("WEBP"), ...parts);
  return joined(fromAscii("RIFF"), littleEndian(content.length), content);
}

function size(found: Map<string, Uint8Array>): { width: number; height: number; alpha: boolean } {
  const extended = found.get("VP8X"), lossy = found.get("VP8 "), lossless = found.get("VP8L");
  if (extended && extended.length >= 10) {
    const whole = (at: number) => extended[at] + extended[at + 1] * 256 + extended[at + 2] * 65536 + 1;
    return { width: whole(4), height: whole(7), alpha: (extended[0] & HAS_ALPHA) > 0 };
  }
  if (lossless && lossless.length >= 5) {
    const bits = view(lossless).getUint32(1, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1, alpha: ((bits >> 28) & 1) > 0 };
  }
  if (lossy && lossy.length >= 10) {
    const whole = (at: number) => view(lossy).getUint16(at, true) & 0x3fff;
    return { width: whole(6), height: whole(8), alpha: found.has("ALPH") };
  }
  return { width: 0, height: 0, alpha: false };
}

function chunk(name: string, content: Uint8Array): Uint8Array {
  return joined(fromAscii(name), littleEndian(content.length), content, new Uint8Array(content.length % 2));
}

function chunks(bytes: Uint8Array): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view(bytes).getUint32(at + 4, true), name = ascii(bytes, at, 4);
    if (!found.has(name)) found.set(name, bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length + (length % 2);
  }
  return found;
}
