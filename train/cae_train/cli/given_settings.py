"""Settings of a run from options, a --config file, or the run to continue."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cae_train.config import TrainConfig, load_toml
from cae_train.errors import CheckpointError, ConfigError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a path has one slash of two; a Windows drive has one letter


def new_settings(
    given: dict[str, Any], written: dict[str, Any], model: Sequence[str], vgg16_weights: str | None
) -> TrainConfig:
    """Return the settings of a new run.

    Args:
        given: settings from options.
        written: settings from a --config file; options take precedence.
        model: NAME=VALUE of each --model.
        vgg16_weights: value of --vgg16-weights, the option `weights` of network vgg16; or None.

    Raises:
        ConfigError: a setting is not valid.
    """
    if model or vgg16_weights or given.get("arch") is not None:
        given = given | {"model": model_options(written, given, model)}
    settings = TrainConfig.from_dict(written | given)
    if vgg16_weights is None:
        return settings
    if settings.arch != "vgg16":
        raise ConfigError(f"--vgg16-weights {vgg16_weights}: only --arch vgg16 uses it")
    return replace(settings, model={**settings.model, "weights": vgg16_weights})


PLACES = ("data", "data_dir")  # settings that may be given anew when a run is continued, for data that were moved


def settings_of_run(folder: Path, given: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a run to continue, with the places of its data where they are given.

    Raises:
        ConfigError: other settings are given, other data, or the run cannot be continued.
        CheckpointError: it is no run folder.
    """
    if extra := [name for name in given if name not in PLACES]:
        raise ConfigError(
            f"--resume continues a run with its own settings: leave out --{extra[0].replace('_', '-')} "
            "(a new run begins from its weights with --start)"
        )
    if not (folder / "config.toml").is_file():
        raise CheckpointError(f"--resume {folder} is not a run folder: it has no config.toml")
    settings = TrainConfig.from_dict(load_toml(folder / "config.toml"))
    if settings.noise:
        raise ConfigError(f"--resume {folder}: a model for a camera is fitted in one go, with --burst or --noise-from")
    data = given.get("data")
    if data is not None and len(data) != len(settings.data):
        raise ConfigError(
            f"--data names {len(data)} sources: the run in {folder} was trained on {len(settings.data)}, "
            f"{', '.join(settings.data)}: name where each of them is now"
        )
    return TrainConfig.from_dict(settings.to_dict() | dict(given))


def model_options(written: dict[str, Any], given: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Return the model options: the [model] table of a --config file, changed by --model.

    If --arch names another network than the file, the table is ignored.

    Args:
        written: settings from the --config file.
        given: settings from other options.
        options: NAME=VALUE each; values are TOML, but strings need no quotes.

    Raises:
        ConfigError: an option is not NAME=VALUE, or [model] is not a table.
    """
    same = given.get("arch") in (None, written.get("arch", TrainConfig.arch))
    table = written.get("model", {}) if same else {}
    if not isinstance(table, Mapping):
        raise ConfigError(f"[model] is {table!r}: a table is needed")
    result = dict(table)
    for option in options:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise ConfigError(
                f"model {option!r}: NAME=VALUE is needed, such as code=64 (cae-train --list has the names)"
            )
        try:
            result[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            result[name] = value  # a text without quotes
    return result


def refuse_addresses(places: Mapping[str, Path | None]) -> None:
    """Raise ConfigError if an address, such as `s3://bucket/runs`, is given as the place of an output."""
    for option, path in places.items():
        if path is not None and _ADDRESS.match(path.as_posix()):
            raise ConfigError(f"{option} takes a place on this computer, and {str(path)!r} is an address")


def check_preview(path: Path, others: Mapping[str, Path | None]) -> None:
    """Raise ConfigError if --preview-degradation is given with one of the other options, or its file is no PNG."""
    for option, value in others.items():
        if value is not None:
            raise ConfigError(f"--preview-degradation draws a sheet and stops: leave out {option}")
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--preview-degradation {path}: a sheet is a PNG, give it a name that ends in .png")
