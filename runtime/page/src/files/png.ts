/** PNG files: decoded by fast-png, which keeps 16 bits and alpha as they are, and written with filtered rows. */

import { decode } from "fast-png";
import type { Picture } from "../core/picture";
import { ascii, bigEndian, fromAscii, joined, view } from "./bytes";
import type { Metadata } from "./metadata";
import { trueXmp } from "./xmp";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const PROFILE_NAME = fromAscii("profile\0\0"); // its name, and the method of compression
const XMP = "XML:com.adobe.xmp\0"; // the keyword of its text
const LARGEST_INFLATED = 16 * 2 ** 20;
const COLOR_TYPES = [0, 0, 4, 2, 6]; // by the number of channels

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

export async function pngHeader(bytes: Uint8Array) {
  let exif: Uint8Array | null = null, icc: Uint8Array | null = null, width = 0, height = 0, gray = false;
  let xmp: Uint8Array | null = null;
  for (const [name, content] of chunks(bytes)) {
    if (name === "IHDR" && content.length === 13) {
      [width, height] = [view(content).getUint32(0), view(content).getUint32(4)];
      gray = content[9] === 0 || content[9] === 4;
    } else if (name === "eXIf") exif = content;
    else if (name === "iTXt" && ascii(content, 0, XMP.length) === XMP) xmp ??= trueXmp(await textOf(content));
    else if (name === "iCCP") icc = await inflated(content.subarray(content.indexOf(0) + 2));
  }
  return { width, height, gray, exif, xmp, icc };
}

/** The pixels of a PNG of 8 or 16 bits without a palette; null for other kinds, which the browser decodes. */
export function pngPixels(bytes: Uint8Array): Picture | null {
  for (const [name, content] of chunks(bytes)) {
    if (name === "tRNS" || (name === "IHDR" && (content[8] < 8 || content[9] === 3)) || name === "acTL") return null;
  }
  const { width, height, channels, data } = decode(bytes, { checkCrc: true });
  return { width, height, channels, data: data instanceof Uint16Array ? data : new Uint8Array(data.buffer) };
}

export async function pngFile(picture: Picture, { exif, icc, xmp }: Metadata): Promise<Blob> {
  const { width, height, channels, data } = picture, depth = data instanceof Uint16Array ? 16 : 8;
  const header = joined(bigEndian(width), bigEndian(height), Uint8Array.of(depth, COLOR_TYPES[channels], 0, 0, 0));
  const parts = [SIGNATURE, chunk("IHDR", header)];
  if (icc) parts.push(chunk("iCCP", joined(PROFILE_NAME, await deflated([icc]))));
  if (exif) parts.push(chunk("eXIf", exif));
  if (xmp) parts.push(chunk("iTXt", joined(fromAscii(`${XMP}\0\0\0\0`), xmp)));
  parts.push(chunk("IDAT", await deflated(filtered(picture))), chunk("IEND", new Uint8Array()));
  return new Blob([joined(...parts)], { type: "image/png" });
}

/** Rows as PNG stores them, each by the filter whose differences are smallest: none, left, above or mean. */
function* filtered({ width, height, channels, data }: Picture): Generator<Uint8Array> {
  const wide = data instanceof Uint16Array, bytes = channels * (wide ? 2 : 1), length = width * bytes;
  let above = new Uint8Array(length);
  for (let y = 0; y < height; y++) {
    const values = data.subarray(y * width * channels, (y + 1) * width * channels), row = new Uint8Array(length);
    if (wide) values.forEach((value, i) => ([row[2 * i], row[2 * i + 1]] = [value >> 8, value & 255]));
    else row.set(values);
    let best = new Uint8Array(), least = Infinity;
    for (let filter = 0; filter < 4; filter++) {
      const made = new Uint8Array(length + 1);
      let sum = 0;
      made[0] = filter;
      for (let i = 0; i < length; i++) {
        const left = i < bytes ? 0 : row[i - bytes], up = above[i];
        const guess = filter === 0 ? 0 : filter === 1 ? left : filter === 2 ? up : (left + up) >> 1;
        const rest = (made[i + 1] = row[i] - guess);
        sum += Math.abs((rest << 24) >> 24);
      }
      if (sum < least) [best, least] = [made, sum];
    }
    above = row;
    yield best;
  }
}

async function deflated(parts: Iterable<Uint8Array>): Promise<Uint8Array> {
  const stream = new CompressionStream("deflate"), writer = stream.writable.getWriter();
  const result = new Response(stream.readable).arrayBuffer();
  for (const part of parts) await writer.write(part as Uint8Array<ArrayBuffer>);
  await writer.close();
  return new Uint8Array(await result);
}

/** A profile or packet that is inflated; null if it is damaged or too large. */
async function inflated(bytes: Uint8Array): Promise<Uint8Array | null> {
  try {
    const stream = new Blob([joined(bytes)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const parts: Uint8Array[] = [];
    let size = 0;
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return joined(...parts);
      parts.push(value);
      if ((size += value.length) > LARGEST_INFLATED) return null;
    }
  } catch {
    return null;
  }
}

/** The text of an iTXt chunk of XMP, behind the words for its language; null if it is damaged. */
async function textOf(content: Uint8Array): Promise<Uint8Array | null> {
  const from = content.indexOf(0, content.indexOf(0, XMP.length + 2) + 1) + 1;
  if (from <= XMP.length + 2) return null;
  return content[XMP.length] ? inflated(content.subarray(from)) : content.subarray(from);
}

function* chunks(bytes: Uint8Array): Generator<[string, Uint8Array]> {
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view(bytes).getUint32(at);
    yield [ascii(bytes, at + 4, 4), bytes.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
}

function chunk(name: string, content: Uint8Array): Uint8Array {
  const checked = joined(fromAscii(name), content);
  return joined(bigEndian(content.length), checked, bigEndian(crc(checked)));
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) value = CRC[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}
