/** The orientation that EXIF tells, and EXIF of a picture whose pixels were turned upright. */

import { view } from "./bytes";

const ORIENTATION = 0x0112, SHORT = 3;

/** A copy whose first directory says that the pixels are upright. */
export function uprightExif(exif: Uint8Array): Uint8Array {
  const copy = exif.slice(), at = orientationPlace(copy);
  if (at) view(copy).setUint16(at, 1, littleEndian(copy));
  return copy;
}

/** 1 upright; from 5 on, width and height are exchanged. */
export function orientation(exif: Uint8Array | null): number {
  const at = exif ? orientationPlace(exif) : 0;
  return exif && at ? view(exif).getUint16(at, littleEndian(exif)) : 1;
}

function littleEndian(exif: Uint8Array): boolean {
  return exif[0] === 0x49;
}

/** Where the value of the orientation is; 0 if there is none. */
function orientationPlace(exif: Uint8Array): number {
  const data = view(exif), little = littleEndian(exif);
  if (exif.length < 14) return 0;
  const first = data.getUint32(4, little);
  if (first + 2 > exif.length) return 0;
  const count = data.getUint16(first, little);
  for (let i = 0, at = first + 2; i < count && at + 12 <= exif.length; i++, at += 12)
    if (data.getUint16(at, little) === ORIENTATION && data.getUint16(at + 2, little) === SHORT) return at + 8;
  return 0;
}
