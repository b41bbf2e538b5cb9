/** A model file, opened by onnxruntime-web. */

import type { InferenceSession } from "onnxruntime-web/wasm";
import { type ModelSpec, modelSpec } from "../core/metadata";
import type { Network } from "../core/restore";
import type { Backend } from "./backend";
import { patchesInnermost } from "./innermost";

const PIXELS_AT_ONCE = 32 * 32 * 32;
const PIXELS_AT_ONCE_GPU = 8 * PIXELS_AT_ONCE;
const PIXELS_INNERMOST = 16 * 32 * 32;
const FEWEST_INNERMOST = 4; // patches; with fewer the rows are too short to gain
const FARTHEST = 1 / 255; // between WebGPU and WebAssembly; more counts as a failure
const PROBED = 4; // patches
const SLOW = 2000; // milliseconds of a batch: it is not measured, but reckoned from few patches

export interface Opened extends Network {
  readonly gpu: boolean;
  readonly why: string;
  /** Finished pixels per second, in millions: measured on a few batches. */
  speed(): Promise<number>;
  close(): Promise<void>;
}

export async function opened(file: Uint8Array, name: string, { ort, gpu, software, why }: Backend): Promise<Opened> {
  const spec = modelSpec(file, name);
  const start = (provider: string, model = file) =>
    ort.InferenceSession.create(model, { executionProviders: [provider], graphOptimizationLevel: "all" });
  const onCpu = async (reason: string) => {
    try {
      const together = Math.floor(PIXELS_INNERMOST / spec.patch ** 2);
      const turned = spec.layout === "nchw" && together >= FEWEST_INNERMOST ? patchesInnermost(file, together) : null;
      const session = await start("wasm", turned ?? file), free = fixedBatch(session) === null;
      if (!turned || free) return new OnSession(ort, session, spec, false, reason, turned ? together : undefined);
      await session.release(); // the file fixes another batch
      return new OnSession(ort, await start("wasm"), spec, false, reason);
    } catch (error) {
      throw new Error(`${name} does not start: ${error instanceof Error ? error.message : error}`);
    }
  };
  if (!gpu) return onCpu(why);
  if (spec.precision === "int8") return onCpu("Not WebGPU: networks of 8-bit integers run on the processor.");
  let onGpu: OnSession | undefined;
  try {
    onGpu = new OnSession(ort, await start("webgpu"), spec, true, "", software ? PROBED : undefined);
    const far = await farthest(onGpu, await onCpu(""));
    if (far <= FARTHEST) return onGpu;
    await onGpu.close();
    onGpu = undefined;
    return onCpu(`Not WebGPU: its results are off by ${(255 * far).toFixed(1)} gray levels here.`);
  } catch (error) {
    await onGpu?.close().catch(() => undefined);
    return onCpu(`Not WebGPU: ${error instanceof Error ? error.message : "it did not start"}`);
  }
}

/** The batch that a model file fixes. */
function fixedBatch({ inputMetadata: [input] }: InferenceSession): number | null {
  return input.isTensor && typeof input.shape[0] === "number" ? input.shape[0] : null;
}

/** The largest difference between two networks on a few patches. */
async function farthest(one: OnSession, other: OnSession): Promise<number> {
  const { patch, channels } = one.spec;
  const patches = Float32Array.from({ length: PROBED * patch * patch * channels }, (_, i) => ((i * 7919) % 256) / 255);
  const [a, b] = [await one.run(patches, PROBED), await other.run(patches, PROBED)];
  await other.close();
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

class OnSession implements Opened {
  readonly batch: number;
  /** The batch that the file fixes, or that the session is prepared for. */
  private readonly fixed: number | null;

  constructor(
    private readonly ort: Backend["ort"],
    private readonly session: InferenceSession,
    readonly spec: ModelSpec,
    readonly gpu: boolean,
    readonly why: string,
    prepared?: number, // the batch that the session is prepared for
  ) {
    const fixed = prepared ?? fixedBatch(session);
    const about = Math.max(1, Math.floor((gpu ? PIXELS_AT_ONCE_GPU : PIXELS_AT_ONCE) / spec.patch ** 2));
    this.fixed = fixed ?? (gpu ? about : null);
    this.batch = Math.ceil(about / (this.fixed ?? 1)) * (this.fixed ?? 1);
  }

  async run(patches: Float32Array, count: number): Promise<Float32Array> {
    const each = this.fixed ?? count, size = patches.length / count;
    if (each === count) return this.call(patches, count);
    const result = new Float32Array(patches.length);
    for (let first = 0; first < count; first += each) {
      const part = patches.subarray(first * size, (first + each) * size), full = new Float32Array(each * size);
      full.set(part);
      result.set((await this.call(full, each)).subarray(0, part.length), first * size);
    }
    return result;
  }

  async speed(): Promise<number> {
    const { spec: { patch, overlap, channels }, batch } = this;
    const timed = async (count: number) => {
      const patches = new Float32Array(count * patch * patch * channels).fill(0.5), start = performance.now();
      await this.run(patches, count);
      return (performance.now() - start) / count; // milliseconds of a patch
    };
    const few = this.fixed ?? Math.min(batch, PROBED), first = await timed(few);
    let best = await timed(few);
    if (first * batch < SLOW) for (let turn = 0; turn < 3; turn++) best = Math.min(best, await timed(batch));
    return (patch - overlap) ** 2 / best / 1000;
  }

  close(): Promise<void> {
    return this.session.release();
  }

  private async call(patches: Float32Array, count: number): Promise<Float32Array> {
    const { spec: { patch, channels, layout }, session } = this;
    const shape = layout === "nhwc" ? [count, patch, patch, channels] : [count, channels, patch, patch];
    const input = new this.ort.Tensor("float32", patches, shape);
    const { [session.outputNames[0]]: output } = await session.run({ [session.inputNames[0]]: input });
    const values = output.data as Float32Array;
    if (values.length !== patches.length) throw new Error("The model gives patches of another size than it takes.");
    return values;
  }
}
