"""The execution providers: names on the command line, names in onnxruntime, and how to install them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ArgumentTypeError, UsageError

AUTO: Final = "auto"
CPU: Final = "CPUExecutionProvider"
_FULL_NAME_ENDING: Final = "ExecutionProvider"


def _instead_of_onnxruntime(package: str) -> str:
    return f"pip uninstall -y onnxruntime && pip install {package}"


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        short: the name on the command line.
        full: the name in onnxruntime.
        install: the command that installs it, or how else to get it.
        devices: whether `short:INDEX` can choose a device.
        automatic: whether `auto` may take it.
        gpu: whether it runs on hardware that a Ray cluster counts as a GPU.
        plugin: the Python package of its onnxruntime plug-in, if there is one.
        settings: options that are passed to the provider.
        calls: how many parallel calls make it faster; most providers run them one after the other.
    """

    short: str
    full: str
    install: str
    devices: bool = False
    automatic: bool = True
    gpu: bool = False
    plugin: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    calls: int = 1


# In the order in which `auto` prefers them. `auto` never takes TensorRT, which builds an engine for minutes.
PROVIDERS: Final = (
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        _instead_of_onnxruntime("onnxruntime-gpu"),
        devices=True,
        gpu=True,
        settings=(("cudnn_conv_algo_search", "HEURISTIC"),),  # the default tries every algorithm for each shape
        calls=2,  # one batch is prepared while another is computed
    ),
    Provider(
        "tensorrt",
        "TensorrtExecutionProvider",
        _instead_of_onnxruntime("onnxruntime-gpu"),
        devices=True,
        gpu=True,
        automatic=False,
    ),
    Provider(
        "migraphx", "MIGraphXExecutionProvider", _instead_of_onnxruntime("onnxruntime-migraphx"), devices=True, gpu=True
    ),
    Provider("rocm", "ROCMExecutionProvider", _instead_of_onnxruntime("onnxruntime-rocm"), devices=True, gpu=True),
    Provider("coreml", "CoreMLExecutionProvider", "pip install onnxruntime (on macOS)"),
    Provider(
        "dml",
        "DmlExecutionProvider",
        _instead_of_onnxruntime("onnxruntime-directml") + " (on Windows)",
        devices=True,
    ),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "pip install onnxruntime-ep-openvino (Intel hardware)",
        devices=True,
        plugin="onnxruntime_ep_openvino",
    ),
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        "pip install onnxruntime-ep-webgpu",
        devices=True,
        plugin="onnxruntime_ep_webgpu",
    ),
    Provider("cpu", CPU, "pip install onnxruntime"),
)
_ALIASES: Final = {"directml": "dml"}
_BY_NAME: Final = {p.short: p for p in PROVIDERS} | {p.full.lower(): p for p in PROVIDERS}


@dataclass(frozen=True)
class ProviderChoice:
    """The requested provider, and the index of its device (None: the first)."""

    provider: Provider
    device: int | None = None


def by_full_name(full: str) -> Provider:
    """Return the provider with this onnxruntime name; providers that are not listed here have no settings."""
    return _BY_NAME.get(full.lower()) or Provider(full, full, "an onnxruntime built with it", devices=True)


def parse_provider(text: str) -> ProviderChoice | None:
    """Read a provider's name, such as `cpu`, `cuda:1` or `CUDAExecutionProvider`.

    Args:
        text: a short name, or any onnxruntime name, optionally with `:INDEX`; letter case does not matter for the
            providers listed here.

    Returns:
        The choice, or None for `auto`.

    Raises:
        UsageError: there is no such name or device index, or `text` is not a str (then also a TypeError).
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(f"provider is {text!r}: it must be a name such as 'auto', 'cpu' or 'cuda:1'")
    name, colon, index = text.partition(":")
    if name.lower() == AUTO and not colon:
        return None
    provider = _BY_NAME.get(_ALIASES.get(name.lower(), name.lower()))
    if provider is None:
        if not name.endswith(_FULL_NAME_ENDING):
            names = ", ".join([AUTO, *(p.short for p in reversed(PROVIDERS))])
            raise UsageError(f"unknown provider {text!r}: choose among {names}, or a full onnxruntime name")
        provider = by_full_name(name)
    if not colon:
        return ProviderChoice(provider)
    if not provider.devices:
        raise UsageError(f"provider {text!r}: {provider.short} takes no device index")
    if not (index.isascii() and index.isdigit()):
        raise UsageError(f"provider {text!r}: the device index must be a whole number, such as {name}:0")
    return ProviderChoice(provider, int(index))
