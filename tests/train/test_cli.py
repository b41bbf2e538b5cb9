"""The installed command, in real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.signalled import signalled_at

from cae_train import TrainConfig, TrainingError, load_model
from cae_train.cli import main as cli
from cae_train.config import load_toml

Command = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = Path(sys.executable).parent / ("cae-train.exe" if os.name == "nt" else "cae-train")
MODEL = "[model]\nwidths = [16, 16]\ndown_blocks = [0, 1]\nup_blocks = [0]\n"
CPU = ("--accelerator", "cpu", "--devices", "1")
INSTALL = "pip install 'cae-toolkit[train]'"


@pytest.fixture
def recipe(photos: Path, tmp_path: Path) -> Path:
    """Return a file of settings for a run of a second."""
    path = tmp_path / "recipe.toml"
    lines = [f"data = ['{photos}']", "epochs = 2", "epoch_crops = 96", "batch = 16", "precision = 'fp32'", "seed = 5"]
    path.write_text("\n".join(lines) + "\n" + MODEL, encoding="utf-8")
    return path


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_run_from_a_recipe_ends_with_the_next_command(cae_train: Command, recipe: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # An option wins over the recipe, the recipe over the defaults.
    done = cae_train("--config", recipe, "--epochs", 1, "--degrade", "gaussian:10", "--degrade", "salt-pepper:0.02",
                     "--no-clip", *CPU, cwd=tmp_path, env={"HOME": str(home), "XDG_CACHE_HOME": ""}, installed=True,
                     )  # fmt: skip
    assert list(home.iterdir()) == [], "nothing is written into the home folder"
    folder = Path("runs/train/skip")
    assert done.returncode == 0
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("skip: ")
    assert lines[0].endswith(f"11 images, 1 held out; gaussian:10 + salt-pepper:0.02 -> {folder}")
    assert re.fullmatch(r"epoch 1 of 1 began, with \d+ patches", lines.pop(1))
    assert lines[1].startswith("epoch 1/1  training: loss ")
    assert lines[2].startswith("held-out patches of ")
    noisy, denoised = map(float, re.findall(r"([\d.]+) dB", lines[2]))
    worse = ["note: its output is worse than its input: a wider code, more epochs or another --loss may help"]
    assert lines[3:] == [*(worse if denoised < noisy else []), f"next: cae-export {folder / 'model.pt'}"]
    config = TrainConfig.from_dict(load_toml(tmp_path / folder / "config.toml"))
    assert (config.epochs, config.degrade, config.clip) == (1, ("gaussian:10", "salt-pepper:0.02"), False)
    assert (config.seed, config.batch, config.lr) == (5, 16, TrainConfig().lr)

    # The run's own config.toml is a recipe; a name that is taken becomes NAME-2.
    done = cae_train("--config", folder / "config.toml", "--arch", "skip", *CPU, cwd=tmp_path)
    assert done.returncode == 0
    assert last_line(done) == "next: cae-export runs/train/skip-2/model.pt"
    one, two = (tmp_path / "runs" / "train" / name for name in ("skip", "skip-2"))
    assert load_model(two / "model.pt").config == load_model(one / "model.pt").config
    assert (one / "config.toml").read_text() == (two / "config.toml").read_text()


def test_pairs_are_written_without_training(cae_train: Command, photos: Path, tmp_path: Path) -> None:
    done = cae_train(
        "--data", photos, "--epochs", 0, "--save-pairs", tmp_path / "päirs", "--max-pairs", 3, cwd=tmp_path
    )
    assert (done.returncode, last_line(done)) == (0, f"wrote 6 pairs to {tmp_path / 'päirs'}")
    assert len(list((tmp_path / "päirs").rglob("*.png"))) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["päirs"]  # no run was begun


def test_unusable_images_are_reported_without_output_of_the_decoder(
    cae_train: Command, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:500])
    (folder / "text.jpg").write_text("no picture")
    done = cae_train("--data", folder, "--epochs", 0, "--save-pairs", tmp_path / "pairs", "--max-pairs", 1)
    assert done.returncode == 0
    first, second = done.stderr.splitlines()  # and no complaint of a decoder
    assert first == f"note: {folder}: left out 2 of 14 images, cannot be read (cut.png, ...)"
    assert second.startswith("wrote 2 pairs")


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Path]:
    """Return a working folder that must be as empty after a refusal as before it."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    yield folder
    assert list(folder.rglob("*")) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--degrade", "gaussian:abc"], "'abc' is not a level"),
        (["--data", "EMPTY"], "has no images"),
        (["--data", "missing"], "is neither a folder nor a data set: choose cifar10"),
        (["--start", "no.pt"], "--start: no.pt does not exist: name a model.pt of cae-train or file of weights"),
        (["--accelerator", "abacus"], "accelerator abacus"),
        (["--resume", "missing"], "--resume missing is not a run folder"),
        (["--out", "FILE/run"], "FILE/run' cannot be made"),
        (["--out", "."], "--out '.' is not the name of a new folder"),
        (["--out", ".."], "--out '..' is not the name of a new folder"),
        (
            ["--out", "/proc/run", "--data", "missing"],
            "--out '/proc/run' cannot be made: ",
        ),  # before data are looked for
    ],
)
def test_wrong_usage_is_a_one_line_error_with_exit_code_2(
    options: list[str], reason: str, cae_train: Command, photos: Path, nowhere: Path, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").touch()
    options = [str(tmp_path / o) if o.startswith(("EMPTY", "FILE")) else o for o in options]
    data = [] if {"--data", "--resume"} & set(options) else ["--data", str(photos)]
    done = cae_train(*options, *data, cwd=nowhere)
    assert done.returncode == 2
    assert reason in last_line(done)
    assert [line for line in done.stderr.splitlines() if line.startswith("cae-train: ")] == [last_line(done)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--epochs", "0"], "--epochs is 0: 1 or more are needed, except with --save-pairs"),
        (["--degrade", "none", "--degrade", "blur:1"], "--degrade 'none' cannot be combined"),
        (["--preview-degradation", "sheet.jpg"], "sheet.jpg: a sheet is a PNG, give it a name that ends in .png"),
        (["--preview-degradation", "sheet"], "a name that ends in .png"),
        (["--preview-degradation", "sheet.png", "--degrade", "blur:9"], "levels of blur go from 0 to 8"),
        (["--preview-degradation", "s.png", "--resume", "run"], "draws a sheet and stops: leave out --resume"),
        (["--preview-degradation", "s.png", "--save-pairs", "p"], "draws a sheet and stops: leave out --save-pairs"),
        (["--arch", "cae", "--vgg16-weights", "x"], "--vgg16-weights x: only --arch vgg16 uses it"),
        (["--arch", "unet"], "unknown architecture 'unet': choose from skip, cae, vae, sparse, stacked, vgg16"),
        (["--loss", "bce"], "loss bce needs"),
        (["--lr", "-1"], "--lr is -1.0: it must be above 0, at most 1"),
        (["--workers", "-7"], "--workers is -7"),
        (["--epoch-crops", "3"], "--epoch-crops is 3: it must be at least one batch (64)"),
        (["--config", "no.toml"], "--config 'no.toml' does not exist: name a recipe, or the config.toml of a run"),
        (["--config", "."], "--config '.' is a folder: name a recipe, or the config.toml of a run"),
        (["--resume", "run", "--weight-decay", "0.1"], "leave out --weight-decay"),
        (["--resume", "run", "--out", "other"], "leave out --out"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    options: list[str], reason: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(nowhere)
    monkeypatch.setattr(sys, "argv", ["cae-train", *options])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cae-train: ")
    assert captured.err.count("\n") == 1
    assert reason in captured.err


@pytest.mark.parametrize("option", ["--data", "--config", "--start", "--resume"])
def test_passwords_of_addresses_are_not_shown(cae_train: Command, tmp_path: Path, option: str) -> None:
    done = cae_train(option, "https://user:Tr0ub4dor@host/x.pt?token=Tr0ub4dor", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "***@host" in done.stderr
    assert "Tr0ub4dor" not in done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--out", "--save-pairs", "--preview-degradation"])
def test_outputs_at_addresses_are_refused(cae_train: Command, photos: Path, option: str, tmp_path: Path) -> None:
    short = ("--epochs", 1, "--epoch-crops", 32, "--max-pairs", 4)
    done = cae_train("--data", photos, *short, option, "s3://user:secret@bucket/runs", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        last_line(done)
        == f"cae-train: {option} takes a place on this computer, and 's3:/***@bucket/runs' is an address"
    )
    assert not [*tmp_path.iterdir()]


def test_a_name_of_any_length_gives_a_short_message(cae_train: Command, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("a" * 100_000 + " = 1")
    done = cae_train("--config", "c.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert last_line(done).startswith("cae-train: unknown setting 'aaaa")
    assert "choose from data, " in last_line(done)
    assert len(last_line(done)) < 5000


def test_unknown_options_and_invalid_numbers_are_refused(cae_train: Command, nowhere: Path) -> None:
    for options in (["--epoch", "3"], ["--epochs", "many"], ["photos"]):
        done = cae_train(*options, cwd=nowhere)
        assert done.returncode == 2
        assert options[-1 if options[-1] != "3" else 0] in done.stderr


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "cv2", "tomli_w"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from cae_train.cli.main import main
sys.argv = ["cae-train", *sys.argv[1:]]
main()
"""


def without_the_extra(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED, *options], capture_output=True, text=True)


def test_a_missing_extra_is_reported_with_the_install_command() -> None:
    done = without_the_extra()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert INSTALL in done.stderr


def test_help_and_version_need_no_extra() -> None:
    done = without_the_extra("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in (
        "--data",
        "--arch",
        "--degrade",
        "--epochs",
        "--resume",
        "--save-pairs",
        "--preview-degradation",
        "--devices",
    ):
        assert option in done.stdout
    done = without_the_extra("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "cae-train")


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
def test_too_small_an_address_space_is_a_one_line_error() -> None:
    words = ["bash", "-c", f"ulimit -v 800000; {COMMAND} --list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cae-train: the address space is limited to 781 MiB")


def heed_ctrl_c() -> None:
    """In the child: take Ctrl-C as a terminal gives it, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(
    options: list[str | Path], ready: Callable[[], bool], cwd: Path, ending: signal.Signals
) -> tuple[int, str]:
    """Start the command, send the signal `ending` once `ready`, and return its exit code and stderr."""
    process = subprocess.Popen(
        [COMMAND, *map(str, options)], stderr=subprocess.PIPE, text=True, cwd=cwd, preexec_fn=heed_ctrl_c
    )
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(ending)
    stderr = process.communicate(timeout=120)[1]
    assert "Traceback" not in stderr, stderr
    return process.returncode, stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    ("first_epoch", "ending"), [(True, signal.SIGINT), (False, signal.SIGINT), (True, signal.SIGTERM)]
)
def test_a_signal_leaves_a_model_and_the_run_can_be_resumed(
    first_epoch: bool, ending: signal.Signals, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    crops = 5_000_000 if first_epoch else 64
    sign = out / ("config.toml" if first_epoch else "last.ckpt")  # in the first epoch, or after it
    options = ["--config", recipe, "--epochs", "4000", "--epoch-crops", str(crops), "--out", out, *CPU]
    begun = lambda: sign.exists() and sign.stat().st_mtime < time.time() - 0.5  # noqa: E731 - steps are being made
    code, stderr = interrupted(options, begun, tmp_path, ending)
    assert code == 128 + ending
    go_on = ", but no epoch was finished" if first_epoch else f"; go on with cae-train --resume {out}"
    assert stderr.splitlines()[-1] == f"interrupted: {out / 'model.pt'} can be used{go_on}"
    loaded = load_model(out / "model.pt")
    assert (loaded.metrics == {}) is first_epoch
    assert not list(out.glob(".*"))  # nothing half-written


@pytest.mark.slow
def test_resume_continues_a_run(
    settings: Callable[..., TrainConfig], run: Callable[..., Any], stop_at: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    run(settings(), out, callbacks=[stop_at(50)])
    monkeypatch.setattr(sys, "argv", ["cae-train", "--resume", str(out), *CPU])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 2/3", "epoch 3/3"]
    assert lines[-1] == f"next: cae-export {out / 'model.pt'}"
    assert not (tmp_path / "run-2").exists()


@pytest.mark.slow
def test_a_run_resumes_with_moved_data_and_says_when_it_is_finished(
    settings: Callable[..., TrainConfig], run: Callable[..., Any], stop_at: Callable[..., Any], photos: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:  # fmt: skip
    shutil.copytree(photos, tmp_path / "before")
    out = tmp_path / "run"
    run(settings(data=(str(tmp_path / "before"),)), out, callbacks=[stop_at(50)])
    (tmp_path / "before").rename(tmp_path / "moved")
    out = out.rename(tmp_path / "moved run")

    def resume(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["cae-train", "--resume", str(out), *map(str, words), *CPU])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    code, said = resume()
    assert code == 2
    assert "If the data of this run were moved, name where they are now, with --data" in said
    code, said = resume("--data", tmp_path / "moved", "--data", photos)
    assert code == 2
    assert "--data names 2 sources: the run" in said
    code, said = resume("--data", tmp_path / "moved")
    assert code == 0
    assert "epoch 3/3" in said
    assert not any("dirpath" in str(warning.message) for warning in recwarn), "Lightning's word for the folder"
    assert "epochs of this run are done" not in said
    code, said = resume("--data", tmp_path / "moved")
    assert code == 0
    assert "note: all 3 epochs of this run are done; cae-train --start" in said


@pytest.mark.parametrize(("what", "code"), [("diverges", 1), ("is interrupted", 130)])
def test_each_outcome_of_training_has_its_exit_code(
    what: str, code: int, settings: Callable[..., TrainConfig], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def happen(*_: object, **__: object) -> None:
        raise TrainingError("training diverged") if what == "diverges" else KeyboardInterrupt

    monkeypatch.setattr("cae_train.training.loop.run", happen)
    monkeypatch.setattr(sys, "argv", ["cae-train", "--data", str(photos), "--out", str(tmp_path / "run"), *CPU])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert ("cae-train: training diverged\n" in capsys.readouterr().err) is (code == 1)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="never tried on Windows")
def test_two_processes_train_one_model(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()  # the name is taken: both processes must use run-2
    options = ["--accelerator", "cpu", "--max-pairs", "1", "--save-pairs", tmp_path / "pairs"]
    torchrun = COMMAND.with_name("torchrun")
    words = [torchrun, "--nproc-per-node", "2", COMMAND, "--config", recipe, "--out", tmp_path / "run", *options]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert last_line(done) == f"next: cae-export {tmp_path / 'run-2' / 'model.pt'}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs", "recipe.toml", "run", "run-2"]
    assert list((tmp_path / "run").iterdir()) == []
    assert len((tmp_path / "run-2" / "metrics.csv").read_text().splitlines()) == 3
    assert done.stderr.count("epoch 2/2") == 1
    assert load_model(tmp_path / "run-2" / "model.pt").metrics["epoch"] == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("module", "number", "code"), [("torch", signal.SIGINT, 130), ("lightning", signal.SIGTERM, 143)]
)
def test_a_signal_during_imports_ends_the_command_cleanly(
    module: str, number: signal.Signals, code: int, photos: Path, tmp_path: Path
) -> None:
    done = signalled_at("cae_train", module, number, "--data", photos, "--out", tmp_path / "run")
    assert done == (code, "cae-train: interrupted\n")
    assert not (tmp_path / "run").exists()
