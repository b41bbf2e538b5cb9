"""An ONNX file in memory: a graph with its metadata, opened by the runtime."""

from dataclasses import dataclass

import onnx

from cae_export.errors import RefusedError
from cae_runtime import ModelSpec, Session


@dataclass(frozen=True)
class OnnxFile:
    """The content of a file, and a session of the runtime that runs it on the CPU."""

    content: bytes
    session: Session

    @property
    def spec(self) -> ModelSpec:
        """Its metadata."""
        return self.session.spec


def build_file(graph: onnx.ModelProto, spec: ModelSpec) -> OnnxFile:
    """Put the metadata into the graph, and read back from the file that all of them are there.

    Raises:
        RefusedError: they are not.
        CaeRuntimeError: the runtime cannot use the file.
    """
    used = {node.domain for node in graph.graph.node}
    imports = [entry for entry in graph.opset_import if entry.domain in used]  # tools leave many unused ones
    del graph.opset_import[:]
    graph.opset_import.extend(imports)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, spec.to_metadata())
    file = OnnxFile(content := graph.SerializeToString(), Session(content, provider="cpu"))
    if file.spec != spec:
        raise RefusedError("refused: the metadata read back from the file are not those written")
    return file
