"""Processes that a program starts later reuse the results of its first process instead of training again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cae_train import TrainingError
from cae_train.training.earlier_runs import RUNS, _Runs, once, write_runs


class ProgramError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def failing(error: BaseException) -> Callable[[], str]:
    def work() -> str:
        raise error

    return work


def test_finished_runs_of_a_program_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Runs, "over", [])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    assert once(lambda: "first") == "first"
    for error in (TrainingError("second"), KeyboardInterrupt(), ProgramError("third", " of this program")):
        with pytest.raises(type(error)):
            once(failing(error))
    write_runs(tmp_path / "runs")
    monkeypatch.setattr(_Runs, "over", [])
    monkeypatch.setenv("LOCAL_RANK", "1")
    forbidden = failing(AssertionError("it trains again"))
    assert once(forbidden) == "first"
    for kind, text in ((TrainingError, "second"), (KeyboardInterrupt, "^$"), (TrainingError, "third of this program")):
        with pytest.raises(kind, match=text):
            once(forbidden)
    assert once(lambda: "together") == "together", "the run that is going on"


def test_processes_of_torchrun_train_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Runs, "over", [])
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv(RUNS, raising=False)
    assert [once(lambda: "here"), once(lambda: "there")] == ["here", "there"]
