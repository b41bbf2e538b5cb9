"""TFLite: onnx2tf converts, LiteRT runs in one thread; images have channels last there."""

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import onnx2tf
from ai_edge_litert.interpreter import Interpreter
from serving import Floats, Run, serve


def load(model: str, patches: Floats) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            onnx2tf.convert(input_onnx_file_path=model, output_folder_path=folder, non_verbose=True)
        (file,) = Path(folder).glob("*_float32.tflite")
        network = Interpreter(model_content=file.read_bytes(), num_threads=1)
    network.allocate_tensors()
    given, made = network.get_input_details()[0], network.get_output_details()[0]
    last = tuple(given["shape"]) != patches.shape

    def run(patches: Floats) -> Floats:
        network.set_tensor(given["index"], np.ascontiguousarray(patches.transpose(0, 2, 3, 1)) if last else patches)
        network.invoke()
        output = network.get_tensor(made["index"])
        return np.ascontiguousarray(output.transpose(0, 3, 1, 2)) if last else output

    return run


if __name__ == "__main__":
    serve(load)
