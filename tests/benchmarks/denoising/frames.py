"""Whole frames beside sliding patches: PSNR of files of `cae-export --whole-frame`, and of `cae-run`.

    python -m tests.benchmarks.denoising.frames cbsd68/clean cbsd68/noisy25 [--every 1]
                                                [--model denoise MODEL-frame.onnx]

Each pair of a model that `cae-run` takes and its file for whole frames cleans every noisy picture; means over all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from cae_runtime import Restorer


def psnr(made: np.ndarray, clean: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((np.rint(made * 255.0) - clean) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--model", nargs=2, action="append", metavar=("MODEL", "FRAME"), default=[])
    parser.add_argument("--every", type=int, default=1, help="take each Nth picture only")
    args = parser.parse_args()
    for name, file in args.model:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        rows = []
        with Restorer(name, color="rgb") as restore:
            for path in sorted(args.noisy.iterdir())[:: args.every]:
                clean = cv2.cvtColor(cv2.imread(str(next(args.clean.glob(f"{path.stem}.*")))), cv2.COLOR_BGR2RGB)
                noisy = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
                frame = np.ascontiguousarray(noisy.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
                (whole,) = session.run(None, {"input": frame})
                wanted = clean.astype(np.float64)
                rows.append((psnr(restore(noisy) / 255, wanted), psnr(whole[0].transpose(1, 2, 0), wanted)))
        sliding, whole = np.mean(rows, axis=0)
        print(f"{name}: sliding patches {sliding:.2f} dB, whole frames {whole:.2f} dB, {len(rows)} pictures")


if __name__ == "__main__":
    main()
