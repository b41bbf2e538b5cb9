"""An ONNX file in memory: a graph with its metadata, opened by the runtime."""

from dataclasses import dataclass
from typing import Any, cast

import onnx

from cae_export.errors import RefusedError
from cae_export.graphs.boundary import refuse_invalid
from cae_runtime import ModelSpec, Session
from cae_runtime.inference.model_spec import COLOR_OF_CHANNELS
from cae_train.checkpoint import LoadedModel
from cae_train.config import PATCH
from cae_train.data.registry import framed_side
from cae_train.degradations.mask import FILL
from cae_train.degradations.registry import chain_of, described


@dataclass(frozen=True)
class OnnxFile:
    """The content of a file, and a session of the runtime that runs it on the CPU."""

    content: bytes
    session: Session

    @property
    def spec(self) -> ModelSpec:
        """Its metadata."""
        return self.session.spec

    @property
    def psnr(self) -> float:
        """The PSNR that it reaches, dB; once it is measured."""
        return cast(float, self.spec.psnr_out)


def facts_of(model: LoadedModel, patch: int) -> dict[str, Any]:
    """The metadata of a file that restores that follow from its model alone, by their names in `ModelSpec`.

    Args:
        model: the model.
        patch: side of the patches that the file takes.
    """
    chain, channels = chain_of(model.config), model.network.channels
    return {
        "channels": channels,
        "color": COLOR_OF_CHANNELS[channels],
        "task": "inpaint" if chain.leaves_holes else "restore",
        "architecture": model.arch,
        "degradation": described(model.config),
        "fill": FILL[channels] if chain.leaves_holes else None,
        "sigma_min": chain.sigma_min,
        "framed": framed_side(model.config.data) if patch == PATCH else None,
    }


def build_file(graph: onnx.ModelProto, spec: ModelSpec) -> OnnxFile:
    """Put the metadata into the graph, read it back from the file, and compare.

    Raises:
        RefusedError: they are not, or the file is not valid ONNX.
        CaeRuntimeError: the runtime cannot use the file.
    """
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, spec.to_metadata())
    content = graph.SerializeToString()
    refuse_invalid(content)
    file = OnnxFile(content, Session(content, provider="cpu"))
    if file.spec != spec:
        raise RefusedError("refused: the metadata that was read back from the file is not what was written")
    return file
