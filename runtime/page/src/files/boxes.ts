/** The boxes of AVIF and HEIC files: EXIF, XMP and color profile. */

import { ascii, joined, view } from "./bytes";
import type { Metadata } from "./metadata";
import { trueXmp } from "./xmp";

const XMP = "application/rdf+xml\0", EXIF = "Exif\0\0";

interface Item {
  kind: string;
  /** From and to, in the file. */
  parts: [number, number][];
}

export function isBoxed(bytes: Uint8Array): boolean {
  return ascii(bytes, 4, 4) === "ftyp";
}

/** What the file says; nothing where its boxes are damaged. */
export function boxedMetadata(bytes: Uint8Array): Metadata {
  const found = { exif: null as Uint8Array | null, icc: null as Uint8Array | null, xmp: null as Uint8Array | null };
  try {
    const meta = inside(bytes).get("meta");
    if (!meta) return found;
    const inner = inside(bytes, meta[0] + 4, meta[1]);
    for (const { kind, parts } of items(bytes, inner).values()) {
      const content = joined(...parts.map(([from, to]) => bytes.subarray(from, to)));
      if (kind === "Exif") found.exif ??= exifOf(content);
      else if (kind === "mime") found.xmp ??= trueXmp(content);
    }
    const properties = inner.get("iprp"), all = properties && inside(bytes, ...properties).get("ipco");
    for (const [name, from, to] of all ? boxes(bytes, ...all) : [])
      if (name === "colr" && ["prof", "rICC"].includes(ascii(bytes, from, 4))) found.icc ??= bytes.subarray(from + 4, to);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return found;
}

/** The block of an item, which begins with the distance to it. */
function exifOf(content: Uint8Array): Uint8Array | null {
  const block = content.subarray(4 + view(content).getUint32(0));
  const plain = ascii(block, 0, 6) === EXIF ? block.subarray(6) : block;
  return ["II", "MM"].includes(ascii(plain, 0, 2)) ? plain : null;
}

/** The items of EXIF and XMP, by their numbers. */
function items(bytes: Uint8Array, inner: Map<string, [number, number]>): Map<number, Item> {
  const found = new Map<number, Item>(), data = view(bytes), listed = inner.get("iinf"), placed = inner.get("iloc");
  if (!listed || !placed) return found;
  for (const [name, from, to] of boxes(bytes, listed[0] + (bytes[listed[0]] ? 8 : 6), listed[1])) {
    const wide = bytes[from] === 3 ? 4 : 2, kind = ascii(bytes, from + 6 + wide, 4);
    if (name !== "infe" || bytes[from] < 2) continue;
    const named = bytes.indexOf(0, from + 10 + wide) + 1;
    if (kind === "Exif" || (kind === "mime" && named < to && ascii(bytes, named, XMP.length) === XMP))
      found.set(wide === 4 ? data.getUint32(from + 4) : data.getUint16(from + 4), { kind, parts: [] });
  }
  let at = placed[0] + 4, room = bytes.length; // parts may overlap
  const version = bytes[placed[0]], sizes = [bytes[at] >> 4, bytes[at] & 15, bytes[at + 1] >> 4, bytes[at + 1] & 15];
  const whole = (length: number) => {
    at += length;
    if (length === 8) return Number(data.getBigUint64(at - 8));
    return length === 4 ? data.getUint32(at - 4) : length === 2 ? data.getUint16(at - 2) : 0;
  };
  at += 2;
  for (let left = whole(version === 2 ? 4 : 2); left > 0; left--) {
    const item = found.get(whole(version === 2 ? 4 : 2)), inData = version > 0 && (whole(2) & 15) === 1;
    whole(2); // where the data lies: in this file
    const base = whole(sizes[2]) + (inData ? (inner.get("idat")?.[0] ?? Infinity) : 0);
    for (let parts = whole(2); parts > 0; parts--) {
      if (version > 0) whole(sizes[3]);
      const from = base + whole(sizes[0]), length = whole(sizes[1]);
      if (item && from + length <= bytes.length && (room -= length) >= 0) item.parts.push([from, from + length]);
    }
  }
  return found;
}

function inside(bytes: Uint8Array, from = 0, to = bytes.length): Map<string, [number, number]> {
  const found = new Map<string, [number, number]>();
  for (const [name, begin, end] of boxes(bytes, from, to)) if (!found.has(name)) found.set(name, [begin, end]);
  return found;
}

/** Name, begin and end of the contents of boxes that follow each other. */
function* boxes(bytes: Uint8Array, from: number, to: number): Generator<[string, number, number]> {
  for (let at = from; at + 8 <= to; ) {
    let size = view(bytes).getUint32(at), head = 8;
    if (size === 1) [size, head] = [Number(view(bytes).getBigUint64(at + 8)), 16];
    if (size === 0) size = to - at;
    if (size < head || at + size > to) return;
    yield [ascii(bytes, at + 4, 4), at + head, at + size];
    at += size;
  }
}
