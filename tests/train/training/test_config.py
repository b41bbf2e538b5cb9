from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from cae_train import ConfigError, Hardware, TrainConfig
from cae_train.config import load_toml

OTHER = TrainConfig(
    data=("a b", "ü"), arch="cae", model={"widths": (16, 32)}, degrade=("gaussian:0-55", "salt-pepper:0.1"), scales=3,
    degrain=0.5, jitter=0.25, upright=True, clip=False, loss="mse", lr=1e-4, epochs=7, patience=3, precision="bf16",
    seed=2**32 - 1,
)  # fmt: skip


@pytest.mark.parametrize("config", [TrainConfig(), OTHER])
def test_settings_survive_toml(config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")
    assert TrainConfig.from_dict(load_toml(path)) == config
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_settings_are_plain_values() -> None:
    values = OTHER.to_dict()
    assert values["data"] == ["a b", "ü"]
    assert values["model"] == {"widths": [16, 32]}
    assert tomllib.loads(tomli_w.dumps(values)) == values


def test_single_values_and_whole_numbers_are_accepted() -> None:
    config = TrainConfig.from_dict({"data": "photos", "degrade": ["gaussian:5"], "lr": 1, "weight_decay": 0})
    assert config.data == ("photos",)
    assert config.lr == 1.0
    assert isinstance(config.weight_decay, float)


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("data", (), "data"),
        ("data", 3, "data"),
        ("data", ["", "a"], "data"),
        ("degrade", (), "degrade"),
        ("degrade", [25], "degrade"),
        ("model", [1], "[model]"),
        ("clip", 1, "clip"),
        ("loss", "l2", "loss"),
        ("optimizer", "sgd", "optimizer"),
        ("precision", "fp16", "precision"),
        ("scales", 0, "scales"),
        ("scales", 9, "scales"),
        ("scales", 2.0, "scales"),
        ("degrain", 1.01, "degrain"),
        ("jitter", -0.1, "jitter"),
        ("jitter", 1.5, "jitter"),
        ("epochs", -1, "epochs"),
        ("epochs", 1.5, "epochs"),
        ("epochs", True, "epochs"),
        ("epochs", "3", "epochs"),
        ("epoch_crops", 63, "epoch_crops"),
        ("batch", 0, "batch"),
        ("batch", 65_537, "batch"),
        ("lr", 0.0, "lr"),
        ("lr", -1.0, "lr"),
        ("lr", 1.5, "lr"),
        ("lr", float("nan"), "lr"),
        ("weight_decay", 2.0, "weight_decay"),
        ("warmup", 1.0, "warmup"),
        ("ema", 1.0, "ema"),
        ("ema", -0.1, "ema"),
        ("grad_clip", 0.0, "grad_clip"),
        ("patience", -1, "patience"),
        ("seed", -1, "seed"),
        ("seed", 2**32, "seed"),
        ("arch", 7, "arch"),
    ],
)
def test_an_invalid_value_is_a_one_line_error_that_names_option_and_value(name: str, value: Any, option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({name: value})
    message = str(caught.value)
    assert message.startswith(f"{option} is ")
    assert "\n" not in message
    assert str(value).strip("()[]") in message


def test_an_unknown_setting_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'learning_rate': choose from data, .*lr"):
        TrainConfig.from_dict({"learning_rate": 0.1})


@pytest.mark.parametrize("workers", [-2, 257])
def test_the_number_of_workers_is_limited(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"workers is {workers}"):
        Hardware(workers=workers)


def test_an_unreadable_settings_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match=r"c\.toml. does not exist: name a recipe"):
        load_toml(path)
    path.write_text("lr = = 3")
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        load_toml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        load_toml(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 5000, "is nested too deeply"),
        ("a = " + "{a=" * 3000, "is nested too deeply"),
        (".".join(["a"] * 10_000) + " = 1", "is nested too deeply"),
        ("[" + " . ".join(["'a b'"] * 10_000) + "]", "is nested too deeply"),
        ("epochs = " + "9" * 5000, "is not TOML"),
        ("seed = 0x" + "f" * 5000, "is not TOML: a whole number has more than 64 bits"),
        ("#" * (2**24 + 1), "has more than 16 MiB, the limit"),
    ],
    ids=["lists", "tables", "keys", "quoted keys", "number", "hexadecimal", "large"],
)
def test_a_hostile_settings_file_is_refused_at_once(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load_toml(path)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^lr is too large"):
        TrainConfig.from_dict({"lr": 10**400})


def test_a_model_setting_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("model = 5\nvgg16_weights = 'x'")
    with pytest.raises(ConfigError, match=r"\[model\] is 5: a table is needed"):
        TrainConfig.from_dict(load_toml(path))


def test_settings_of_earlier_versions_are_read() -> None:
    assert TrainConfig.from_dict({"grey": 0.25}) == TrainConfig(gray=0.25)


def test_the_old_setting_for_vgg16_weights_is_read() -> None:
    old = {**TrainConfig(arch="vgg16", model={"layers": 4}).to_dict(), "vgg16_weights": "vgg16.pth"}
    assert TrainConfig.from_dict(old).model == {"layers": 4, "weights": "vgg16.pth"}
    assert TrainConfig.from_dict({**TrainConfig().to_dict(), "vgg16_weights": ""}) == TrainConfig()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes among files here")
def test_a_named_pipe_that_nothing_is_written_to_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match=r"c\.toml. is a named pipe that nothing is written to"):
        load_toml(tmp_path / "c.toml")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="a shell has no <(...) here")
def test_settings_can_come_from_another_command() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"epochs = 3\n")
    os.close(writer)
    try:
        assert load_toml(Path(f"/dev/fd/{reader}")) == {"epochs": 3}
    finally:
        os.close(reader)
