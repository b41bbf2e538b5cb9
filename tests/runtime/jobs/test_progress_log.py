"""What a log says of long work: a line every ten seconds, on a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

from cae_runtime.jobs.progress_log import ProgressLog


def test_a_line_with_the_time_left_every_ten_seconds() -> None:
    now, told = [0.0], list[str]()
    log = ProgressLog(4, "cleaning", told.append, lambda: now[0])
    for done in range(1, 901):  # half a second a frame
        now[0] += 0.5
        log.on_frame(Path("a.mp4"), done, 900)
    assert len(told) == 44
    assert told[0] == "cleaning 'a.mp4': 20 of 900 frames, about 7 min left"
    assert told[-1] == "cleaning 'a.mp4': 880 of 900 frames, about 10 s left"
    told.clear()
    log.on_file()
    now[0] += 12
    log.on_frame(Path("b.mp4"), 1, None)
    now[0] += 3
    log.on_file()
    now[0] += 30_000
    log.on_file()
    log.on_file()
    assert told == [
        "cleaning: 1 of 4 files, about 22 min left",
        "cleaning 'b.mp4': 1 frame",
        "cleaning: 3 of 4 files, about 2.8 h left",
    ]
