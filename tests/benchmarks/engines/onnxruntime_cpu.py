"""ONNX Runtime on the CPU, one thread."""

import onnxruntime
from serving import Floats, Run, serve


def load(model: str, _patches: Floats) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda patches: session.run(None, {name: patches})[0]


if __name__ == "__main__":
    serve(load)
