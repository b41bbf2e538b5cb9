/** The segments of JPEG files: size, EXIF, XMP and color profile, read and written. */

import { ascii, fromAscii, joined, view } from "./bytes";
import type { Metadata } from "./metadata";
import { trueXmp } from "./xmp";

const EXIF = "Exif\0\0", XMP = "http://ns.adobe.com/xap/1.0/\0", PROFILE = "ICC_PROFILE\0";
const LARGEST = 65533; // bytes of a segment

export function jpegHeader(bytes: Uint8Array) {
  let exif: Uint8Array | null = null, xmp: Uint8Array | null = null, width = 0, height = 0, gray = false;
  const profile: Uint8Array[] = [];
  for (const [marker, content] of segments(bytes)) {
    if (marker === 0xe1 && ascii(content, 0, 6) === EXIF) exif ??= content.subarray(6);
    else if (marker === 0xe1 && ascii(content, 0, XMP.length) === XMP) xmp ??= trueXmp(content.subarray(XMP.length));
    else if (marker === 0xe2 && ascii(content, 0, 12) === PROFILE) profile[content[12]] = content.subarray(14);
    else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker) && content.length >= 5) {
      height = view(content).getUint16(1);
      width = view(content).getUint16(3);
      gray = content[5] === 1;
    }
  }
  const icc = profile.filter(Boolean);
  return { width, height, gray, exif, xmp, icc: icc.length ? joined(...icc) : null };
}

/** A JPEG file with EXIF, XMP and a color profile, in place of those that the browser wrote. */
export function jpegWith(bytes: Uint8Array, { exif, icc, xmp }: Metadata): Uint8Array<ArrayBuffer> {
  const added: Uint8Array[] = [];
  if (exif && exif.length + 6 <= LARGEST) added.push(segment(0xe1, joined(fromAscii(EXIF), exif)));
  if (xmp && xmp.length + XMP.length <= LARGEST) added.push(segment(0xe1, joined(fromAscii(XMP), xmp)));
  const each = LARGEST - 14, count = icc ? Math.ceil(icc.length / each) : 0;
  if (icc && count < 256)
    for (let i = 0; i < count; i++) {
      const part = icc.subarray(i * each, (i + 1) * each);
      added.push(segment(0xe2, joined(fromAscii(PROFILE), Uint8Array.of(i + 1, count), part)));
    }
  let from = 2;
  const kept: Uint8Array[] = [];
  for (const [marker, content] of segments(bytes)) {
    const end = content.byteOffset - bytes.byteOffset + content.length;
    if (marker !== 0xe1 && marker !== 0xe2) kept.push(bytes.subarray(from, end));
    from = end;
  }
  return joined(bytes.subarray(0, 2), ...added, ...kept, bytes.subarray(from));
}

function segment(marker: number, content: Uint8Array): Uint8Array {
  const length = content.length + 2;
  return joined(Uint8Array.of(0xff, marker, length >> 8, length & 255), content);
}

function* segments(bytes: Uint8Array): Generator<[number, Uint8Array]> {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) return;
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    yield [marker, bytes.subarray(at + 4, at + 2 + length)];
    at += 2 + length;
  }
}
