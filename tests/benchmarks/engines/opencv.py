"""OpenCV's dnn module, one thread."""

import cv2
from serving import Floats, Run, serve


def load(model: str, _patches: Floats) -> Run:
    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(model)

    def run(patches: Floats) -> Floats:
        network.setInput(patches)
        return network.forward().copy()

    return run


if __name__ == "__main__":
    serve(load)
