"""The searches for networks: every candidate can be built, has a row in the page, and the front is the best of them."""

from typing import Any

import pytest
from tests.benchmarks.training.front import on_front
from tests.benchmarks.training.models import HEADS, HERE, read

from cae_train.models import build, multiply_adds_per_pixel, weight_count


@pytest.mark.parametrize("search", HEADS)
def test_the_page_of_a_search_has_all_candidates_with_their_cost(search: str) -> None:
    settings = read(search)
    rows = [line.split(" | ") for line in (HERE / f"{search}.md").read_text().splitlines() if line.startswith("| ")][1:]
    pages = {row[0].removeprefix("| "): row[1:3] for row in rows if not row[0].startswith("| ---")}
    assert pages.keys() == settings.candidates.keys() >= set(settings.packaged)
    for name, options in settings.candidates.items():
        network = build("skip", {key: value for key, value in options.items() if key != "training"})
        cost: list[Any] = [f"{multiply_adds_per_pixel(network) / 1000:.1f}", f"{weight_count(network):,}"]
        assert pages[name] == cost or options.get("branches"), name  # those are counted once folded


def test_the_front_has_what_no_other_beats_in_both() -> None:
    points = [(1.0, 31.0), (2.0, 30.0), (1.5, 29.0), (3.0, 29.5), (1.0, 30.9)]
    assert on_front(points) == [3, 1, 0]
    assert on_front([]) == []
