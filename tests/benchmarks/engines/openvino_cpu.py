"""OpenVINO on the CPU in float32 (newer CPUs would take bfloat16), one thread."""

import openvino
from serving import Floats, Run, serve


def load(model: str, _patches: Floats) -> Run:
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(patches: Floats) -> Floats:
        request.infer([patches], share_inputs=True)
        return request.get_output_tensor().data.copy()

    return run


if __name__ == "__main__":
    serve(load)
