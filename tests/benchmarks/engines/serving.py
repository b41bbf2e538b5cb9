"""What every script of this folder shares; it needs NumPy alone, as each runs in an environment of its own.

The benchmark starts a script with the paths of a model, of patches and of a result. The script converts and loads the
model, runs the patches once, writes the result, and says `ready`. From then on it answers each line on standard input
by a run, and by the seconds that it took. What goes wrong is one line, `failed: REASON`.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]


def serve(load: Callable[[str, Floats], Run]) -> None:
    """Serve an engine.

    Args:
        load: takes the path of an ONNX file and the patches, and returns what runs them.
    """
    model, given, made = sys.argv[1:]
    patches = np.load(given)
    try:
        run = load(model, patches)
        np.save(made, run(patches))
    except Exception as e:  # an engine raises what it likes
        print(f"failed: {type(e).__name__}: {' '.join(str(e).split())}", flush=True)
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run(patches)
        print(time.perf_counter() - started, flush=True)
