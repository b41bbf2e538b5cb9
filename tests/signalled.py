"""A command that is sent a signal while it imports a module: at a moment that no clock decides."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
package, module, number, *options = sys.argv[1:]
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))
sys.meta_path.insert(0, Sender())
sys.argv = [package, *options]
runpy.run_module(package, run_name="__main__")
"""


def signalled_at(package: str, module: str, number: signal.Signals, *options: object) -> tuple[int, str]:
    """Run `python -m package` with options, send it a signal as it imports `module`; return exit code and stderr."""
    words = [sys.executable, "-c", PROGRAM, package, module, str(int(number)), *map(str, options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr
