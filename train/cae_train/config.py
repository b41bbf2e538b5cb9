"""The settings of a training run, validated on creation; the same in `config.toml` and `model.pt`.

Imports nothing heavy, so that `cae-train --help` needs no extra.
"""

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from cae_train.errors import ConfigError

AUTO = "auto"
LOSSES = {
    "mse": "mean squared error, which PSNR measures",
    "bce": "binary cross-entropy, for networks that end in a sigmoid: gray shapes, and the bound of vae",
    "charbonnier": "a smooth absolute error; not for impulses (salt-pepper), with which skip stays at the identity",
    "relative": "squared error relative to each patch's noise, for ranges of levels including faint ones",
    "blended": "relative, with pixels weighted as cae-run blends patches, for models that clean pictures",
    "psnr": "as blended, but every patch counts alike, however faint its noise: the mean PSNR",
    "ssim": "charbonnier mixed with structural similarity",
}
OPTIMIZERS = ("muon", "adamw")
PRECISIONS = ("auto", "fp32", "bf16")
STRATEGIES = (AUTO, "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
_DEVICES = re.compile(r"auto|-1|[1-9][0-9]*|[0-9]+(,[0-9]+)+|[0-9]+,")
PLACES = (AUTO, "host", "device")  # where patches are cut and degraded
CHANNELS = (0, 1, 3)  # as the data are, gray, RGB
TABLES = ("model", "noise")
PATHS = ("data", "data_dir", "start", "teacher")  # may be passed as os.PathLike
_TOML_BYTES_MAX = 2**24
_DEEP = re.compile(  # dotted keys that tomllib takes very long for
    rb"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){65}"""
)
_LONG = re.compile(rb"0[xob][0-9A-Fa-f_]{65}")
_FORMER_NAMES = {"grey": "gray"}  # in files that earlier versions wrote
PATCH = 32  # height and width of a training patch, in pixels


@dataclass(frozen=True)
class TrainConfig:
    """All settings that determine what a run learns. Devices and workers are in `Hardware`.

    Attributes:
        data: data sets by name (`cae_train.data.registry.DATASETS`), or folders of photographs; several are mixed by
            their area.
        data_dir: where named data sets are looked for and downloaded to.
        channels: of the images and the network: 3 (RGB), 1 (gray), or 0: 1 where all data are gray, else 3.
        arch: a name of `cae_train.models.ARCHITECTURES`.
        model: the architecture's options; empty means its defaults.
        start: a `model.pt` of the same network whose weights the run begins from, or a file of its `state_dict()`;
            empty: random weights.
        teacher: a `model.pt` whose results are learned beside the clean patches, which brings its own loss
            (`cae_train.training.optimization.distillation`); empty: none.
        quantize_aware: train with the rounding of int8 (`cae_train.training.optimization.qat`), in fp32 unless
            `precision` says bf16.
        degrade: degradations applied in this order, as `cae_train.degradations.registry.parse` reads them; "none"
            stands alone.
        scales: sizes that each photograph is used at: its own, three quarters of it, three quarters of that, ...
        degrain: share of the training patches whose own faint noise is removed before they are degraded; held-out
            patches keep theirs, so PSNR falls a little where it is above 40 dB.
        jitter: share of the training patches whose colors, saturation, gamma and contrast are changed.
        gray: share of the training patches that are made gray, noise included, so that gray images are cleaned too.
        upright: do not flip or rotate patches (never done for data sets with one orientation): for images that share
            one orientation, such as faces or text.
        clip: whether degraded patches are clipped to 0..1 and rounded to 8 bits, as a camera's are.
        noise: what `degrade` "measured" adds, as `cae_train.degradations.measured_noise.NoiseModel.to_dict`
            writes it; else empty.
        loss: a name of `LOSSES`, or `auto`: the network's own, as `cae-train --list` names it.
        epochs: passes; an epoch is every patch once, or `epoch_crops` crops of a folder.
        epoch_crops: crops per epoch if photographs are cropped.
        batch: patches per step, of all processes together.
        optimizer: a name of `OPTIMIZERS`.
        lr: peak learning rate; the same scale for both optimizers.
        weight_decay: decoupled weight decay.
        warmup: share of all steps over which the learning rate rises linearly, before it falls as a cosine to 0.
        ema: decay per step of the exponential moving average of the weights that is saved; 0 turns it off.
        grad_clip: largest norm of a step's gradient.
        patience: epochs without a better validation PSNR before stopping early; 0 never stops early.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 if the processor supports it.
        seed: for initial weights, crops and noise, also of the held-out pictures; which pictures are held out does not
            depend on it.

    Raises:
        ConfigError: a value out of its range; the message names it and the valid ones.
    """

    data: tuple[str, ...] = ("cifar10",)
    data_dir: str = "data"
    channels: int = 0
    arch: str = "skip"
    model: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    teacher: str = ""
    quantize_aware: bool = False
    degrade: tuple[str, ...] = ("gaussian:25",)
    scales: int = 1
    degrain: float = 0.0
    jitter: float = 0.0
    gray: float = 0.0
    upright: bool = False
    clip: bool = True
    noise: Mapping[str, Any] = field(default_factory=dict)
    loss: str = AUTO
    epochs: int = 20
    epoch_crops: int = 20_000
    batch: int = 64
    optimizer: str = "muon"
    lr: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.02
    ema: float = 0.999
    grad_clip: float = 0.1
    patience: int = 0
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            default = item.default if item.default is not MISSING else {}
            value = getattr(self, item.name)
            value = _as_texts(value) if item.name in PATHS else value
            object.__setattr__(self, item.name, _like(default, value, _option(item.name)))
        _require(bool(self.data), "data", self.data, "at least one data set or folder")
        _require(self.channels in CHANNELS, "channels", self.channels, "1 (gray), 3 (RGB) or 0 (as the data are)")
        _require(bool(self.degrade), "degrade", self.degrade, "at least one degradation")
        _require(1 <= self.scales <= 8, "scales", self.scales, "1 to 8")
        _require(0 <= self.degrain <= 1, "degrain", self.degrain, "0 to 1, a share of the patches")
        _require(0 <= self.jitter <= 1, "jitter", self.jitter, "0 to 1, a share of the patches")
        _require(0 <= self.gray <= 1, "gray", self.gray, "0 to 1, a share of the patches")
        _require(self.loss in (AUTO, *LOSSES), "loss", self.loss, ", ".join((AUTO, *LOSSES)))
        if self.teacher and self.loss != AUTO:
            raise ConfigError(
                f"teacher is {self.teacher} and loss is {self.loss!r}: choose one, since a teacher brings its own loss"
            )
        _require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, ", ".join(OPTIMIZERS))
        _require(self.precision in PRECISIONS, "precision", self.precision, ", ".join(PRECISIONS))
        _require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        _require(1 <= self.batch <= 65_536, "batch", self.batch, "1 to 65536")
        _require(self.epoch_crops >= self.batch, "epoch_crops", self.epoch_crops, f"at least one batch ({self.batch})")
        _require(0 < self.lr <= 1, "lr", self.lr, "above 0, at most 1")
        _require(0 <= self.weight_decay <= 1, "weight_decay", self.weight_decay, "0 to 1")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "0 to below 1, a share of all steps")
        _require(0 <= self.ema < 1, "ema", self.ema, "0 to below 1")
        _require(self.grad_clip > 0, "grad_clip", self.grad_clip, "above 0")
        _require(self.patience >= 0, "patience", self.patience, "0 (never) or more epochs")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain lists, strings and numbers, for TOML and `model.pt`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in TABLES:
            values[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in values[name].items()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: an unknown key or a bad value.
        """
        known = [item.name for item in fields(cls)]
        values = _of_today(values)
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown setting {key[:100]!r}: choose from {', '.join(known)}")
        return cls(**values)


@dataclass(frozen=True)
class Hardware:
    """The hardware of a run. It does not change what a run learns, but for the random numbers of several processes.

    Attributes:
        accelerator: "auto", "cpu", "gpu", ... as Lightning takes it.
        devices: of each machine, one process each: a count, a list such as "0,1", or "auto".
        strategy: a name of `STRATEGIES`: how the processes are synchronized.
        workers: processes that prepare batches; -1: none on a CPU, up to 8 with a GPU.
        data_on: where patches are cut and degraded: "host", "device" (what trains, with all pictures in its memory),
            or "auto": the device where it is a CUDA GPU and `workers` is not above 0.
        compile: whether the training step is compiled (`torch.compile`), which takes about a minute.
        num_nodes: machines, each with as many devices.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    strategy: str = "auto"
    workers: int = -1
    data_on: str = AUTO
    compile: bool = False
    num_nodes: int = 1

    def __post_init__(self) -> None:
        valid = "a count from 1, a list such as 0,1, or auto"
        _require(_DEVICES.fullmatch(str(self.devices)) is not None, "devices", self.devices, valid)
        object.__setattr__(self, "devices", str(self.devices))
        _require(self.strategy in STRATEGIES, "strategy", self.strategy, ", ".join(STRATEGIES))
        _require(1 <= self.num_nodes <= 10_000, "num_nodes", self.num_nodes, "1 to 10000")
        _require(-1 <= self.workers <= 256, "workers", self.workers, "-1 (choose) to 256")
        _require(self.data_on in PLACES, "data_on", self.data_on, ", ".join(PLACES))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def load_toml(path: Path) -> dict[str, Any]:
    """Read the settings of a `config.toml` or a recipe, without checking them.

    Raises:
        ConfigError: the file does not exist, is not TOML, is nested deeply, or has more than 16 MiB.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(path)  # opening it would be a PermissionError on Windows
        with _opened(path) as file:
            data = file.read(_TOML_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
        wrong = "is a folder" if isinstance(e, IsADirectoryError) else "does not exist"
        raise ConfigError(f"config {str(path)!r} {wrong}: name a recipe, or the config.toml of a run") from e
    except OSError as e:
        raise ConfigError(f"settings {path} cannot be read: {e.strerror or e}") from e
    if not data and path.is_fifo():
        raise ConfigError(f"config {str(path)!r} is a named pipe that nothing is written to")
    if len(data) > _TOML_BYTES_MAX:
        raise ConfigError(f"settings {path} has more than {_TOML_BYTES_MAX >> 20} MiB, the limit")
    if _LONG.search(data):
        raise ConfigError(f"settings {path} is not TOML: a whole number has more than 64 bits")
    if _DEEP.search(data):
        raise ConfigError(f"settings {path} is nested too deeply")
    try:
        return dict(_of_today(tomllib.loads(data.decode())))
    except RecursionError as e:
        raise ConfigError(f"settings {path} is nested too deeply") from e
    except ValueError as e:  # also of a number with thousands of digits
        raise ConfigError(f"settings {path} is not TOML: {e}") from e


def _opened(path: Path) -> BinaryIO:
    """Open a file; a named pipe without waiting for somebody who writes to it."""
    if sys.platform == "win32" or not path.is_fifo():
        return path.open("rb")
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    return os.fdopen(opened, "rb")


def _of_today(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings as they are called now; earlier files spell them otherwise, and name VGG16's weights apart."""
    renamed = {_FORMER_NAMES.get(key, key): value for key, value in values.items()}
    weights, model = renamed.pop("vgg16_weights", ""), renamed.get("model", {})
    if weights and isinstance(model, Mapping):
        renamed["model"] = {**model, "weights": weights}
    return renamed


def _as_texts(value: Any) -> Any:
    """Convert a path or a list of paths to strings."""
    if isinstance(value, (list, tuple)):
        return [_as_texts(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _like(default: object, value: Any, option: str) -> Any:
    """`value` held to the type of `default`: lists become tuples, whole numbers may stand for floats."""
    if isinstance(default, tuple):
        values = (value,) if isinstance(value, str) else value
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
            raise ConfigError(f"{option} is {value!r}: it must be a list of strings")
        if "" in values:
            raise ConfigError(f"{option} is {value!r}: an empty string is not allowed")
        return tuple(values)
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{option} is {value!r}: a table is needed")
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    if isinstance(default, float) and type(value) is int:
        try:
            return float(value)
        except OverflowError as e:
            raise ConfigError(f"{option} is too large a number") from e
    if type(value) is not type(default):
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise ConfigError(f"{option} is {value!r}: {kinds[type(default)]} is needed")
    return value


def _option(name: str) -> str:
    return f"[{name}]" if name in TABLES else name


def _require(holds: bool, name: str, value: object, valid: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}: it must be {valid}")
