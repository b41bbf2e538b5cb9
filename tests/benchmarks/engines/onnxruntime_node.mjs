// ONNX Runtime's own binding for Node, one thread.
import { createRequire } from "node:module";
import { serve } from "./serving.mjs";

const require = createRequire(`${process.env.NODE_ROOT}/`);
await serve(require("onnxruntime-node"), { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 });
