// ONNX Runtime for browsers, as WebAssembly, in Node; one thread.
import { createRequire } from "node:module";
import { serve } from "./serving.mjs";

const require = createRequire(`${process.env.NODE_ROOT}/`);
const ort = require("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";
await serve(ort, { executionProviders: ["wasm"] });
