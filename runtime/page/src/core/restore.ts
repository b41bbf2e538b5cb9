/** Cleans a picture patch by patch, by the rules of export/FORMAT.md, in the order of cae_runtime's TiledImage. */

import type { ModelSpec } from "./metadata";
import { type Picture, colorsOf, emptyLike, rint, whiteOf } from "./picture";
import { Seen, luminance } from "./seen";
import { type Place, places } from "./tiling";

export interface Network {
  readonly spec: ModelSpec;
  /** How many patches are best given at once. */
  readonly batch: number;
  /** Runs `count` patches of the spec's layout; the result has the same shape. */
  run(patches: Float32Array, count: number): Promise<Float32Array>;
}

/** Called after each row of patches; what it throws ends the work. */
export type Progress = (done: number, all: number) => Promise<void> | void;

/** The cleaned picture, of the same size and kind; alpha, and the colors of hidden pixels, stay. */
export async function cleaned(picture: Picture, network: Network, progress?: Progress): Promise<Picture> {
  const margin = network.spec.framed ? frameMargin(picture, network.spec) : 0;
  if (margin) return uncovered(await cleaned(covered(picture, margin), network, progress), margin);
  return new Restoration(picture, network).run(progress);
}

/** A row of patches that is under way. */
interface Strip {
  readonly place: Place;
  /** What the model sees of it, planes x patch x values, and its outputs, weighted and added up. */
  readonly floats: Float32Array;
  readonly sums: Float32Array;
  /** Patches that are not added yet. */
  open: number;
}

/** A patch that is to be run. */
interface Cut {
  readonly strip: Strip;
  readonly place: Place;
}

class Restoration {
  private readonly seen: Seen;
  private readonly rows: Place[];
  private readonly columns: Place[];
  private readonly result: Picture;
  /** The sums of the rows of patches that overlap: planes x patch x values. */
  private readonly sums: Float32Array;

  constructor(private readonly picture: Picture, private readonly network: Network) {
    const { patch, overlap } = network.spec;
    this.seen = new Seen(picture, network.spec);
    this.rows = places(Math.max(picture.height, patch), patch, overlap);
    this.columns = places(Math.max(picture.width, patch), patch, overlap);
    this.result = emptyLike(picture);
    this.result.data.set(picture.data); // alpha, and what is hidden
    this.sums = new Float32Array(this.seen.planes * patch * this.seen.values);
  }

  /** Runs full batches, which may reach over several rows of patches; rows end from the top down. */
  async run(progress?: Progress): Promise<Picture> {
    const { rows, network: { batch } } = this, strips: Strip[] = [];
    let cuts: Cut[] = [], done = 0;
    for (const place of rows) {
      const { floats, hidden } = this.seen.rows(place.start);
      const visible = hidden ? this.columns.filter(({ start }) => this.anyVisible(hidden, start)) : this.columns;
      const strip = { place, floats, sums: new Float32Array(floats.length), open: visible.length };
      strips.push(strip);
      cuts.push(...visible.map((each) => ({ strip, place: each })));
      const last = strip.place === rows[rows.length - 1];
      while (cuts.length >= batch || (last && cuts.length)) {
        this.add(cuts, await this.outputs(cuts.slice(0, batch)));
        cuts = cuts.slice(batch);
      }
      for (; strips[0]?.open === 0; strips.shift()) {
        this.end(strips[0], done++);
        await progress?.(done, rows.length);
      }
    }
    return this.result;
  }

  /** Adds the outputs of the first patches, weighted along the row. */
  private add(cuts: readonly Cut[], outputs: Float32Array): void {
    const { seen: { planes, depth, values }, network: { spec: { patch } } } = this, length = patch * depth;
    for (let n = 0, from = 0; from < outputs.length; n++) {
      const { strip, place: { start, weights } } = cuts[n], { sums } = strip;
      strip.open--;
      for (let k = 0; k < planes; k++)
        for (let y = 0; y < patch; y++) {
          const to = (k * patch + y) * values + start * depth;
          if (depth === 1)
            for (let x = 0; x < length; x++) sums[to + x] += Math.fround(weights[x] * outputs[from++]);
          else
            for (let x = 0, i = to; x < patch; x++, i += 3, from += 3) {
              sums[i] += Math.fround(weights[x] * outputs[from]);
              sums[i + 1] += Math.fround(weights[x] * outputs[from + 1]);
              sums[i + 2] += Math.fround(weights[x] * outputs[from + 2]);
            }
        }
    }
  }

  /** Adds a row of patches to those above it, stores the rows of pixels that are finished, and moves on. */
  private end(strip: Strip, index: number): void {
    const { rows, sums, seen: { planes, values }, network: { spec: { patch } } } = this, { start: top, weights } = strip.place;
    for (let k = 0, i = 0; k < planes; k++)
      for (let y = 0; y < patch; y++)
        for (const end = i + values; i < end; i++) sums[i] += Math.fround(weights[y] * strip.sums[i]);
    const next = index + 1 < rows.length ? rows[index + 1].start : top + patch;
    this.store(top, Math.min(next, this.picture.height));
    const done = (next - top) * values;
    for (let k = 0, plane = 0; k < planes; k++, plane += patch * values) {
      sums.copyWithin(plane, plane + done, plane + patch * values);
      sums.fill(0, plane + patch * values - done, plane + patch * values);
    }
  }

  /** Cuts patches, runs them, and brings the outputs back to the planes that are blended. */
  private async outputs(some: readonly Cut[]): Promise<Float32Array> {
    const { seen: { planes, depth, values }, network: { spec: { patch, channels, layout } } } = this;
    const area = patch * patch, length = patch * depth;
    const grayInColor = planes * depth < channels;
    const cut = new Float32Array(some.length * planes * area * depth);
    let to = 0;
    for (const { strip: { floats }, place: { start } } of some)
      for (let k = 0; k < planes; k++)
        for (let y = 0; y < patch; y++, to += length) {
          const from = (k * patch + y) * values + start * depth;
          cut.set(floats.subarray(from, from + length), to);
        }
    if (!grayInColor) return this.network.run(cut, some.length);
    const step = layout === "nhwc" ? 3 : 1, plane = layout === "nhwc" ? 1 : area; // between pixels, and channels
    const three = new Float32Array(cut.length * 3);
    for (let n = 0, i = 0; n < some.length; n++)
      for (let p = 0, at = n * 3 * area; p < area; p++, i++, at += step)
        three[at] = three[at + plane] = three[at + 2 * plane] = cut[i];
    const output = await this.network.run(three, some.length);
    for (let n = 0, i = 0; n < some.length; n++)
      for (let p = 0, at = n * 3 * area; p < area; p++, i++, at += step)
        cut[i] = Math.fround(Math.fround(output[at] + output[at + plane]) + output[at + 2 * plane]) / 3;
    return cut;
  }

  private anyVisible(hidden: Uint8Array, start: number): boolean {
    const { picture: { width }, network: { spec: { patch } } } = this, end = Math.min(start + patch, width);
    for (let row = 0; row < hidden.length; row += width)
      for (let x = start; x < end; x++) if (!hidden[row + x]) return true;
    return false;
  }

  /** Rounds the finished rows top..end - 1 and stores them. */
  private store(top: number, end: number): void {
    const { picture, seen: { planes, depth, values }, sums, network: { spec: { patch } } } = this;
    const { width, channels, data } = picture, to = this.result.data, white = whiteOf(picture);
    const alpha = channels % 2 === 0, colors = colorsOf(picture);
    for (let y = 0; y < end - top; y++)
      for (let x = 0; x < width; x++) {
        const at = ((top + y) * width + x) * channels, from = y * values + x * depth;
        if (alpha && data[at + channels - 1] === 0) continue;
        let change = 0;
        if (this.seen.byLuminance) {
          const before = Math.fround(luminance(data[at], data[at + 1], data[at + 2]) / white);
          change = rint(Math.fround(Math.fround(sums[from] - before) * white));
        }
        for (let k = 0; k < colors; k++) {
          const sum = sums[depth === 3 ? from + k : (k % planes) * patch * values + from];
          if (!Number.isFinite(sum)) throw new Error("The model returns values that are not finite: it is damaged.");
          const value = this.seen.byLuminance
            ? data[at + k] + change
            : rint(Math.fround((sum < 0 ? 0 : sum > 1 ? 1 : sum) * white));
          to[at + k] = value < 0 ? 0 : value > white ? white : value;
        }
      }
  }
}

/** The black border that a model of framed pictures knows around one of their size; 0 for other sizes. */
function frameMargin({ width, height }: Picture, { framed, patch }: ModelSpec): number {
  return width === framed && height === framed ? Math.floor((patch - framed) / 2) : 0;
}

function covered(picture: Picture, margin: number): Picture {
  const { width, height, channels } = picture, wide = width + 2 * margin;
  const size = wide * (height + 2 * margin) * channels;
  const data = picture.data instanceof Uint16Array ? new Uint16Array(size) : new Uint8Array(size);
  if (channels % 2 === 0) for (let at = channels - 1; at < size; at += channels) data[at] = whiteOf(picture);
  for (let y = 0; y < height; y++)
    data.set(picture.data.subarray(y * width * channels, (y + 1) * width * channels),
      ((y + margin) * wide + margin) * channels);
  return { ...picture, width: wide, height: height + 2 * margin, data };
}

function uncovered(picture: Picture, margin: number): Picture {
  const { channels } = picture, width = picture.width - 2 * margin, height = picture.height - 2 * margin;
  const size = width * height * channels;
  const data = picture.data instanceof Uint16Array ? new Uint16Array(size) : new Uint8Array(size);
  for (let y = 0; y < height; y++) {
    const from = ((y + margin) * picture.width + margin) * channels;
    data.set(picture.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { ...picture, width, height, data };
}
