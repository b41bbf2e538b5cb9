"""Converts a trained network to an ONNX graph with float32 `input` and `output` and dynamic N."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, cast

import onnx
import onnxslim
import torch
from torch import nn

from cae_export.defaults import OPSET, OPSET_MAX, OPSET_MIN
from cae_export.errors import UsageError
from cae_export.graphs.operators import channels_first_in_shuffles, with_onnx_operators
from cae_runtime.inference.model_spec import NCHW, NHWC

INPUT, OUTPUT, BATCH = "input", "output", "N"


def to_onnx(
    network: nn.Module, patch: int, opset: int = OPSET, layout: str = NCHW, *, for_int8: bool = False
) -> onnx.ModelProto:
    """Convert a network in evaluation mode through torch's dynamo exporter, and simplify the graph.

    Args:
        network: takes and returns float32 N x C x P x P in 0..1, or N x P x P x C; C is its `channels`.
        patch: P.
        opset: ONNX operator set of the file.
        layout: which of the two, "nchw" or "nhwc".
        for_int8: whether the graph will be quantized.

    Raises:
        UsageError: an operator set outside 15..22, or a network that torch cannot export to it.
    """
    channels = cast(int, network.channels)
    if layout == NHWC:  # its shuffles of sub-pixels move rows alone, and stay as they are
        return convert(network, (patch, patch, channels), opset)
    form = with_onnx_operators(network, patch, for_int8=for_int8)
    return convert(form, (channels, patch, patch), opset)


def convert(
    network: nn.Module, shape: tuple[int, ...], opset: int = OPSET, *, given: str = INPUT, made: str = OUTPUT
) -> onnx.ModelProto:
    """Convert a module that takes and returns one float32 tensor, N x ... each.

    Args:
        network: the module, in evaluation mode.
        shape: of one item of its input.
        opset: ONNX operator set of the file.
        given: name of the input.
        made: name of the output.

    Raises:
        UsageError: see `to_onnx`.
    """
    sizes = {0: torch.export.Dim(BATCH)}
    return _converted(network, shape, sizes, opset, given, made)


def convert_frames(network: nn.Module, opset: int, *, given: str, made: str) -> onnx.ModelProto:
    """Convert a network of dynamic height and width, multiples of its `stride`; N is dynamic, too.

    Raises:
        UsageError: see `to_onnx`.
    """
    stride = cast(int, network.stride)
    form = with_onnx_operators(network, stride, for_int8=True)  # the other form is of one size
    sizes = {0: torch.export.Dim(BATCH), **{axis: stride * torch.export.Dim(name, min=2, max=2**16)
                                            for axis, name in ((2, "rows"), (3, "columns"))}}  # fmt: skip
    return _converted(form, (cast(int, network.channels), 5 * stride, 7 * stride), sizes, opset, given, made)


def _converted(
    network: nn.Module, shape: tuple[int, ...], sizes: dict[int, Any], opset: int, given: str, made: str
) -> onnx.ModelProto:
    check_opset(opset)
    example = torch.rand(2, *shape)  # a batch of 1 would freeze the dimension
    with _quiet():
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[given],
                output_names=[made],
                dynamic_shapes=(sizes,),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as e:
            raise UsageError(f"torch cannot export this network: {str(e).splitlines()[0]}") from e
        if program is None:
            raise UsageError("torch returned no graph for this network: it cannot be exported")
        model: onnx.ModelProto = onnxslim.slim(program.model_proto)
    written = next(entry.version for entry in model.opset_import if not entry.domain)
    if written != opset:  # torch writes one operator set, and converts it to others where it can
        raise UsageError(
            f"opset is {opset}: torch cannot write this network in it, and falls back to {written}: take {OPSET}, or "
            f"another of {OPSET_MIN} to {OPSET_MAX}"
        )
    channels_first_in_shuffles(model.graph)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def check_opset(opset: int) -> None:
    """Refuse an operator set outside 15..22.

    Raises:
        UsageError: it is.
    """
    if not OPSET_MIN <= opset <= OPSET_MAX:
        raise UsageError(f"opset is {opset}: {OPSET_MIN} to {OPSET_MAX} are needed")


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter writes about this machine: source lines, stack traces, absolute paths."""
    model.doc_string = model.graph.doc_string = ""
    model.producer_name, model.producer_version = "cae-export", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for values in (model.graph.input, model.graph.output, model.graph.value_info, model.graph.initializer):
        for value in values:
            value.doc_string = ""
            del value.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's remarks (missing torchvision, its own deprecations) from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
