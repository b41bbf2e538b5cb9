"""Which of `cae-run`'s commands is meant by what was typed."""

from __future__ import annotations

from typing import Final

from cae_runtime.errors import UsageError

_LIVE_ALONE: Final = {
    "size", "fps", "target_fps", "compare", "reconnect", "virtual_camera", "no_window", "frames", "seconds",
}  # fmt: skip
_OF_MODELS: Final = {"model", "provider", "threads", "batch", "overlap"}
_HEEDED: Final[dict[str, set[str]]] = {
    "doctor": {"as_json"},
    "benchmark": {"as_json", *_OF_MODELS},
    "list_cameras": set(),
    "webcam": {"as_json", "camera", "output", "strength", "temporal", *_OF_MODELS, *_LIVE_ALONE},
}


def command_meant(given: set[str], **asked: bool) -> str:
    """Return which command is meant, and refuse options that it would ignore.

    Args:
        given: names of the options and arguments that were typed.
        asked: whether each of the commands was.

    Returns:
        `doctor`, `benchmark`, `list-cameras`, `webcam` or `clean`.

    Raises:
        UsageError: two of them, or an option that belongs to another.
    """
    asked["webcam"] |= "camera" in given
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(f'--{_typed(name)}' for name in chosen)}: choose one")
    if not chosen:
        live = sorted(given & _LIVE_ALONE)
        if live:
            raise UsageError(f"{', '.join(f'--{_typed(name)}' for name in live)} goes with --webcam")
        return "clean"
    (command,) = chosen
    if command != "webcam" and given & {"sources", "output"}:
        raise UsageError(f"--{_typed(command)} cleans nothing: leave SOURCE and -o out")
    if "sources" in given:
        raise UsageError("--webcam takes no SOURCE: name a camera or a video file with --camera")
    ignored = sorted(given - _HEEDED[command] - {command})
    if ignored:
        raise UsageError(f"--{_typed(command)} takes no {', '.join(f'--{_typed(name)}' for name in ignored)}")
    return _typed(command)


def _typed(name: str) -> str:
    return {"as_json": "json"}.get(name, name).replace("_", "-")
