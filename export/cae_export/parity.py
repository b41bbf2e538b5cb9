"""The proof: the exported file, in the runtime's own session, equals what was trained, on real patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cae_export.errors import RefusedError
from cae_export.patches import Patches
from cae_runtime import Session
from cae_train.objective import psnr

BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-4  # largest absolute difference in 0..1, fp32
TOLERANCE_FP16 = 1e-2
PSNR_TOLERANCE = 0.01  # dB
RUN_BATCH = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BatchParity:
    """Torch beside onnxruntime at one batch size: largest absolute difference and mean PSNR (dB) of each."""

    batch: int
    difference: float
    torch_psnr: float
    onnx_psnr: float

    def holds(self, tolerance: float) -> bool:
        """Whether both stay within their bounds (a NaN does not)."""
        return self.difference <= tolerance and abs(self.torch_psnr - self.onnx_psnr) <= PSNR_TOLERANCE


def prove(network: nn.Module, path: Path, patches: Patches) -> list[BatchParity]:
    """Compare the network with the file at every batch size; raise nothing."""
    session = Session(path, provider="cpu")
    rows = []
    for batch in BATCHES:
        count = max(batch, RUN_BATCH // batch * batch)
        degraded, clean = patches.degraded[:count], patches.clean[:count]
        with torch.inference_mode():
            trained = torch.cat([network(part) for part in torch.split(degraded, batch)])
        exported = run(session, degraded, batch)
        rows.append(
            BatchParity(
                batch, float((trained - exported).abs().max()), mean_psnr(trained, clean), mean_psnr(exported, clean)
            )
        )
    return rows


def refuse_unless_equal(rows: list[BatchParity], tolerance: float) -> None:
    """Turn a row that fails into an error.

    Raises:
        RefusedError: naming the batch, the difference and the bounds.
    """
    for row in rows:
        if not row.holds(tolerance):
            raise RefusedError(
                f"refused: at batch {row.batch} the file differs from the trained network by {row.difference:.2e} "
                f"(at most {tolerance:.0e}) and {row.onnx_psnr - row.torch_psnr:+.3f} dB (at most {PSNR_TOLERANCE})"
            )


def run(session: Session, patches: Tensor, batch: int = RUN_BATCH) -> Tensor:
    """The session's output on float32 N x 3 x P x P, `batch` at a time."""
    parts = [session.run(np.ascontiguousarray(part.numpy())) for part in torch.split(patches, batch)]
    return torch.from_numpy(np.concatenate(parts))


def mean_psnr(output: Tensor, clean: Tensor) -> float:
    """Mean PSNR in dB over N pairs, float32 N x 3 x P x P in 0..1 each."""
    return float(psnr(output, clean).mean())
