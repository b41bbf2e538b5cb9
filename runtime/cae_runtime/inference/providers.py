"""The names that `--provider` takes, what each is called in onnxruntime, and how to get it."""

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
        install: the line that installs it, or what else makes it available.
        devices: whether `short:INDEX` chooses among several devices.
        automatic: whether `auto` may take it.
        plugin: the Python package of its plug-in for onnxruntime, where there is one.
        settings: the provider's own settings.
        calls: calls at once that it takes and profits from; most providers serve one after the other.
    """

    short: str
    full: str
    install: str
    devices: bool = False
    automatic: bool = True
    plugin: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    calls: int = 1


# In the order in which `auto` prefers them. TensorRT is left to those who name it: it builds an engine for minutes.
PROVIDERS: Final = (
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        _instead_of_onnxruntime("onnxruntime-gpu"),
        devices=True,
        settings=(("cudnn_conv_algo_search", "HEURISTIC"),),  # the default tries every algorithm out, for each shape
        calls=2,  # one batch is prepared while another is computed
    ),
    Provider(
        "tensorrt",
        "TensorrtExecutionProvider",
        _instead_of_onnxruntime("onnxruntime-gpu"),
        devices=True,
        automatic=False,
    ),
    Provider("migraphx", "MIGraphXExecutionProvider", _instead_of_onnxruntime("onnxruntime-migraphx"), devices=True),
    Provider("rocm", "ROCMExecutionProvider", _instead_of_onnxruntime("onnxruntime-rocm"), devices=True),
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
    """What the user asked for: a provider, and which of its devices (None: its first)."""

    provider: Provider
    device: int | None = None


def by_full_name(full: str) -> Provider:
    """Return the provider of that name in onnxruntime; one that is not listed here knows no settings."""
    return _BY_NAME.get(full.lower()) or Provider(full, full, "an onnxruntime built with it", devices=True)


def parse_provider(text: str) -> ProviderChoice | None:
    """Read a provider's name, such as `cpu`, `cuda:1` or `CUDAExecutionProvider`.

    Args:
        text: a short name, or any onnxruntime name, optionally with `:INDEX`; letter case does not matter for the
            providers listed here.

    Returns:
        The choice, or None for `auto`.

    Raises:
        UsageError: the name or the device index is not one that exists, or `text` is no str (then also a TypeError).
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
