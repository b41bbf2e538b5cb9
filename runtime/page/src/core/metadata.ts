/** Reads what a model file says about itself: field 14 of ONNX's protobuf message, see export/FORMAT.md. */

import { fields } from "./protobuf";

export interface ModelSpec {
  readonly task: string;
  readonly patch: number;
  readonly channels: 1 | 3;
  readonly overlap: number;
  readonly layout: "nchw" | "nhwc";
  readonly precision: string;
  /** The model was trained on pictures of this side in black patches; 0: it was not. */
  readonly framed: number;
}

const METADATA = 14;

/** The metadata of a model of task `restore` that takes float32, or an error that says what is wrong. */
export function modelSpec(file: Uint8Array, name: string): ModelSpec {
  const says = metadata(file, name);
  const whole = (key: string, low: number, high: number) => {
    const value = Number(says.get(key));
    if (!Number.isInteger(value) || value < low || value > high)
      throw new Error(`${name} says ${key} ${says.get(key) ?? "nothing"}: it must be a number from ${low} to ${high}.`);
    return value;
  };
  const one = (key: string, ...valid: string[]) => {
    const value = says.get(key) ?? "";
    if (!valid.includes(value)) throw new Error(`${name} says ${key} "${value}": this page runs ${valid.join(" or ")}.`);
    return value;
  };
  if (!says.has("schema")) throw new Error(`${name} is no model that cae-export wrote.`);
  one("schema", "1", "2");
  one("dtype", "float32");
  const patch = whole("patch", 8, 1024);
  return {
    task: one("task", "restore"),
    patch,
    channels: whole("channels", 1, 3) === 1 ? 1 : 3,
    overlap: whole("overlap", 0, patch - 1),
    layout: one("layout", "nchw", "nhwc") as ModelSpec["layout"],
    precision: says.get("precision") ?? "fp32",
    framed: says.has("framed") ? whole("framed", 1, patch - 1) : 0,
  };
}

function metadata(file: Uint8Array, name: string): Map<string, string> {
  const found = new Map<string, string>();
  const text = new TextDecoder();
  try {
    for (const { number, value } of fields(file)) {
      if (number !== METADATA || typeof value === "number") continue;
      const [key, says] = [1, 2].map((part) => [...fields(value)].find((each) => each.number === part)?.value);
      found.set(text.decode(key as Uint8Array), text.decode(says as Uint8Array | undefined));
    }
  } catch {
    throw new Error(`${name} is no ONNX file, or it is damaged.`);
  }
  return found;
}
