/** Protobuf messages, as ONNX files consist of: read field by field, and written. */

export interface Field {
  readonly number: number;
  /** A whole number, or the bytes of a text, a message, or a number that is not whole. */
  readonly value: number | Uint8Array;
  /** The field as it is stored, with its number. */
  readonly raw: Uint8Array;
}

const VARINT = 0, BYTES = 2;
const FIXED = new Map([[1, 8], [5, 4]]); // bytes of numbers that are not whole

/** The fields of a message, in their order; throws if it is cut off or no message. */
export function* fields(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    const start = at;
    const number = () => {
      const [value, next] = varintAt(bytes, at);
      at = next;
      return value;
    };
    const key = number(), kind = key % 8;
    let value: number | Uint8Array;
    if (kind === VARINT) value = number();
    else {
      const length = kind === BYTES ? number() : FIXED.get(kind);
      if (length === undefined || at + length > bytes.length) throw new Error("cut off, or no such field");
      value = bytes.subarray(at, (at += length));
    }
    yield { number: Math.floor(key / 8), value, raw: bytes.subarray(start, at) };
  }
}

/** Whole numbers that follow each other without keys. */
export function varints(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 0, value; at < bytes.length; found.push(value)) [value, at] = varintAt(bytes, at);
  return found;
}

function varintAt(bytes: Uint8Array, at: number): [value: number, next: number] {
  for (let value = 0, scale = 1; at < bytes.length && scale < 2 ** 64; scale *= 128) {
    const byte = bytes[at++];
    value += (byte & 127) * scale;
    if (byte < 128) return [value, at];
  }
  throw new Error("cut off");
}

/** A field of a whole number from 0, a text, or the parts of a message. */
export function field(number: number, value: number | string | readonly Uint8Array[]): Uint8Array {
  if (typeof value === "number") return joined([varint(number * 8 + VARINT), varint(value)]);
  const content = typeof value === "string" ? new TextEncoder().encode(value) : joined(value);
  return joined([varint(number * 8 + BYTES), varint(content.length), content]);
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Uint8Array.from([...bytes, value]);
}
