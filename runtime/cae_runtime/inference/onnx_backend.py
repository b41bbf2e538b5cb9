"""The only module that imports onnxruntime: lists the available providers and starts models on them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any, Final

from cae_runtime.errors import ModelError, ProviderError, UsageError
from cae_runtime.inference.cpu_limits import usable_cpus, usable_memory
from cae_runtime.inference.model_files import TRAINED_SUFFIXES, how_to_export
from cae_runtime.inference.providers import CPU, PROVIDERS, Provider, ProviderChoice
from cae_runtime.inference.untrusted.messages import readable
from cae_runtime.io.stderr import is_own, quiet

_log = logging.getLogger(__name__)

with quiet():  # it may warn of hardware that is not there
    import onnxruntime as ort
    from onnxruntime import InferenceSession as InferenceSession

VERSION: Final[str] = ort.__version__
_LOG_FATAL: Final = 4
_REASON_MAX: Final = 600  # characters; names in a file may have any length

_OF_ALL_SESSIONS: Final = "session.use_env_allocators"


def _bounded() -> bool:
    """Limit the memory that all models of a command take together; return whether this was possible.

    An untrusted file can ask for any amount, and the system kills a process that takes all memory, without a message.
    With the limit, memory stays with the process when a model is closed, so programs that use the library have none.
    """
    if not is_own():
        return False
    ort.set_default_logger_severity(_LOG_FATAL)  # messages of no session, such as the allocator's, come as exceptions
    memory = usable_memory()
    if memory is None:
        return False
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({"max_mem": memory // 2}))
    return True


_IS_BOUNDED: Final = _bounded()


def build_providers() -> list[str]:
    """Return the full names of the providers built into this onnxruntime."""
    names: list[str] = ort.get_available_providers()
    return names


def is_here(provider: Provider) -> bool:
    """Return whether a provider is built in, or its plug-in is installed and finds a device.

    Raises:
        ProviderError: the plug-in cannot be loaded.
    """
    return provider.full in build_providers() or bool(plugin_devices(provider))


def plugin_is_installed(provider: Provider) -> bool:
    """Return whether the Python package of a provider's plug-in is installed."""
    return bool(provider.plugin) and importlib.util.find_spec(provider.plugin) is not None


def plugin_devices(provider: Provider) -> list[Any]:
    """Load a provider's plug-in if it is installed, and return its devices (`onnxruntime.OrtEpDevice`).

    Raises:
        ProviderError: the plug-in cannot be loaded.
    """
    if not plugin_is_installed(provider):
        return []
    try:
        library = importlib.import_module(provider.plugin).get_library_path()
        ort.register_execution_provider_library(provider.full, library)
    except Exception as e:  # the package and the loader may raise anything
        if "already registered" not in str(e):
            raise ProviderError(f"{provider.full}: its plug-in {provider.plugin} cannot be loaded: {reason(e)}") from e
    found = [device for device in ort.get_ep_devices() if device.ep_name == provider.full]
    return sorted(found, key=_is_cpu)  # a plug-in is rarely installed for the CPU


def devices() -> list[str]:
    """Return the devices that the loaded providers can use, one line each."""
    return [f"{device.ep_name}: {_described(device)}" for device in ort.get_ep_devices()]


def require_available(provider: Provider) -> None:
    """Refuse a provider that is not available.

    Raises:
        UsageError: onnxruntime knows no provider of that name.
        ProviderError: it is not installed; the message has the command that installs it.
    """
    known = {*ort.get_all_providers(), *(p.full for p in PROVIDERS)}
    if provider.full not in known:
        raise UsageError(f"unknown provider {provider.full!r}: onnxruntime knows {', '.join(sorted(known))}")
    if is_here(provider):
        return
    if plugin_is_installed(provider):
        raise ProviderError(
            f"{provider.full}: its plug-in {provider.plugin} finds no device on this machine; "
            f"onnxruntime itself has {', '.join(build_providers())}"
        )
    raise ProviderError(
        f"this onnxruntime has no {provider.full}, only {', '.join(build_providers())}; to get it: {provider.install}"
    )


ONLY_ONE: Final = "the only one here that auto considers"


def start_best(path: Path, data: bytes, threads: int | None) -> tuple[InferenceSession, str]:
    """Start the first provider in our order that works; return it with the reason."""
    failures: list[str] = []
    for provider in PROVIDERS:
        try:
            if not provider.automatic or not is_here(provider):
                continue
            session = start(path, data, threads, ProviderChoice(provider))
        except ProviderError as e:
            _log.debug("%s", e)
            failures.append(str(e))
            continue
        why = "; ".join(failures) or (ONLY_ONE if provider.full == CPU else "the first in auto's order that started")
        return session, f"{provider.full}{on_device(ProviderChoice(provider))}: {why}"
    raise ProviderError(f"no provider could be started: {'; '.join(failures) or ', '.join(build_providers())}")


def start(
    path: Path,
    data: bytes,
    threads: int | None,
    choice: ProviderChoice,
    *,
    strict: bool = False,
    extended: bool = False,
) -> InferenceSession:
    """Start a model on a provider.

    Args:
        path: where the model came from, for messages.
        data: the model file.
        threads: for providers that compute on the CPU with their own threads; the CPU provider uses one per call.
        choice: the provider and its device.
        strict: refuse a provider that would leave a part of the model to the CPU.
        extended: optimize the graph only to the level below the highest, for comparison.

    Raises:
        ModelError: the model cannot be run at all.
        ProviderError: the provider did not start.
    """
    provider = choice.provider
    strict = strict and provider.full != CPU
    options = _options(provider, threads)
    if extended:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = _session(data, options, choice)
    except ProviderError:
        raise
    except Exception as e:  # onnxruntime's exceptions have no common base class
        why, said = reason(e), str(e)
        if strict and "fallback to CPU EP" in said:
            start(path, data, threads, choice)  # raised if the provider did not start at all
            raise ProviderError(
                f"{provider.full} cannot run the whole model, part of it would run on the CPU: choose auto or cpu"
            ) from e
        if type(e).__name__ in {"InvalidProtobuf", "NoModel", "NoSuchFile"} or "No graph was found" in said:
            hint = f"; {how_to_export(path)}" if path.suffix in TRAINED_SUFFIXES else ""
            raise ModelError(f"model {str(path)!r} is not an ONNX model{hint}") from e
        if provider.full == CPU:
            raise cannot_be_run(path, e) from e
        raise ProviderError(f"{provider.full} did not start: {why}") from e
    used = session.get_providers()[0]
    if used != provider.full:  # onnxruntime falls back to the CPU without raising
        raise ProviderError(f"{provider.full} did not start, onnxruntime fell back to {used}: check its driver")
    return session


def on_device(choice: ProviderChoice) -> str:
    """Return which device of a plug-in provider is in use, such as ` on GPU Intel`; empty for built-in providers."""
    if choice.provider.full in build_providers():
        return ""
    return f" on {_described(plugin_devices(choice.provider)[choice.device or 0])}"


def cannot_be_run(path: Path, error: Exception) -> ModelError:
    """Return the error for a model at which onnxruntime fails."""
    return ModelError(f"model {str(path)!r} cannot be run by onnxruntime {VERSION}: {reason(error)}")


def reason(error: Exception) -> str:
    """Return onnxruntime's message as one plain line that is not too long to be read."""
    line = readable(str(error))
    return line if len(line) <= _REASON_MAX else f"{line[:_REASON_MAX]}..."


def _is_cpu(device: Any) -> bool:
    return str(device.device.type).endswith("CPU")


def _described(device: Any) -> str:
    about = ", ".join(f"{key} {value}" for key, value in dict(device.device.metadata).items())
    kind = str(device.device.type).rsplit(".", 1)[-1]
    return f"{kind} {device.device.vendor}{f' ({about})' if about else ''}"


@quiet()
def _session(data: bytes, options: ort.SessionOptions, choice: ProviderChoice) -> InferenceSession:
    provider, settings = choice.provider, dict(choice.provider.settings)
    if provider.full in build_providers():
        if choice.device is not None:
            settings["device_id"] = str(choice.device)
        return InferenceSession(data, options, providers=[(provider.full, settings)], enable_fallback=0)
    devices, index = plugin_devices(provider), choice.device or 0
    if index >= len(devices):
        raise ProviderError(f"{provider.full} has {len(devices)} devices here, there is no number {index}")
    options.add_provider_for_devices([devices[index]], settings)
    return InferenceSession(data, options)


def _options(provider: Provider, threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if provider.full == CPU else threads or usable_cpus()
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_FATAL  # important messages also come as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the CPU to others
    if _IS_BOUNDED:
        options.add_session_config_entry(_OF_ALL_SESSIONS, "1")
    # A model is one file; `refuse_unsafe` sees to it. This keeps onnxruntime from opening others in the working folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options
