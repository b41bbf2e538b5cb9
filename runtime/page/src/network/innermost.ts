/**
 * The same network with its patches side by side in the rows that convolutions read.
 *
 * In WebAssembly, onnxruntime copies the surroundings of each pixel for a convolution of one channel (depthwise), row by
 * row: with rows of 16 pixels this took half the time. So N x C x H x W becomes 1 x C x H x (W * N) between the other nodes:
 * the pixel to the right is then N values away. The arithmetic, and its order, stay what they were.
 */

import { type Field, field, fields, joined, varints } from "../core/protobuf";

// Numbers of fields in ONNX's messages.
const MODEL = { graph: 7 }, GRAPH = { node: 1, initializer: 5, input: 11, output: 12 };
const NODE = { input: 1, output: 2, op: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { name: 1, i: 3, text: 4, ints: 8, type: 20 }, TENSOR = { dims: 1, type: 2, name: 8, raw: 9 };
const INT64 = 7, INTS = 7; // kinds of tensors and attributes
const KNOWN = ["Conv", "ConvTranspose", "Relu", "Add", "Sub"]; // none of them mixes patches
const TURNED = ":patches-innermost", FLAT = `shape${TURNED}`, DEEP = `depth${TURNED}`, FIRST = `axis${TURNED}`;

interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, readonly number[]>;
  /** The fields that are neither inputs, outputs nor attributes, and the attributes, as they are stored. */
  readonly rest: readonly Uint8Array[];
  readonly stored: ReadonlyMap<string, Uint8Array>;
}

/** The model file for batches of `count` patches; null where this gains nothing, or is not known to be the same. */
export function patchesInnermost(file: Uint8Array, count: number): Uint8Array | null {
  const model = [...fields(file)], graph = model.find(({ number }) => number === MODEL.graph);
  if (!graph) return null;
  const parts = [...fields(graph.value as Uint8Array)], of = (number: number) => parts.filter((part) => part.number === number);
  const weights = new Map(of(GRAPH.initializer).map(({ value }) => tensor(value as Uint8Array)));
  const nodes = of(GRAPH.node).map(({ value }) => nodeOf(value as Uint8Array));
  if (!nodes.every(({ op }) => KNOWN.includes(op)) || !nodes.some((node) => isDepthwise(node, weights))) return null;
  const inputs = of(GRAPH.input).map(nameOf), outputs = of(GRAPH.output).map(nameOf);
  const turned = new Turning(weights, inputs, count).all(nodes, outputs);
  const constants = [int64s(FLAT, [0, 0, 0, -1]), int64s(DEEP, [0, 0, 0, -1, count]), int64s(FIRST, [0])];
  const others = parts.filter(({ number }) => number !== GRAPH.node).map(({ raw }) => raw);
  const made = [...turned.map((node) => field(GRAPH.node, node)), ...constants.map((each) => field(GRAPH.initializer, each)), ...others];
  return joined(model.map((part) => (part === graph ? field(MODEL.graph, made) : part.raw)));
}

class Turning {
  private readonly nodes: Uint8Array[][] = [];
  private readonly plain: Set<string>;
  private readonly inner = new Set<string>();

  constructor(private readonly weights: ReadonlyMap<string, readonly number[]>, inputs: readonly string[], private readonly count: number) {
    this.plain = new Set(["", ...inputs, ...weights.keys()]);
  }

  all(nodes: readonly Node[], outputs: readonly string[]): Uint8Array[][] {
    for (const node of nodes) {
      const turns = this.turns(node), { weights } = this;
      const inputs = node.inputs.map((name) => (!turns ? this.asPlain(name) : weights.has(name) || !name ? name : this.asInner(name)));
      const attributes = new Map(node.stored);
      if (turns && isDepthwise(node, weights)) {
        const [top, left, bottom, right] = node.attributes.get("pads") ?? [0, 0, 0, 0];
        attributes.set("pads", ints("pads", [top, left * this.count, bottom, right * this.count]));
        attributes.set("dilations", ints("dilations", [1, this.count]));
      }
      node.outputs.forEach((name) => (turns ? this.inner : this.plain).add(name));
      const results = node.outputs.map((name) => (turns ? name + TURNED : name));
      this.nodes.push([...named(inputs, results), ...node.rest, ...attributes.values()]);
    }
    outputs.forEach((name) => this.asPlain(name));
    return this.nodes;
  }

  /** Whether a node does the same to pixels in any order, or can be told where their neighbors are. */
  private turns(node: Node): boolean {
    const { inputs, op } = node;
    if (this.weights.has(inputs[0])) return false;
    if (op === "Relu") return this.inner.has(inputs[0]);
    if (op === "Add") return inputs.some((name) => this.inner.has(name)) && !inputs.some((name) => this.weights.has(name));
    return isPointwise(node, this.weights) || isDepthwise(node, this.weights);
  }

  private asInner(name: string): string {
    if (!this.inner.has(name)) {
      this.add("Transpose", [name], `${name}${TURNED}1`, ints("perm", [1, 2, 3, 0]));
      this.add("Unsqueeze", [`${name}${TURNED}1`, FIRST], `${name}${TURNED}2`);
      this.add("Reshape", [`${name}${TURNED}2`, FLAT], name + TURNED);
      this.inner.add(name);
    }
    return name + TURNED;
  }

  private asPlain(name: string): string {
    if (!this.plain.has(name)) {
      this.add("Reshape", [name + TURNED, DEEP], `${name}${TURNED}3`);
      this.add("Squeeze", [`${name}${TURNED}3`, FIRST], `${name}${TURNED}4`);
      this.add("Transpose", [`${name}${TURNED}4`], name, ints("perm", [3, 0, 1, 2]));
      this.plain.add(name);
    }
    return name;
  }

  private add(op: string, inputs: string[], output: string, ...attributes: Uint8Array[]): void {
    this.nodes.push([...named(inputs, [output]), field(NODE.op, op), ...attributes]);
  }
}

function isPointwise(node: Node, weights: ReadonlyMap<string, readonly number[]>): boolean {
  const [, , high, wide] = weights.get(node.inputs[1]) ?? [];
  return node.op === "Conv" && high === 1 && wide === 1 && isPlain(node) && !node.attributes.get("pads")?.some(Boolean);
}

function isDepthwise(node: Node, weights: ReadonlyMap<string, readonly number[]>): boolean {
  const [, each, high, wide] = weights.get(node.inputs[1]) ?? [];
  return node.op === "Conv" && each === 1 && high > 1 && wide > 1 && (node.attributes.get("group")?.[0] ?? 1) > 1 && isPlain(node);
}

/** Whether a convolution takes each pixel, and the pixels around it. */
function isPlain({ attributes }: Node): boolean {
  const ones = ["strides", "dilations"].flatMap((name) => attributes.get(name) ?? []);
  return ones.every((value) => value === 1);
}

function nodeOf(bytes: Uint8Array): Node {
  const parts = [...fields(bytes)], own: readonly number[] = [NODE.input, NODE.output, NODE.attribute];
  const texts = (number: number) => parts.filter((part) => part.number === number).map(({ value }) => text(value));
  const attributes = new Map<string, readonly number[]>(), stored = new Map<string, Uint8Array>();
  let padded = false; // by a rule instead of numbers
  for (const { value, raw } of parts.filter(({ number }) => number === NODE.attribute)) {
    const says = [...fields(value as Uint8Array)], name = nameOf({ value } as Field);
    attributes.set(name, says.filter(({ number }) => number === ATTRIBUTE.i || number === ATTRIBUTE.ints).flatMap(numbers));
    stored.set(name, raw);
    if (name === "auto_pad") padded = text(says.find(({ number }) => number === ATTRIBUTE.text)?.value) !== "NOTSET";
  }
  const op = padded || texts(NODE.domain).join("") ? "another" : texts(NODE.op).join("");
  const rest = parts.filter(({ number }) => !own.includes(number)).map(({ raw }) => raw);
  return { op, inputs: texts(NODE.input), outputs: texts(NODE.output), attributes, stored, rest };
}

/** The name of a tensor, and its shape. */
function tensor(bytes: Uint8Array): [string, readonly number[]] {
  const parts = [...fields(bytes)], name = parts.find(({ number }) => number === TENSOR.name);
  return [text(name?.value), parts.filter(({ number }) => number === TENSOR.dims).flatMap(numbers)];
}

function numbers({ value }: Field): readonly number[] {
  return typeof value === "number" ? [value] : varints(value);
}

/** The name of an attribute, an input or an output: field 1 of each. */
function nameOf({ value }: Field): string {
  return text([...fields(value as Uint8Array)].find(({ number }) => number === ATTRIBUTE.name)?.value);
}

function text(value: number | Uint8Array | undefined): string {
  return new TextDecoder().decode(value as Uint8Array | undefined);
}

function named(inputs: readonly string[], outputs: readonly string[]): Uint8Array[] {
  return [...inputs.map((name) => field(NODE.input, name)), ...outputs.map((name) => field(NODE.output, name))];
}

/** A node's attribute, ready to be a part of it. */
function ints(name: string, values: readonly number[]): Uint8Array {
  const content = [field(ATTRIBUTE.name, name), ...values.map((value) => field(ATTRIBUTE.ints, value)), field(ATTRIBUTE.type, INTS)];
  return field(NODE.attribute, content);
}

function int64s(name: string, values: readonly number[]): Uint8Array[] {
  const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return [field(TENSOR.dims, values.length), field(TENSOR.type, INT64), field(TENSOR.name, name), field(TENSOR.raw, [raw])];
}
