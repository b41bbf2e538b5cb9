"""Signal handling: SIGINT (Ctrl-C), SIGTERM and SIGHUP end a command with exit code 130, 143 or 129, and no traceback.

The first signal ends a command at once, or within a second where the main thread is in native code. Where the command
has asked for it, to finish its current work, the signal raises KeyboardInterrupt instead; `exit_code` then says which
signal it was. In an import or a finalizer this exception would be lost, so it is raised again shortly after. The second
signal ends the command within a second in any case.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

if sys.platform == "win32":
    _HANGUP = 0  # it has none
    _HEEDED = (signal.SIGINT, signal.SIGTERM)
else:
    _HANGUP = int(signal.SIGHUP)  # the terminal was closed
    _HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 1.0  # seconds until the end after the second signal; `timeout` sends two at once
_AGAIN = 0  # what is written into the pipe of signals to raise one again
_PAUSE = 0.02  # seconds until a signal is raised again, and in which threads create files that they have named
_SHOW_CURSOR = "\x1b[?25h"

temporary_files: set[str] = set()  # absolute paths, see `cae_shared.temporary`
temporary_folders: set[str] = set()
child_processes: set[int] = set()  # their ids, see `cae_shared.children`


class _State:
    name = ""
    heeded = False
    raising = 0  # number of `interruptible` blocks around the main thread's current code
    first = 0  # the first signal that came
    owed = False  # the exception of the first signal could not be raised yet, or was lost
    writer = -1  # the pipe of signals
    main = 0  # the main thread's identifier
    ending = False  # temporary files are being removed
    count = 0  # of signals so far


def heed(name: str) -> None:
    """Make signals end this process; a signal that was ignored at start stays ignored.

    Call it in the main thread, before any heavy import.

    Args:
        name: the command's name, for its last message; empty: it says nothing.
    """
    _State.name = name
    _State.heeded = True
    listen_again()
    sys.unraisablehook = _unraisable
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_to_parent)
    try:
        reader, writer = os.pipe()
        if sys.platform != "win32" or sys.version_info >= (3, 12):
            os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    except OSError:  # no file can be opened: then the second signal acts like the first
        return
    import threading

    _State.writer, _State.main = writer, threading.get_ident()
    threading.Thread(target=_watch, args=(reader,), name="cae-signals", daemon=True).start()


def listen_again() -> None:
    """Restore the handlers after a library has ignored signals; does nothing without `heed`."""
    if not _State.heeded:
        return
    for number in _HEEDED:
        if signal.getsignal(number) is not signal.SIG_IGN or _State.first:
            signal.signal(number, _on_signal)


class interruptible:  # noqa: N801 - used like a function
    """A block in which the first signal, Ctrl-C, SIGTERM or SIGHUP, raises KeyboardInterrupt."""

    def __enter__(self) -> None:
        _State.raising += 1

    def __exit__(self, *_: object) -> None:
        _State.raising -= 1


def exit_code() -> int:
    """Return the exit code of a command that a signal interrupted: 143 after SIGTERM, 129 after SIGHUP, else 130."""
    return 128 + (_State.first or signal.SIGINT)


def end_without_threads(code: int) -> None:
    """End the process now if a signal came, without waiting for threads; does nothing otherwise.

    Call it when a command has said all that it has to say. A thread whose start was interrupted is unknown to its pool:
    nobody tells it to end, and Python would wait for it for ever.

    Args:
        code: the exit code.
    """
    if _State.first:
        end_now(code)


def end_now(code: int) -> None:
    """End the process and its children from any thread, without temporary files.

    Args:
        code: the exit code.
    """
    _clear_up()
    _remove_temporary(_PAUSE)  # again, as `_end` does
    os._exit(code)


def is_quiet() -> bool:
    """Return whether the command leaves its last message to another process, see `heed`."""
    return _State.heeded and not _State.name


def raise_if_lost() -> None:
    """Raise KeyboardInterrupt in the main thread if a signal came before; call it before each further piece of work.

    A library may have swallowed the exception, so that the work would go on as if nothing had come.
    """
    if _State.first and _State.raising and _thread.get_ident() == _State.main:
        raise KeyboardInterrupt


def signals_so_far() -> int:
    """Return how many signals came; after the second one the process ends within a second."""
    return max(_State.count, int(_State.first != 0))


def is_ending() -> bool:
    """Return whether the process is about to end, so that nothing written now would be removed."""
    return _State.ending


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Called in the main thread as soon as it runs Python code again."""
    if number == _HANGUP:
        _leave_terminal()
    if _State.first and not _State.owed:
        return  # the work is already ending; `_watch` counts
    _State.first = _State.first or number
    if not _State.raising:
        _end()
    if _is_importing(frame):  # C extensions turn exceptions during their import into ImportError
        _raise_later()
        return
    _State.owed = False
    raise KeyboardInterrupt


def _raise_later() -> None:
    """Let `_watch` call `_on_signal` again."""
    _State.owed = True
    try:
        os.write(_State.writer, bytes([_AGAIN]))
    except OSError:  # there is no pipe
        _end()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch(reader: int) -> None:
    """End the process after the second signal, even while the main thread is in native code."""
    came, last = 0, -_GRACE
    while True:
        for number in os.read(reader, 64):
            if number == _AGAIN:
                time.sleep(_PAUSE)
                came -= 1  # it comes through the pipe, too
                _signal_main_thread(_State.first)
            elif number in _HEEDED:
                if number == _HANGUP and time.monotonic() < last + _GRACE:  # shell and kernel may both send SIGHUP
                    continue
                came, last = came + 1, time.monotonic()
                _State.count = came
                first = _State.first or number
                if came == 1 and not _State.first:
                    _try(_thread.start_new_thread, _end_if_unheard, (first,))
        if came > 1:
            time.sleep(_GRACE)
            _State.first = first
            _end()


def _end_if_unheard(first: int) -> None:
    """End the process if the main thread stays in native code, so that `_on_signal` is not called."""
    ours = signal.getsignal(first) is _on_signal  # otherwise a library handles the signal
    time.sleep(_GRACE)
    if ours and not _State.first and not _State.raising:
        _State.first = first
        _end()


def _leave_terminal() -> None:
    """Write to nowhere what would go to a terminal that was closed, where every write fails."""
    import stat

    for number in (1, 2):
        try:
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
        except OSError:  # it is closed, or no file can be opened
            continue


def _signal_main_thread(number: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(signal.Signals(number))
    else:
        signal.pthread_kill(_State.main, number)  # also ends its sleeping or waiting


def _unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Raise a signal again that was raised in a finalizer, which swallows exceptions."""
    if _State.first and failure.exc_type is KeyboardInterrupt:
        _raise_later()
    else:
        sys.__unraisablehook__(failure)


def _end() -> None:
    """Remove temporary files, then end the process and its children.

    Imports nothing: an import may be what was interrupted.
    """
    _clear_up()
    stream = sys.stderr
    try:
        before = f"\r{_SHOW_CURSOR}" if stream.isatty() else ""  # a progress bar may have hidden the cursor
        if _State.name:
            os.write(stream.fileno(), f"{before}{_State.name}: interrupted\n".encode())
    except (AttributeError, OSError, ValueError):  # there is no stderr, or it is closed
        pass
    _remove_temporary(_PAUSE)  # again: another thread may just have created a file under a name it got before
    os._exit(exit_code())


def _clear_up() -> None:
    _State.ending = True
    for child in list(child_processes):
        _try(os.kill, child, signal.SIGTERM)
    _remove_temporary()


def _remove_temporary(pause: float = 0.0) -> None:
    if temporary_files:
        time.sleep(pause)
    for name in list(temporary_files):
        _try(os.unlink, name)
    for folder in list(temporary_folders):
        for parent, folders, files in os.walk(folder, topdown=False):
            for name in files:
                _try(os.unlink, os.path.join(parent, name))  # noqa: PTH118
            for name in folders:
                _try(os.rmdir, os.path.join(parent, name))  # noqa: PTH118
        _try(os.rmdir, folder)


def _try(call: Callable[..., object], *arguments: object) -> None:
    """Ignore errors: a file may already be renamed, a child may have ended, no thread may be left."""
    try:
        call(*arguments)
    except (OSError, RuntimeError):
        return


def _leave_to_parent() -> None:
    """In a forked process, such as a data loader worker: stop acting as a command."""
    for owned in (temporary_files, temporary_folders, child_processes):
        owned.clear()
    _State.heeded = False
    signal.set_wakeup_fd(-1)
    sys.unraisablehook = sys.__unraisablehook__
    for number in _HEEDED:
        if signal.getsignal(number) is _on_signal:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, _on_hangup_of_child if number == _HANGUP else usual)


def _on_hangup_of_child(_number: int, _frame: FrameType | None) -> None:
    """Stay: the child ends with its parent, for which an earlier end would look like a failure."""
