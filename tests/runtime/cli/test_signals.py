"""After signals, closed streams and system limits a command ends with a documented exit code and one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.signalled import signalled_at

from cae_shared.command import run_command

fcntl = pytest.importorskip("fcntl")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")

HERE = Path(__file__).parents[1]
COMMAND = Path(sys.executable).parent / "cae-run"


@pytest.fixture
def picture(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    """Return a folder with a picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), noise((40, 60, 3)))
    return folder


@pytest.mark.parametrize(
    ("module", "number", "code"),
    [
        ("typer", signal.SIGINT, 130),
        ("numpy", signal.SIGTERM, 143),
        ("cv2", signal.SIGHUP, 129),
        ("onnxruntime.capi._pybind_state", signal.SIGINT, 130),
        ("cae_runtime.jobs.restore.restore_files", signal.SIGTERM, 143),
    ],
)
def test_a_signal_during_imports_ends_the_command_cleanly(
    picture: Path, tmp_path: Path, module: str, number: signal.Signals, code: int
) -> None:
    done = signalled_at("cae_runtime", module, number, picture, "-o", tmp_path / "out")
    assert done == (code, "cae-run: interrupted\n")


@pytest.mark.slow
def test_a_second_signal_ends_a_long_running_model(picture: Path, tmp_path: Path) -> None:
    words = [COMMAND, picture, "-o", tmp_path / "out", "-m", HERE / "fixtures" / "slow.onnx"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    try:
        while cpu_seconds(process.pid) < 2:  # it has long been started by then
            assert process.poll() is None
            time.sleep(0.05)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # two at once may be taken for one
        assert process.communicate(timeout=10)[1].splitlines()[-1] == "cae-run: interrupted"
    finally:
        process.kill()
    assert process.returncode == 130
    assert not (tmp_path / "out").exists()


def heed_ctrl_c() -> None:
    """In the child: take Ctrl-C as a terminal gives it, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def cpu_seconds(process: int) -> float:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see that the model runs")
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) / os.sysconf("SC_CLK_TCK")


STUCK = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from contextlib import suppress
from pathlib import Path
from cae_shared.children import start_child
from cae_shared.signals import heed, interruptible
from cae_shared.temporary import discard, make_temporary_folder, temporary_beside
heed("cae-run")
gone, left, late = (temporary_beside(Path(name)) for name in ("a.png", "b.png", "c.png"))
gone.touch(), left.touch()
discard(gone)
assert not gone.exists() and left.exists()
os.environ["TMPDIR"] = os.getcwd()
(make_temporary_folder("cae-") / "inner").mkdir()
(next(Path().glob("cae-*/inner")) / "model.onnx").touch()
child = os.fork()
if not child:
    os._exit(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)
assert os.waitpid(child, 0)[1] == 0, "a worker answers to Ctrl-C as a command"
try:
    with interruptible():
        os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("finishing", flush=True)

class Stderr:  # another thread goes on while the process ends
    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)
    def isatty(self):
        late.touch()
        with suppress(InterruptedError):
            temporary_beside(Path("d.png")).touch()

sys.stderr = Stderr()
start_child([sys.executable, "-c", sys.argv[1] + "print(flush=True); time.sleep(60)"], stdout=-1).stdout.readline()
os.kill(os.getpid(), signal.SIGINT)
threading.Event().wait()  # for ever
"""
LOCKING = """
import fcntl, os, time
lock = open(os.environ["LOCK"], "w")
fcntl.flock(lock, fcntl.LOCK_EX)  # as long as this process lives
"""
MEASURING = """
import os, signal, sys
from cae_runtime.__main__ import main
sys.executable, sys.argv = sys.argv[1], ["cae-run", "--benchmark", "-m", "denoise"]
main()
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what a child that runs `LOCKING` keeps locked."""
    monkeypatch.setenv("LOCK", str(tmp_path / "lock"))
    return tmp_path / "lock"


def assert_nobody_keeps(lock: Path) -> None:
    until = time.monotonic() + 10
    with lock.open() as file:
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.02)
    pytest.fail("a child process is left")


def test_the_second_signal_leaves_no_temporary_file_and_no_child(tmp_path: Path, lock: Path) -> None:
    words = [sys.executable, "-c", STUCK, LOCKING]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "finishing\n", "cae-run: interrupted\n")
    assert list(tmp_path.iterdir()) == [lock]
    assert_nobody_keeps(lock)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_model_is_measured_leaves_no_child(tmp_path: Path, lock: Path, number: int, code: int) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f"#!{sys.executable}\n{LOCKING}os.kill(os.getppid(), {int(number)})\ntime.sleep(60)\n")
    tool.chmod(0o755)
    words = [sys.executable, "-c", MEASURING, tool]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=heed_ctrl_c)
    assert done.returncode == code, done.stderr
    assert_nobody_keeps(lock)


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("{run} - -o - <&-", 2, "SOURCE is -, but stdin is closed"),
        ("{run} --help > /dev/full", 1, "the standard output cannot be written: No space left on device"),
        ("{run} --doctor > /dev/full", 1, "the standard output cannot be written: No space left on device"),
        (
            "ulimit -n 6; {run} {picture} -o {out}",
            1,
            "Too many open files; allow more open files, such as by ulimit -n 1024",
        ),
        ("ulimit -v 500000; {run} {picture} -o {out}", 1, "the address space is limited to 488 MiB"),
    ],
)
def test_refused_system_resources_are_a_one_line_error(
    picture: Path, tmp_path: Path, line: str, code: int, told: str
) -> None:
    line = line.format(run=COMMAND, picture=picture, out=tmp_path / "out")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("cae-run: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_too_little_memory_for_threads_is_a_whole_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cae_shared.command.heed", lambda _: None)

    def work() -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(SystemExit) as caught:
        run_command("cae-run", work)
    assert caught.value.code == 1
    told = "cae-run: no further thread can be started: allow more memory (ulimit -v) or more processes (ulimit -u)\n"
    assert capsys.readouterr().err == told


DROPPED = """
import os
from cae_shared.command import drop_stdout
opened = os.open
def meanwhile(*arguments):
    opened("other", os.O_CREAT | os.O_WRONLY)  # by another thread
    return opened(*arguments)
os.open = meanwhile
drop_stdout()
os.write(1, b"what stdout still held")
"""


def test_text_buffered_for_stdout_never_ends_up_in_another_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DROPPED], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    assert (tmp_path / "other").read_bytes() == b""


def test_nothing_is_written_to_the_home_folder(picture: Path, tmp_path: Path) -> None:
    """Such as the device id and the database of onnxruntime's telemetry."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    words = [COMMAND, picture, "-o", tmp_path / "out", "-m", HERE / "fixtures" / "identity.onnx"]
    assert subprocess.run(words, env=environment, check=False).returncode == 0
    assert list(home.rglob("*")) == []
    value = "import os, cae_runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for asked, used in (({}, b"1\n"), ({"ORT_DISABLE_TELEMETRY": "0"}, b"0\n")):  # what the user has set stays
        assert subprocess.check_output([sys.executable, "-c", value], env=environment | asked) == used


LOST = """
import itertools, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from cae_runtime.io.pipeline import prefetch_map
from cae_shared.command import run_command
from cae_shared.signals import exit_code, interruptible

class Signalled:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

def work():
    try:
        with interruptible():
            if sys.argv[1] == "finalizer":
                Signalled()
            elif sys.argv[1] == "import":
                import signalled
            else:
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0)
                except KeyboardInterrupt:
                    pass  # as a library does
                with ThreadPoolExecutor(1) as pool:
                    for _ in prefetch_map(pool, str, itertools.count(), 2):
                        pass
            time.sleep(60)
    except KeyboardInterrupt:
        print("finishing")
        sys.exit(exit_code())

run_command("cae-run", work)
"""
WAITED_FOR = """
import os, signal, sys, threading
from cae_shared.command import run_command
from cae_shared.signals import exit_code, interruptible

def work():
    threading.Thread(target=threading.Event().wait).start()  # nobody ends it
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("finishing")
        sys.exit(exit_code())

signal.signal(signal.SIGINT, signal.default_int_handler)
run_command("cae-run", work)
"""


@pytest.mark.parametrize("where", ["finalizer", "import", "library"])
def test_a_signal_whose_exception_was_swallowed_is_raised_again(where: str, tmp_path: Path) -> None:
    (tmp_path / "signalled.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    done = subprocess.run([sys.executable, "-c", LOST, where], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (143, "finishing\n", "")


def test_an_interrupted_command_does_not_wait_for_threads(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WAITED_FOR], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (130, "finishing\n", "")


NATIVE = """
import ctypes, os, signal, threading
from cae_shared.signals import heed
heed("cae-run")
number = int(os.environ["NUMBER"])
threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
mutex, lock = ctypes.create_string_buffer(256), ctypes.CDLL(None).pthread_mutex_lock
lock(mutex), lock(mutex)  # the second one never returns
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of zeros is a Linux one")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_one_signal_ends_native_code_that_does_not_return(number: signal.Signals) -> None:
    environment = os.environ | {"NUMBER": str(int(number))}
    words = [sys.executable, "-c", NATIVE]
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=20, check=False, preexec_fn=heed_ctrl_c
    )
    assert (done.returncode, done.stderr) == (128 + number, "cae-run: interrupted\n")


WITH_ANOTHER_HANDLER = """
import os, signal, time
from cae_shared.signals import heed
heed("cae-run")
before = signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.5)
signal.signal(signal.SIGINT, before)
time.sleep(1)
print("done")
"""


def test_a_signal_that_a_library_handles_does_not_end_the_command() -> None:
    words = [sys.executable, "-c", WITH_ANOTHER_HANDLER]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False, preexec_fn=heed_ctrl_c)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\ndone\n", "")


IN_TERMINAL = """
import os, sys, time
from pathlib import Path
from cae_shared.command import run_command
from cae_shared.signals import exit_code, interruptible
from cae_shared.temporary import whole_file

def work():
    try:
        with interruptible(), whole_file(Path("a.png")) as hidden:
            hidden.touch()
            print("ready", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        if exit_code() == 130:
            print("interrupted", flush=True)
            time.sleep(0.5)  # the terminal is closed then
        print("finishing", flush=True)  # to a terminal that is gone
        Path("finished").touch()
        sys.exit(exit_code())

run_command("cae-run", work)
"""


def _until(terminal: int, word: bytes) -> bytes:
    read = b""
    while word not in read:
        read += os.read(terminal, 100)
    return read


@pytest.mark.parametrize("how", ["closed", "Ctrl-C before", "nohup"])
def test_a_closed_terminal_ends_a_command_in_order(tmp_path: Path, how: str) -> None:
    import pty
    import termios

    def begin() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if how == "nohup" else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    master, slave = pty.openpty()
    words = [sys.executable, "-c", IN_TERMINAL]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=begin
    )
    try:
        os.close(slave)
        assert b"ready" in os.read(master, 100)
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        if how == "Ctrl-C before":
            os.write(master, b"\x03")
            assert b"interrupted" in _until(master, b"interrupted")
        os.close(master)
        if how == "nohup":
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)  # the terminal is still gone, so that nothing can be told
            assert process.wait(20) in (1, 143)
            assert not list(tmp_path.glob(".*"))
        else:
            assert process.wait(20) == (130 if how == "Ctrl-C before" else 129)
            assert [path.name for path in tmp_path.iterdir()] == ["finished"]
    finally:
        process.kill()
        process.wait()
