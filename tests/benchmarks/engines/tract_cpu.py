"""tract, with the shape of its input set, as its documentation has it; it takes one thread."""

import tract
from serving import Floats, Run, serve


def load(model: str, patches: Floats) -> Run:
    graph = tract.onnx().load(model)
    graph.set_input_fact(0, ",".join(map(str, patches.shape)) + ",f32")
    plan = graph.into_model().into_runnable()
    return lambda patches: plan.run([patches])[0].to_numpy()


if __name__ == "__main__":
    serve(load)
