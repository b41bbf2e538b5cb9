"""Untrusted model files: names that are not text, endless recursion, too much memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.conftest import Command

from cae_runtime import ModelError, Restorer, Session

Model = Callable[[str], Path]
BOUNDED = """
import sys
from cae_runtime.inference import cpu_limits
cpu_limits.usable_memory = lambda: int(sys.argv[2])
from cae_runtime.io.stderr import own_stderr
with own_stderr():
    import numpy as np
    from cae_runtime import ProviderError, Session
    session = Session(sys.argv[1], provider="cpu")
    patches = np.zeros((512, 3, 32, 32), np.float32)
    try:
        print(session.run(patches).shape)
    except ProviderError as e:
        print(e)
"""


@pytest.mark.parametrize("place", [b"fixture", b"output", b"input"])
def test_names_and_metadata_that_are_not_text_are_a_one_line_error(
    fixture_model: Model, cae_run: Command, tmp_path: Path, place: bytes
) -> None:
    data = fixture_model("identity").read_bytes()
    for other in (b"\xff" * len(place), b"\xc3" + place[1:]):
        spoiled = data.replace(place, other)
        with pytest.raises(ModelError, match="not text in UTF-8"):
            Session(spoiled)
    (tmp_path / "a.onnx").write_bytes(spoiled)
    (tmp_path / "a.png").write_bytes(b"")
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / "out", model=tmp_path / "a.onnx")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "why"),
    [(b"\x72\0" * (2**17 + 1), "checked for loops: it has more"), (b"\xa3\x06\xa4\x06", "not an ONNX model")],
    ids=["many", "group"],
)
def test_no_parts_before_it_hide_a_loop(fixture_model: Model, before: bytes, why: str) -> None:
    """onnxruntime reads empty metadata in any number, and skips a group: a field of an unknown, old kind."""
    with pytest.raises(ModelError, match=why):
        Session(before + fixture_model("endless").read_bytes())


def test_a_model_with_functions_is_refused(fixture_model: Model) -> None:
    """1.5 KB of functions, each of which calls the one before twice, keep onnxruntime busy without end."""
    with pytest.raises(ModelError, match="has functions"):
        Session(fixture_model("identity").read_bytes() + b"\xca\x01\x03\x0a\x01f")


def test_a_model_that_contains_itself_is_refused(fixture_model: Model, cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / "out", model="endless")
    assert (done.returncode, b"has the operator Loop" in done.stderr) == (2, True)
    loop = fixture_model("endless").read_bytes()
    for name in (b"Scan", b"Loop"):
        with pytest.raises(ModelError, match=f"has the operator {name.decode()}"):
            Session(loop.replace(b"Loop", name))
    named = fixture_model("identity").read_bytes().replace(b"fixture", b"Loop123")  # in another place it is a name
    assert Session(named).run(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("key", ["schema", "color", "task", "patch"])
def test_long_metadata_gives_a_short_message(fixture_model: Model, key: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(fixture_model("identity").read_bytes())
    for entry in model.metadata_props:
        entry.value = "x" * 100_000 if entry.key == key else entry.value
    with pytest.raises(ModelError, match="xxx") as refused:
        Session(model.SerializeToString())
    assert len(str(refused.value)) < 400


def test_a_long_error_of_onnxruntime_is_shortened(fixture_model: Model) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(fixture_model("blur").read_bytes())
    model.graph.node[0].input[:] = ["input"] * 1000
    with pytest.raises(ModelError, match="cannot be run by onnxruntime") as refused:
        Session(model.SerializeToString())
    assert len(str(refused.value)) < 800


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_overflowing_values_are_refused_without_a_warning(fixture_model: Model, value: float) -> None:
    one = np.array([0.5], np.float32).tobytes()
    data = fixture_model("half_red").read_bytes()
    assert data.count(one) == 1
    spoiled = data.replace(one, np.array([value], np.float32).tobytes())
    with pytest.raises(ModelError, match="not finite"):  # a warning is an error here
        Restorer(spoiled)(np.full((64, 64, 3), 255, np.uint8))


@pytest.mark.slow
def test_commands_limit_the_memory_of_a_model(fixture_model: Model) -> None:
    model = fixture_model("half_red")
    words = [sys.executable, "-c", BOUNDED, str(model)]
    enough, little = (
        subprocess.run([*words, str(memory)], capture_output=True, text=True, check=True).stdout
        for memory in (2**30, 2**22)
    )
    assert enough.strip() == "(512, 3, 32, 32)"
    assert "failed on a batch" in little
