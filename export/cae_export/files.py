"""ONNX files on the disk: a name that can be written, the metadata in it and read back."""

from pathlib import Path

import onnx

from cae_export.errors import RefusedError, UsageError
from cae_runtime import ModelSpec, Session


def check_output(output: Path) -> None:
    """Refuse a name that no model file can have.

    Raises:
        UsageError: it does not end in `.onnx`, is a folder, or its folder is not there.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"-o {output}: a name that ends in .onnx is needed")
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"-o {output}: {'it is a folder' if output.is_dir() else 'there is no such folder'}")


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
