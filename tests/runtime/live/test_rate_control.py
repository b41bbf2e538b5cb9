"""Changes to cheaper models and back, on a simulated clock."""

from __future__ import annotations

from typing import Any

import pytest

from cae_runtime.live.rate_control import RateController, fallback_models


class Machine:
    """Models that take a known time, times the load of the machine."""

    def __init__(self, budget: float | None, **seconds: float) -> None:
        self.now, self.load, self.seconds = 0.0, 1.0, seconds
        self.opened: list[str] = []
        self.pace = RateController(list(seconds), budget, self._open, lambda: self.now)

    def _open(self, name: str) -> Any:
        self.opened.append(name)
        return name

    def run(self, seconds: float) -> list[str]:
        """The models of each frame during so many seconds."""
        used, until = [], self.now + seconds
        while self.now < until:
            took = self.seconds[self.pace.model] * self.load
            used.append(self.pace.model)
            self.now += max(took, 1 / 30)
            self.pace.took(took)
        return used


def test_models_are_ordered_from_best_to_fastest() -> None:
    assert fallback_models("denoise") == ["denoise", "denoise-int8", "denoise-fast-int8"]
    assert fallback_models("denoise-int8") == ["denoise-int8", "denoise-fast-int8"]
    assert fallback_models("denoise-best") == ["denoise-best"], "never chosen on its own, and nothing replaces it"
    assert fallback_models("denoise-fast") == ["denoise-fast", "denoise-fast-int8"]
    assert fallback_models("own.onnx") == ["own.onnx"]


def test_a_slow_machine_steps_down_until_the_rate_holds() -> None:
    machine = Machine(1 / 30, best=0.08, middle=0.05, fast=0.012)
    used = machine.run(120)
    assert used[-1] == "fast"
    assert used.index("fast") < 40
    assert machine.pace.steps == 2, "what cannot hold the rate is not tried again and again"
    assert machine.pace.is_reduced


def test_a_fast_machine_keeps_the_model() -> None:
    machine = Machine(1 / 30, best=0.02, middle=0.01)
    assert set(machine.run(60)) == {"best"}
    assert machine.opened == ["best"]


def test_a_better_model_returns_when_the_load_is_gone() -> None:
    machine = Machine(1 / 30, best=0.02, middle=0.01, fast=0.004)
    machine.run(2)
    machine.load = 4
    assert machine.run(5)[-1] == "fast"
    machine.load = 1
    assert machine.run(30)[-1] == "best"
    assert machine.opened == ["best", "middle", "fast"], "each is opened once"


def test_failed_steps_up_are_retried_less_and_less_often() -> None:
    machine = Machine(1 / 30, best=0.02, fast=0.004)
    machine.run(2)
    machine.load = 1.8  # best takes 36 ms now, fast 7.2: seen from fast it might hold
    used = machine.run(300)
    assert used.count("best") < 0.1 * len(used)
    assert machine.pace.steps < 30


@pytest.mark.parametrize("budget", [None, 1 / 30])
def test_a_single_model_is_never_changed(budget: float | None) -> None:
    machine = Machine(budget, best=1.0)
    assert set(machine.run(60)) == {"best"}
    assert machine.pace.steps == 0


@pytest.mark.parametrize(
    ("seconds", "model", "target"),
    [
        ((0.02, 0.01, 0.005), "best", 30),
        ((0.2, 0.02, 0.005), "middle", 30),
        ((0.05, 0.045, 0.04), "best", 15),
        ((0.2, 0.05, 0.04), "middle", 15),
        ((0.4, 0.3, 0.1), "fast", 15),
    ],
)
def test_the_run_begins_with_the_best_model_that_holds_the_rate(
    seconds: tuple[float, float, float], model: str, target: float
) -> None:
    machine = Machine(1 / 30, **dict(zip(("best", "middle", "fast"), seconds, strict=True)))
    taken = machine.pace.begin(lambda name: machine.seconds[str(name)], 1 / 15)
    assert (machine.pace.model, taken) == (model, machine.seconds[model])
    assert machine.pace.target == pytest.approx(target)
    assert set(machine.run(30)) == {model}
    assert (machine.pace.too_slow is not None) == (taken > 1 / target)


def test_without_a_target_nothing_changes() -> None:
    machine = Machine(None, best=1.0, fast=0.01)
    assert set(machine.run(60)) == {"best"}
