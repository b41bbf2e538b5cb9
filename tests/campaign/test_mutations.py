"""Changed files differ from the honest ones, and hostile ones reach what they are aimed at."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.campaign.corpora.clips import stream
from tests.campaign.corpora.models import FIXTURES, tensor_files
from tests.campaign.corpora.pictures import picture
from tests.campaign.mutations import protobuf, tensors
from tests.campaign.mutations.files import mutated
from tests.campaign.mutations.generic import blind, surely
from tests.campaign.mutations.protobuf import onnx_changed
from tests.campaign.mutations.tensors import tensor_file_changed
from tests.campaign.mutations.toml import toml_changed

from cae_train.checkpoint import MAX_BYTES
from cae_train.errors import CheckpointError
from cae_train.tensor_files import read_tensors

TRIES = 150


@pytest.mark.parametrize("name", ["told.png", "plain.bmp", "gray.pgm", "raw.tif", "still.gif", "lossless.webp"])
def test_a_changed_picture_is_never_the_honest_one(name: str) -> None:
    data = picture(name)
    for seed in range(TRIES):
        assert mutated(data, [data], np.random.default_rng(seed)) != data, seed


def test_changed_models_settings_and_streams_are_never_the_honest_ones() -> None:
    graph, lines = (FIXTURES / "no_metadata.onnx").read_bytes(), ["lr = 1", "epochs = 2", "seed = 3"]
    for seed in range(TRIES):
        assert onnx_changed(graph, graph, np.random.default_rng(seed), "/nowhere/secret.bin") != graph, seed
        assert toml_changed(lines, lines, np.random.default_rng(seed)) != "\n".join(lines).encode(), seed
    assert surely(lambda: b"", b"") == b"\0"
    assert surely(lambda: blind(stream(), np.random.default_rng(1)), b"") != b""


def test_changed_tensor_files_hold_other_things() -> None:
    data = tensor_files()[0]
    honest, kept = repr(torch.load(io.BytesIO(data), weights_only=True)), 0
    for seed in range(20):
        assert tensor_file_changed(data, np.random.default_rng(seed), "/nowhere/mark") != data, seed
        made = tensors._with_other_content(data, np.random.default_rng(seed))
        kept += made == data
        assert made == data or repr(torch.load(io.BytesIO(made), weights_only=True)) != honest, seed
    assert kept, "of these seeds some change nothing, and are drawn again"


def test_bombs_are_on_both_sides_of_the_limit(tmp_path: Path) -> None:
    path, refused = tmp_path / "model.pt", 0
    for seed in range(12):
        path.write_bytes(tensors._bomb([("model/data.pkl", b"x"), ("model/data/0", b"y")], np.random.default_rng(seed)))
        assert path.stat().st_size < 2**22
        with zipfile.ZipFile(path) as archive:
            large = sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES
        if large:
            with pytest.raises(
                CheckpointError, match=r"unpacks to more than 512 MiB|a part besides its tensors has more than 16 MiB"
            ):
                read_tensors(path, MAX_BYTES, "model.pt")
        refused += large
    assert 0 < refused < 12


def test_a_bomb_unpacks_to_what_it_says() -> None:
    packed, check = tensors._zeros(2**22)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", packed)
        entry = archive.infolist()[0]
        entry.compress_type, entry.CRC, entry.file_size = zipfile.ZIP_DEFLATED, check, 2**22
    with zipfile.ZipFile(file) as archive:
        assert archive.read("a") == bytes(2**22)  # of this checksum, or zipfile refuses it


def test_some_places_outside_lead_to_the_secret_file(tmp_path: Path) -> None:
    secret, work = tmp_path / "secret.bin", tmp_path / "work"
    secret.touch()
    work.mkdir()
    found = set()
    for seed in range(80):
        model = onnx.load(FIXTURES / "identity.onnx")
        protobuf._outside(model, np.random.default_rng(seed), str(secret))
        place = next(e.value for tensor in model.graph.initializer for e in tensor.external_data if e.key == "location")
        if os.path.normpath(work / place) == str(secret):
            found.add(place)
    assert len(found) == 4
