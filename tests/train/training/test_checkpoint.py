from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cae_train.checkpoint
from cae_train import CheckpointError, ConfigError, TrainConfig, load_model, train
from cae_train.checkpoint import save_model
from cae_train.config import Hardware
from cae_train.models import ARCHITECTURES, build
from cae_train.training.trainer import make_trainer

METRICS = {"psnr_in": 20.5, "psnr_out": 28.25, "evaluated_on": "held-out patches of photos", "epoch": 3}
CONFIG = TrainConfig(data=("photos",), arch="cae", degrade=("gaussian:0-55",))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    save_model(path, build("cae"), CONFIG, METRICS)
    return path


def test_paths_are_str_or_path_like(tmp_path: Path) -> None:
    assert TrainConfig(data=Path("a"), data_dir=Path("b")) == TrainConfig(data="a", data_dir="b")  # type: ignore[arg-type]
    assert TrainConfig(data=("cifar10", Path("a"))).data == ("cifar10", "a")  # type: ignore[arg-type]
    for function in (load_model, lambda out: train(CONFIG, out)):
        with pytest.raises(TypeError, match=r"is 3: it must be a str or an os\.PathLike"):
            function(3)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="is empty: it must be the path of a"):
            function("")
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist: name a model\.pt") as error:
        load_model(str(tmp_path / "none.pt"))
    assert isinstance(error.value, CheckpointError)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_model_is_restored_bit_for_bit(arch: str, tmp_path: Path) -> None:
    config = TrainConfig(arch=arch, lr=1e-4)
    network = build(arch)
    save_model(tmp_path / "m.pt", network, config, METRICS)
    loaded = load_model(str(tmp_path / "m.pt"))
    assert (loaded.arch, loaded.config, loaded.metrics) == (arch, config, METRICS)
    assert not loaded.network.training
    state = loaded.network.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_options_of_the_network_are_restored(tmp_path: Path) -> None:
    options = {"widths": [16, 32], "down_blocks": [0, 1], "up_blocks": [1]}
    save_model(tmp_path / "m.pt", build("skip", options), TrainConfig(model=options), {})
    patches = torch.rand(2, 3, 32, 32)
    assert load_model(tmp_path / "m.pt").network(patches).shape == patches.shape


def test_the_file_holds_only_plain_values(model: Path) -> None:
    content = torch.load(model, weights_only=True)
    assert content["format"] == "cae-toolkit"
    assert content["schema"] == 1
    assert {value.dtype for value in content["state"].values()} == {torch.float32}


def test_the_file_contains_nothing_about_the_machine(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist() if "/data/" not in name)
        names = " ".join(archive.namelist()).encode()
    assert b"photos" in everything
    for private in (str(model.parent), str(Path.home()), str(Path.cwd())):
        assert private.encode() not in everything + names


def one_line(path: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch.save", "inside ours", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(how: str, model: Path, tmp_path: Path) -> None:
    fuse = tmp_path / "executed"
    bomb = Bomb(fuse)
    if how == "torch.save":
        torch.save(bomb, model)
    elif how == "inside ours":
        torch.save({**torch.load(model, weights_only=True), "metrics": bomb}, model)
    else:
        model.write_bytes(pickle.dumps(bomb))
    one_line(model, "is not a model.pt")
    assert not fuse.exists()
    torch.load(model, weights_only=False) if how != "pickle" else pickle.loads(model.read_bytes())  # noqa: S301
    assert fuse.exists()  # the bomb was a real one


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    one_line(tmp_path / "pipe.pt", "is a pipe or a device, not a model.pt")


def test_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "other.pt"
    one_line(path, "does not exist: name a model.pt")
    one_line(tmp_path, "is a folder, not a model.pt")
    path.write_bytes(b"")
    one_line(path, "is empty")
    path.write_bytes(bytes(range(256)) * 40)
    one_line(path, "is not a model.pt of cae-train, which is a zip archive")
    torch.save({"state_dict": {"a": torch.zeros(3)}}, path)
    one_line(path, "written by another program")
    torch.save([1, 2], path)
    one_line(path, "written by another program")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "a zip, but of texts")
    one_line(path, "damaged or holds other")


def test_truncated_and_damaged_files_are_refused(model: Path) -> None:
    whole = model.read_bytes()
    for size in (4, 100, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:size])
        one_line(model, "is not a model.pt")
    generator = torch.Generator().manual_seed(0)
    answers = set()
    for position in torch.randint(0, 2500, (60,), generator=generator).tolist():  # the pickle and its headers
        scratched = bytearray(whole)
        scratched[position] ^= 0xFF
        model.write_bytes(scratched)
        try:
            load_model(model)
            answers.add("loaded")
        except CheckpointError:
            answers.add("refused")
    assert "refused" in answers  # and nothing but CheckpointError came out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(schema=2), "schema 2, this version reads 1"),
        (lambda c: c.update(arch="unet"), "unknown architecture 'unet'"),
        (lambda c: c.update(arch=["cae"]), "cannot be rebuilt"),
        (lambda c: c.update(options={"depth": 9}), "no model option 'depth'"),
        (lambda c: c.update(arch="skip", options={"widths": [1 << 40, 16, 16]}), "multiples of 16, up to 1024"),
        (lambda c: c.update(state=7), "cannot be rebuilt"),
        (lambda c: c["state"].pop("encoder.0.weight"), "cannot be rebuilt"),
        (lambda c: c["state"].update({"encoder.0.weight": torch.zeros(3)}), "cannot be rebuilt"),
        (lambda c: c["state"]["encoder.0.bias"].fill_(float("nan")), "not finite: its training diverged"),
        (lambda c: c["state"]["encoder.0.bias"].fill_(float("inf")), "not finite: its training diverged"),
        (lambda c: c["state"].update({"encoder.0.bias": c["state"]["encoder.0.bias"] * 1j}), "complex numbers"),
        (lambda c: c["config"].update(lr=-1.0), "lr is -1.0"),
        (lambda c: c["config"].update(made_up=1), "made_up"),
        (lambda c: c["config"].update(degrade=["foo:3"]), "unknown degradation 'foo'"),
        (lambda c: c.pop("config"), "config"),
        (lambda c: c.pop("state"), "state"),
        (lambda c: c.update(metrics=3), "cannot be rebuilt"),
    ],
)
def test_contents_that_do_not_fit_the_network_are_refused(
    model: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    content = torch.load(model, weights_only=True)
    change(content)
    torch.save(content, model)
    one_line(model, reason)


@pytest.mark.parametrize("value", [torch.zeros(0), torch.zeros(1).expand(10**9), {1: [torch.zeros(2)]}, [0] * 10**5])
@pytest.mark.parametrize("key", ["format", "schema", "arch", "options", "config", "metrics"])
def test_metadata_that_is_not_plain_and_short_is_refused(key: str, value: object, model: Path) -> None:
    content = torch.load(model, weights_only=True)
    torch.save(content | {key: value}, model)
    with pytest.raises(CheckpointError, match=r"not made of plain values|written by another program"):
        load_model(model)


def test_files_over_the_size_limit_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.checkpoint, "MAX_BYTES", 2**20)
    one_line(model, "larger than 1 MiB")


def test_a_zip_bomb_is_not_unpacked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.checkpoint, "MAX_BYTES", 4 * 2**20)
    with zipfile.ZipFile(model, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/99", bytes(8 * 2**20))
    assert model.stat().st_size < 2 * 2**20
    one_line(model, "unpacks to more than 4 MiB")


def test_a_large_part_besides_the_tensors_is_not_unpacked(model: Path) -> None:
    """Of 448 MiB in place of the version, torch made 2.7 GB."""
    with zipfile.ZipFile(model, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/more", bytes(2**24 + 1))
    one_line(model, "a part besides its tensors has more than 16 MiB")


def test_a_second_list_of_parts_does_not_hide_a_zip_bomb(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads the list just before the end of the archive, torch the one that the end names."""
    monkeypatch.setattr(cae_train.checkpoint, "MAX_BYTES", 4 * 2**20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(8 * 2**20))
    data, end = file.getvalue(), file.getvalue().rfind(b"PK\5\6")
    listed = bytearray(data[data.rfind(b"PK\1\2") : end])
    listed[24:28] = (1).to_bytes(4, "little")  # the unpacked size
    model.write_bytes(data[:end] + listed + data[end:])
    with zipfile.ZipFile(model) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) == 1
    one_line(model, "its list of parts is damaged")


@pytest.mark.parametrize("name", ["model.pt", "last.ckpt"])
def test_a_full_disk_keeps_the_old_file(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = model.rename(model.with_name(name))
    before = last.read_bytes()

    def full(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    checkpoints = make_trainer(CONFIG, Hardware("cpu")).strategy.checkpoint_io
    write = {
        "model.pt": lambda: save_model(last, build("cae"), CONFIG, {}),
        "last.ckpt": lambda: checkpoints.save_checkpoint({"state": torch.zeros(3)}, last),
    }
    with pytest.raises(CheckpointError, match=rf"{name} cannot be written: No space left"):
        write[name]()
    assert last.read_bytes() == before
    assert [path.name for path in last.parent.iterdir()] == [name]


def test_a_folder_that_cannot_be_written_gets_no_file(tmp_path: Path) -> None:
    taken = tmp_path / "model.pt"
    (taken / "folder").mkdir(parents=True)
    for path in (taken, tmp_path / "missing" / "model.pt"):
        with pytest.raises(CheckpointError, match=r"model\.pt cannot be written"):
            save_model(path, build("cae"), CONFIG, {})
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_weights_are_checked_before_a_large_network_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pt"
    save_model(path, build("skip"), TrainConfig(), {})
    content = torch.load(path, weights_only=True)
    content["options"] = {"widths": [1024] * 4, "down_blocks": [16] * 4, "up_blocks": [16] * 3}
    torch.save(content | {"state": {}}, path)
    places: list[str] = []
    original = cae_train.checkpoint.build  # type: ignore[attr-defined]

    def watched(name: str, options: Any, channels: int) -> Any:
        network = original(name, options, channels)
        places.extend(parameter.device.type for parameter in network.parameters())
        return network

    monkeypatch.setattr(cae_train.checkpoint, "build", watched)
    with pytest.raises(CheckpointError, match="cannot be rebuilt"):
        load_model(path)
    assert set(places) == {"meta"}
