"""The steps of every export: load a `model.pt`, make its file in memory, prove it, and only then write it."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, TypeVar

import onnx

from cae_export.defaults import BATCH_MAX, OPSET
from cae_export.errors import (
    ArgumentTypeError,
    CaeExportError,
    ModelNotFoundError,
    OutputExistsError,
    RanOutError,
    RefusedError,
    UsageError,
    require_flag,
    require_number,
)
from cae_export.graphs.boundary import Boundary, names_inside, with_boundary
from cae_export.graphs.convert import INPUT, OUTPUT, check_opset
from cae_runtime import CaeRuntimeError
from cae_shared.limits import has_run_out
from cae_shared.paths import checked_path
from cae_shared.temporary import check_writable, whole_file
from cae_train.checkpoint import LoadedModel, load_model
from cae_train.errors import CaeTrainError

Report = TypeVar("Report")
VERSION = version("cae-toolkit")  # of this exporter; the model.pt may be of an earlier one

_checked_path = partial(checked_path, wrong_type=ArgumentTypeError, empty=UsageError)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,99}")
_log = logging.getLogger(__name__)


class FileOptions(TypedDict, total=False):
    """Options of every export; `FileSettings` says what they are."""

    data: str | os.PathLike[str] | None
    data_dir: str | os.PathLike[str] | None
    tolerance: float | None
    opset: int
    batch: int | None
    input_name: str | None
    output_name: str | None
    overlap: int | None
    license: str
    overwrite: bool


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Options of every export, checked.

    Attributes:
        data: data set or folder for proof and figures; None takes the model's own.
        data_dir: where named data sets lie; None takes where they lay in training.
        tolerance: largest difference allowed between torch and the file; None takes the default.
        opset: ONNX operator set.
        batch: patches that a call takes; None leaves it to the caller.
        input_name: name of the graph's input; None takes the task's.
        output_name: name of the graph's output; None takes the task's.
        overlap: overlap of neighboring patches that the file recommends to the runtime, in pixels; None takes the
            default.
        license: SPDX identifier of the weights' license, for the metadata; empty if unknown.
        overwrite: whether an existing output is replaced.

    Raises:
        UsageError: a value out of its range.
        ArgumentTypeError: something that should be a path, a number, or True or False, is none.
    """

    data: str | os.PathLike[str] | None = None
    data_dir: str | os.PathLike[str] | None = None
    tolerance: float | None = None
    opset: int = OPSET
    batch: int | None = None
    input_name: str | None = None
    output_name: str | None = None
    overlap: int | None = None
    license: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, wanted in (("data", "the name of a data set, or the path of a folder"), ("data_dir", "a folder")):
            if getattr(self, name) is not None:
                _checked_path(name, getattr(self, name), wanted=wanted)
        require_flag("overwrite", self.overwrite)
        if self.tolerance is not None:
            require_number("tolerance", self.tolerance)
            require(0 < self.tolerance <= 1, "tolerance", self.tolerance, "above 0, at most 1 is needed")
        check_opset(self.opset)
        whole = self.batch is None or (isinstance(self.batch, int) and not isinstance(self.batch, bool))
        require(whole, "batch", repr(self.batch), "a whole number is needed")
        if self.batch is not None:
            require(1 <= self.batch <= BATCH_MAX, "batch", self.batch, f"1 to {BATCH_MAX} patches are needed")
        for name in ("input_name", "output_name"):
            value = getattr(self, name)
            fits = value is None or (isinstance(value, str) and bool(_NAME.fullmatch(value)))
            require(fits, name, repr(value), "a letter, then up to 99 letters, digits or any of _.:/- are needed")

    @property
    def data_name(self) -> str | None:
        """`data` as text."""
        return None if self.data is None else str(Path(self.data))

    @property
    def data_folder(self) -> str | None:
        """`data_dir` as text."""
        return None if self.data_dir is None else str(Path(self.data_dir))

    def written(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """A graph as it is written: with the batch and the names that are wanted.

        Raises:
            UsageError: a name is in use inside the graph.
        """
        boundary = Boundary(batch=self.batch, input_name=self.input_name, output_name=self.output_name)
        result = with_boundary(graph, boundary)
        ends = (result.graph.input[0].name, result.graph.output[0].name)
        for option, name in zip(("input_name", "output_name"), ends, strict=True):
            taken = getattr(self, option) is not None and name in names_inside(graph)
            require(not taken, option, repr(name), "a value inside the graph has this name")
        return result

    def check_names(self, given: str = INPUT, made: str = OUTPUT) -> None:
        """Refuse one name for both the input and the output.

        Args:
            given: the name of the input if no other is wanted.
            made: that of the output.

        Raises:
            UsageError: both have the same.
        """
        given, made = self.input_name or given, self.output_name or made
        blamed, other = ("input_name", "output") if self.output_name is None else ("output_name", "input")
        require(given != made, blamed, repr(made), f"the {other} has this name")

    def check_overlap(self, patch: int) -> None:
        """Refuse an overlap that patches of this side cannot have.

        Raises:
            UsageError: it is negative, or as large as the patch.
        """
        if self.overlap is not None:
            require_number("overlap", self.overlap, whole=True)
            require(0 <= self.overlap < patch, "overlap", self.overlap, f"0 to {patch - 1} pixels are needed")


def require(holds: bool, name: str, value: object, needed: str) -> None:
    """Refuse an option.

    Raises:
        UsageError: `holds` is false; the message names the option, its value and what is needed.
    """
    if not holds:
        raise UsageError(f"{name} is {value}: {needed}")


def takes(loaded: LoadedModel, patch: int) -> tuple[bool, str, int, str]:
    """Whether a network takes patches of this side; with what `require` needs to refuse others."""
    network = loaded.network
    fits = network.side in (None, patch) and patch % network.stride == 0
    only = f"{network.side}" if network.side else f"multiples of {network.stride}"
    return fits, "patch", patch, f"{loaded.arch} takes {only} only"


def write_proved(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    default_ending: str,
    make: Callable[[LoadedModel, Path], tuple[bytes, Report]],
    overwrite: bool = False,
) -> Report:
    """Make the file of a model, and write it once it is proved.

    Args:
        model: a `model.pt` of `cae-train`.
        output: the file to write; None adds `default_ending` to the model's stem.
        default_ending: such as `-int8.onnx`.
        make: makes and proves the content of the file, and returns it with a report; its arguments are the model, and
            the path that the content is written to.
        overwrite: whether an existing output is replaced.

    Raises:
        OutputExistsError: the output exists, and `overwrite` is false.
        UsageError: a model or data that cannot be used, or an output that cannot be written.
        RefusedError: the file does not equal the model, or the runtime cannot use it; nothing is written.
        RanOutError: disk space or open files ran out; nothing is written.
    """
    source = _checked_path("model", model)
    named = None if output is None else _checked_path("output", output)
    _check_model(source)
    target = named or source.with_name(f"{source.stem}{default_ending}")
    check_output(target, overwrite)
    with loaded_model(source) as loaded:
        content, report = make(loaded, target)
    written_whole(target, content)
    return report


def written_whole(target: Path, content: bytes) -> None:
    """Write a file, completely or not at all.

    Raises:
        UsageError: it cannot be written there.
        RanOutError: disk space or open files ran out.
    """
    try:
        with whole_file(target) as temporary:
            temporary.write_bytes(content)
    except OSError as e:
        raise not_written(target, e) from e


@contextmanager
def loaded_model(model: str | os.PathLike[str]) -> Iterator[LoadedModel]:
    """A block with a `model.pt`, in which errors of training and of the runtime become those of an export.

    Raises:
        UsageError: the model, or the data that the block reads, cannot be used.
        RefusedError: the runtime cannot use the file that the block made.
    """
    source = _checked_path("model", model)
    _check_model(source)
    try:
        loaded = load_model(source)
        _log.debug("%s: %s, written by version %s", source, loaded.arch, loaded.version)
        yield loaded
    except CaeTrainError as e:
        raise (ModelNotFoundError if isinstance(e, FileNotFoundError) else UsageError)(str(e)) from e
    except CaeRuntimeError as e:
        raise RefusedError(f"refused: the runtime cannot use the file: {e}") from e


def _check_model(model: Path) -> None:
    """Refuse a missing model before checking the output beside it."""
    if model.is_dir():
        inside = model / "model.pt"
        hint = f": name the file {str(inside)!r}" if inside.is_file() else ", not a model.pt that cae-train wrote"
        raise UsageError(f"model {str(model)!r} is a folder{hint}")
    if not model.exists():
        raise ModelNotFoundError(f"model {str(model)!r} does not exist: name a model.pt that cae-train wrote")
    if model.suffix.lower() == ".onnx":
        raise UsageError(f"model {str(model)!r} is an ONNX file: name the model.pt that it came from")


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        OutputExistsError: it exists, and `overwrite` is false.
        UsageError: it has no name of an ONNX file, or cannot be written.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"output {str(output)!r}: a name that ends in .onnx is needed")
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(
            f"output {str(output)!r}: {'it is a folder' if output.is_dir() else 'there is no such folder'}"
        )
    if output.exists() and not overwrite:
        raise OutputExistsError(f"output {str(output)!r} exists already")
    refuse_unwritable(output)


def refuse_unwritable(output: Path) -> None:
    """Refuse an output beside which no file can be made.

    Raises:
        UsageError: it cannot be written there.
        RanOutError: disk space or open files ran out.
    """
    try:
        check_writable(output.parent)
    except InterruptedError:
        raise
    except OSError as e:
        raise not_written(output, e) from e


def not_written(output: Path, error: OSError) -> CaeExportError:
    """Return the error for an output that cannot be written; another kind if disk space or open files ran out."""
    kind = RanOutError if has_run_out(error) else UsageError
    return kind(f"output {str(output)!r} cannot be written: {error.strerror or error}")
