"""The proof: on real patches, the exported file in the runtime's session equals the trained network."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cae_export.defaults import BATCHES, CALLS, PROOF_PATCHES, PSNR_TOLERANCE, TOLERANCE
from cae_export.errors import RefusedError
from cae_export.evaluation_data import Patches
from cae_runtime import Session
from cae_runtime.inference.model_spec import NHWC
from cae_train.metrics import psnr

RUN_BATCH = 64

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BatchParity:
    """PyTorch compared with onnxruntime at one batch size: largest absolute difference, and mean PSNR (dB) of each."""

    batch: int
    difference: float
    torch_psnr: float
    onnx_psnr: float

    def holds(self, tolerance: float) -> bool:
        """Whether both are within their limits (NaN is not)."""
        return self.difference <= tolerance and abs(self.torch_psnr - self.onnx_psnr) <= PSNR_TOLERANCE


def at_each_batch(network: nn.Module, session: Session, inputs: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Run a network and its file on the same inputs, at every batch size that a file is proved at, in up to 64 calls.

    Yields:
        The batch size, what torch gives, and what the file gives, N x ... each.
    """
    for batch in _batches(session):
        some = inputs[: batch * CALLS]
        _log.info("comparing torch with the file in batches of %d", batch)
        with torch.inference_mode():
            trained = torch.cat([network(part) for part in torch.split(some, batch)])
        yield batch, trained, run(session, some, batch)


def _batches(session: Session) -> tuple[int, ...]:
    """Batch sizes to prove a file at: of a fixed batch itself, and one patch more, so that one call is padded."""
    return BATCHES if session.batch is None else (session.batch, session.batch + 1)


def prove(network: nn.Module, session: Session, patches: Patches) -> list[BatchParity]:
    """Compare the network with its file at every batch size; differences are returned, not raised."""
    degraded, clean = patches.degraded[:PROOF_PATCHES], patches.clean[:PROOF_PATCHES]
    return [
        BatchParity(
            batch,
            float((trained - exported).abs().max()),
            mean_psnr(trained, clean[: len(trained)]),
            mean_psnr(exported, clean[: len(trained)]),
        )
        for batch, trained, exported in at_each_batch(network, session, degraded)
    ]


def refuse_unless_equal(rows: list[BatchParity], tolerance: float) -> None:
    """Refuse a file that differs from the network.

    Raises:
        RefusedError: naming the batch, the difference and the bounds.
    """
    for row in rows:
        if not row.holds(tolerance):
            drop = round(row.onnx_psnr - row.torch_psnr, 3) + 0.0  # no "-0.000"
            raise RefusedError(
                f"refused: at batch {row.batch} the file differs from the trained network by {row.difference:.2e} "
                f"(at most {tolerance:.0e}) and {drop:+.3f} dB (at most {PSNR_TOLERANCE})"
            )


def refuse_unless_steady(session: Session, patches: Patches, limit: float = TOLERANCE) -> None:
    """Refuse a quantized file whose output depends on the batch size.

    The largest difference must not exceed `limit`, the mean difference not `TOLERANCE`.

    Raises:
        RefusedError: naming the batch and the difference.
    """
    degraded = patches.degraded[:PROOF_PATCHES]
    expected = run(session, degraded)
    for batch in _batches(session):
        some = degraded[: batch * CALLS]
        apart = (run(session, some, batch) - expected[: len(some)]).abs()
        worst, mean = float(apart.max()), float(apart.mean())
        if not (worst <= limit and mean <= TOLERANCE):
            raise RefusedError(
                f"refused: the file's result differs at batch {batch}: {worst:.2e} apart (at most {limit:.0e}), "
                f"{mean:.2e} on average (at most {TOLERANCE:.0e})"
            )


def run(session: Session, patches: Tensor, batch: int | None = None) -> Tensor:
    """Run a session on float32 N x ..., `batch` at a time; patches are N x C x P x P, whatever the file's layout.

    Without `batch` it is the file's fixed one, or 64.
    """
    batch = batch or session.batch or RUN_BATCH
    last = session.spec.layout == NHWC
    fed = patches.permute(0, 2, 3, 1) if last else patches
    outputs = np.concatenate([session.run(np.ascontiguousarray(part.numpy())) for part in torch.split(fed, batch)])
    return torch.from_numpy(np.ascontiguousarray(outputs.transpose(0, 3, 1, 2)) if last else outputs)


def independent_loss(trained: Tensor, made: Tensor, clean: Tensor) -> float:
    """The PSNR in dB that rounding would cost if its error were independent of the network's own: both errors add up.

    A file of another network differs by far more than this, even if its PSNR is as good.

    Args:
        trained: what the network gives, float32 N x C x P x P.
        made: what the rounded file gives.
        clean: what both aim at, in 0..1.
    """
    apart = (made.clamp(0, 1) - trained.clamp(0, 1)).square().flatten(1).mean(1)
    error = 10 ** (-psnr(trained, clean) / 10)
    return float((10 * torch.log10(1 + apart / error)).mean())


def mean_psnr(output: Tensor, clean: Tensor) -> float:
    """Mean PSNR in dB over N pairs, float32 N x C x P x P in 0..1 each."""
    return float(psnr(output, clean).mean())
