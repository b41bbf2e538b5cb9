// Cleans PGM, PPM and PAM pictures of 8 or 16 bits: node client.mjs MODEL.onnx NOISY CLEAN [NOISY CLEAN ...]
import { readFileSync, writeFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [model, ...names] = process.argv.slice(2);
if (!names.length || names.length % 2) {
  console.error("usage: node client.mjs MODEL.onnx SOURCE OUTPUT [SOURCE OUTPUT ...]");
  process.exit(2);
}
const file = readFileSync(model);
const says = metadata(file);
if (!["1", "2"].includes(says.schema) || says.task !== "restore" || says.dtype !== "float32")
  throw new Error(`${model} is no model of CAE Toolkit for task restore that takes float32`);
const side = Number(says.patch), overlap = Number(says.overlap), channels = Number(says.channels);
const session = await InferenceSession.create(file);
const [input] = session.inputNames, [output] = session.outputNames;
const fixedBatch = session.inputMetadata[0].shape[0]; // a number where the file fixes it, else a name

for (let i = 0; i + 1 < names.length; i += 2) {
  const picture = read(names[i]);
  await clean(picture);
  writeFileSync(names[i + 1], written(picture));
}

// JavaScript's onnxruntime does not hand out the metadata: it is field 14 of the file, a protobuf message (ModelProto).
function metadata(bytes) {
  const text = (entry, wanted) => fields(entry).find(([number]) => number === wanted)[1].toString();
  const entries = fields(bytes).filter(([number]) => number === 14).map(([, entry]) => entry);
  return Object.fromEntries(entries.map((entry) => [text(entry, 1), text(entry, 2)]));
}

// The fields of a protobuf message that are bytes: pairs of number and content.
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint(), value = varint();
    if (key % 8 === 2) found.push([Math.floor(key / 8), bytes.subarray(at, (at += value))]);
    else if (key % 8 !== 0) throw new Error(`${model} is no ONNX file`);
  }
  return found;
}

function read(name) {
  const data = readFileSync(name), start = data.subarray(0, 1024).toString("latin1");
  const header = start.match(/^(P[56]\s+\d+\s+\d+\s+\d+\s|P7\n(.*\n)*?ENDHDR\n)/)[0];
  const entry = (key) => Number(header.match(new RegExp(`\n${key}\\s+(\\d+)`))[1]);
  const [width, height, depth, white] = header.startsWith("P7")
    ? ["WIDTH", "HEIGHT", "DEPTH", "MAXVAL"].map(entry)
    : header.match(/\d+/g).slice(1).map(Number).toSpliced(2, 0, header.startsWith("P6") ? 3 : 1);
  const wide = white > 255, values = new Uint16Array(width * height * depth);
  for (let i = 0; i < values.length; i++)
    values[i] = wide ? data.readUInt16BE(header.length + 2 * i) : data[header.length + i];
  return { header, width, height, depth, white, values };
}

function written({ header, white, values }) {
  const pixels = Buffer.alloc(values.length * (white > 255 ? 2 : 1));
  values.forEach((value, i) => (white > 255 ? pixels.writeUInt16BE(value, 2 * i) : (pixels[i] = value)));
  return Buffer.concat([Buffer.from(header, "latin1"), pixels]);
}

async function clean({ width, height, depth, white, values }) {
  const colors = depth > 2 ? 3 : 1; // what follows is alpha, and stays
  const byLuminance = channels === 1 && colors === 3;
  const planes = byLuminance ? 1 : colors;
  const seen = new Float32Array(width * height * planes); // a Float32Array rounds what is stored in it
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = values.subarray(i * depth);
    if (byLuminance) seen[i] = Math.floor((9798 * r + 19235 * g + 3735 * b + 2 ** 14) / 2 ** 15) / white; // BT.601
    else for (let k = 0; k < colors; k++) seen[i * colors + k] = values[i * depth + k] / white;
  }
  const cleaned = await blended(seen, width, height, planes);
  for (let i = 0; i < width * height; i++)
    for (let k = 0; k < colors; k++) {
      const change = () => rint(Math.fround(Math.fround(cleaned[i] - seen[i]) * white));
      const value = byLuminance
        ? values[i * depth + k] + change()
        : rint(Math.fround(Math.min(Math.max(cleaned[i * colors + k], 0), 1) * white));
      values[i * depth + k] = Math.min(Math.max(value, 0), white);
    }
}

// height x width x planes in 0..1 -> the same, cleaned
async function blended(seen, width, height, planes) {
  const rows = along(Math.max(height, side)), columns = along(Math.max(width, side));
  const total = new Float32Array(Math.max(height, side) * Math.max(width, side) * planes);
  const row = Math.max(width, side) * planes;
  for (const { start: top, weights: weightsY } of rows) {
    const patches = columns.map(({ start: left }) => {
      const patch = new Float32Array(side * side * planes);
      for (let y = 0, i = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          for (let k = 0; k < planes; k++, i++)
            patch[i] = seen[(reflected(top + y, height) * width + reflected(left + x, width)) * planes + k];
      return patch;
    });
    const strip = new Float32Array(side * row);
    (await network(patches, planes)).forEach((patch, n) => {
      const { start: left, weights } = columns[n];
      for (let y = 0, i = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          for (let k = 0; k < planes; k++, i++)
            strip[y * row + (left + x) * planes + k] += Math.fround(weights[x] * patch[i]);
    });
    for (let y = 0; y < side; y++)
      for (let i = 0; i < row; i++) total[(top + y) * row + i] += Math.fround(weightsY[y] * strip[y * row + i]);
  }
  if (width >= side) return total.subarray(0, height * row);
  const result = new Float32Array(height * width * planes); // without the padding at the right
  for (let y = 0; y < height; y++) result.set(total.subarray(y * row, y * row + width * planes), y * width * planes);
  return result;
}

// Where the patches lie along one axis, and their weights.
function along(length) {
  const starts = [];
  for (let start = 0; start < length - side; start += side - overlap) starts.push(start);
  starts.push(length - side);
  const ramp = (i) => (i < overlap ? (i + 0.5) / overlap : 1);
  const window = Array.from({ length: side }, (_, i) => ramp(i) * ramp(side - 1 - i));
  const total = new Float64Array(length);
  for (const start of starts) window.forEach((weight, i) => (total[start + i] += weight));
  return starts.map((start) => ({ start, weights: Float32Array.from(window, (w, i) => w / total[start + i]) }));
}

// An index beyond the end, mirrored at the last pixel, and at the first, and so on.
function reflected(i, length) {
  const period = Math.max(1, 2 * (length - 1));
  return Math.min(i % period, period - (i % period));
}

// Patches of side x side x planes through the model; a model of three channels sees gray as three equal ones.
async function network(patches, planes) {
  const batch = typeof fixedBatch === "number" ? fixedBatch : patches.length, area = side * side;
  const [step, channelStep] = says.layout === "nhwc" ? [channels, 1] : [1, area];
  const results = [];
  for (let first = 0; first < patches.length; first += batch) {
    const some = patches.slice(first, first + batch), data = new Float32Array(batch * area * channels); // padded by 0
    some.forEach((patch, n) => {
      for (let i = 0; i < area; i++)
        for (let c = 0; c < channels; c++)
          data[n * area * channels + i * step + c * channelStep] = patch[i * planes + (planes > 1 ? c : 0)];
    });
    const shape = says.layout === "nhwc" ? [batch, side, side, channels] : [batch, channels, side, side];
    const cleaned = (await session.run({ [input]: new Tensor("float32", data, shape) }))[output].data;
    some.forEach((patch, n) => {
      const at = (i, c) => cleaned[n * area * channels + i * step + c * channelStep];
      const mean = (i) => Math.fround(Math.fround(at(i, 0) + at(i, 1)) + at(i, 2)) / 3;
      results.push(patch.map((_, j) => (planes < channels ? mean(j) : at(Math.floor(j / planes), j % planes))));
    });
  }
  return results;
}

// Rounded to the nearest integer; halves to the even one.
function rint(value) {
  const up = Math.floor(value + 0.5);
  return up - value === 0.5 && up % 2 !== 0 ? up - 1 : up;
}
