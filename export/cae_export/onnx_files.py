"""What `export` is given and writes: paths, a name that can be written, the metadata in the file and read back."""

import os
from functools import partial
from pathlib import Path

import onnx

from cae_export.errors import ArgumentTypeError, ModelNotFoundError, RefusedError, UsageError
from cae_runtime import ModelSpec, Session
from cae_shared.paths import checked_path
from cae_train import CaeTrainError


def as_paths(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    data: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
) -> tuple[Path, Path | None, str | None, str | None]:
    """Return the paths that a Python user named; of data, which may be a data set's name, as text.

    Raises:
        ArgumentTypeError: one of them is neither a str nor an `os.PathLike`.
        UsageError: one of them is empty.
    """
    checked = partial(checked_path, wrong_type=ArgumentTypeError, empty=UsageError)
    return (
        checked("model", model),
        None if output is None else checked("output", output),
        None if data is None else str(checked("data", data, wanted="the name of a data set, or the path of a folder")),
        None if data_dir is None else str(checked("data_dir", data_dir, wanted="the path of a folder")),
    )


def usage_error(error: CaeTrainError) -> UsageError:
    """Return what this package raises when a model cannot be loaded."""
    return (ModelNotFoundError if isinstance(error, FileNotFoundError) else UsageError)(str(error))


def check_output(output: Path) -> None:
    """Refuse a name that no model file can have.

    Raises:
        UsageError: it does not end in `.onnx`, is a folder, or its folder is not there.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"-o {output}: a name that ends in .onnx is needed")
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"-o {output}: {'it is a folder' if output.is_dir() else 'there is no such folder'}")


def check_model(model: Path) -> None:
    """Refuse a model that cannot be there, before anything is said of the output beside it.

    Raises:
        ModelNotFoundError: there is no such file.
        UsageError: it is a folder.
    """
    if model.is_dir():
        inside = model / "model.pt"
        hint = f": name the file {inside}" if inside.is_file() else ", not a model.pt that cae-train wrote"
        raise UsageError(f"{model} is a folder{hint}")
    if not model.exists():
        raise ModelNotFoundError(f"{model} does not exist: name a model.pt that cae-train wrote")


def save(graph: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    """Write the graph with this metadata, and read back that all of it is there.

    Raises:
        RefusedError: it is not.
        CaeRuntimeError: the runtime cannot use the file.
        OSError: it cannot be written.
    """
    used = {node.domain for node in graph.graph.node}
    imports = [entry for entry in graph.opset_import if entry.domain in used]  # tools leave many that are not
    del graph.opset_import[:]
    graph.opset_import.extend(imports)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, spec.to_metadata())
    path.write_bytes(graph.SerializeToString())
    if Session(path, provider="cpu").spec != spec:
        raise RefusedError("refused: the metadata read back from the file are not those written")
