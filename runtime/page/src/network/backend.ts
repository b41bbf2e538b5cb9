/** Where networks run: WebGPU where it is there and quicker, else WebAssembly with SIMD and threads. */

import type * as Ort from "onnxruntime-web/wasm";

export interface Backend {
  readonly ort: typeof Ort;
  readonly gpu: boolean;
  /** WebGPU that the processor computes: for tests. */
  readonly software: boolean;
  /** Threads of WebAssembly. */
  readonly threads: number;
  /** Why it is nothing better; empty if it is the best. */
  readonly why: string;
}

const MOST_THREADS = 16;
// What the page's address may ask for: ?threads=2, and ?software-webgpu, which takes WebGPU that the processor computes.
const ASKED = new URLSearchParams(location.search), SOFTWARE = "software-webgpu";
const FILES = new URL("./ort/", import.meta.url).href;

export async function backend(): Promise<Backend> {
  const missing = await whyNoGpu();
  const ort = (missing ? await import("onnxruntime-web/wasm") : await import("onnxruntime-web/webgpu")) as typeof Ort;
  const stem = `${FILES}ort-wasm-simd-threaded${missing ? "" : ".asyncify"}`;
  const wanted = Math.trunc(Number(ASKED.get("threads"))) || navigator.hardwareConcurrency || 1;
  const threads = crossOriginIsolated ? Math.min(Math.max(wanted, 1), MOST_THREADS) : 1;
  ort.env.wasm.wasmPaths = { mjs: `${stem}.mjs`, wasm: `${stem}.wasm` };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const alone = crossOriginIsolated ? "" : "One thread only: this site is not served with cross-origin isolation. ";
  return { ort, gpu: !missing, software: ASKED.has(SOFTWARE), threads, why: (missing && alone) + missing };
}

async function whyNoGpu(): Promise<string> {
  const { gpu } = navigator as unknown as { gpu?: { requestAdapter(): Promise<{ info?: Info } | null> } };
  if (!gpu) return "No WebGPU: this browser does not offer it.";
  try {
    const adapter = await gpu.requestAdapter();
    if (!adapter) return "No WebGPU: no graphics processor was found.";
    if (adapter.info?.isFallbackAdapter && !ASKED.has(SOFTWARE)) return "No WebGPU: here it would be computed by the processor, more slowly.";
    return "";
  } catch (error) {
    return `No WebGPU: ${error instanceof Error ? error.message : "it did not start"}.`;
  }
}

interface Info {
  readonly isFallbackAdapter?: boolean;
}
