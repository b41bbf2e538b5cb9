"""Features and anomalies by workers equal those of a local call, and nothing is done twice."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.cluster import conftest
from tests.runtime.cluster.conftest import Here
from tests.runtime.conftest import FIXTURES

from cae_runtime import ClusterError, UsageError
from cae_runtime.inference.session import Session
from cae_runtime.jobs.cluster import anomaly, encode
from cae_runtime.jobs.cluster.ledger import TRIES, Ledger
from cae_runtime.jobs.cluster.ledger import Opened as Answer
from cae_runtime.jobs.cluster.work import CRASHES
from cae_runtime.jobs.features.table import write_table
from cae_runtime.jobs.opened_images import Opened
from cae_runtime.jobs.other_tasks import Outcome, Request, run
from cae_runtime.places.address import Place, place_of

PARTS = ["part-00000.npz", "part-00001.npz", "part-00002.npz"]


@pytest.fixture
def photos(tmp_path: Path, noise: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five pictures, of which `c.png` is damaged; a table has two."""
    monkeypatch.setattr(encode, "PICTURES", 2)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcde":
        cv2.imwrite(str(folder / f"{name}.png"), noise((64, 96, 3)))
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folder


def done(model: str, photos: Path, out: Place, cluster: Here | None, **options: Any) -> Outcome:
    session = Session(FIXTURES / f"{model}.onnx", provider="cpu", threads=1)
    return run(session, Request((photos,), out, **options), cluster)  # type: ignore[arg-type]


def rows_in(*tables: Path) -> dict[str, np.ndarray]:
    found = [dict(np.load(table)) for table in tables]
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}


@pytest.mark.parametrize("per_patch", [False, True])
def test_the_tables_of_a_cluster_hold_the_same_rows_as_a_local_table(
    here: Here, photos: Path, tmp_path: Path, per_patch: bool
) -> None:
    out = tmp_path / "features"
    local = done("encode", photos, tmp_path / "local.npz", None, per_patch=per_patch).document
    found = done("encode", photos, out, here, per_patch=per_patch)
    assert sorted(path.name for path in out.iterdir()) == PARTS
    one, many = rows_in(tmp_path / "local.npz"), rows_in(*(out / name for name in PARTS))
    assert one.keys() == many.keys()
    assert all(np.array_equal(one[name], many[name]) for name in one)
    assert found.failed
    assert {name: found.document[name] for name in local if name != "output"} == {
        name: value for name, value in local.items() if name != "output"
    }
    assert [(part["file"], part["images"], part["node"]) for part in found.document["parts"]] == [
        (name, images, "10.0.0.3 (01234567)") for name, images in zip(PARTS, (2, 1, 1), strict=True)
    ]


def test_a_repeated_call_writes_missing_rows_and_retries_failed_pictures(
    here: Here, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features"
    here.most = 2
    with pytest.raises(KeyboardInterrupt):
        done("encode", photos, out, here)
    before = {name: (out / name).stat().st_ino for name in PARTS[:2]}
    here.most = 1000
    document = done("encode", photos, out, here).document
    assert [part["status"] for part in document["parts"]] == ["skipped", "skipped", "done"]
    assert [Path(each["source"]).name for each in document["failed"]] == ["c.png"]
    assert {name: (out / name).stat().st_ino for name in PARTS[:2]} == before
    (photos / "c.png").write_bytes((photos / "a.png").read_bytes())
    document = done("encode", photos, out, here).document
    assert ([part["status"] for part in document["parts"]], document["failed"]) == (["skipped", "done", "skipped"], [])
    done("encode", photos, tmp_path / "local.npz", None)
    one, many = rows_in(tmp_path / "local.npz"), rows_in(*(out / name for name in PARTS))
    assert all(np.array_equal(one[name], many[name]) for name in one)


def test_a_table_whose_workers_die_is_not_retried_forever(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaths(Ledger):  # workers have died while they wrote the first table, whose rows were known
        def open(self, number: int, node: str, files: Iterable[int]) -> Answer:
            opened = super().open(number, node, files)
            if number == 0:
                row = encode.Encoded(str(photos / "a.png"), 0, "done", rows=1)
                return replace(opened, hopeless=True, rows={0: pickle.dumps(row)})
            return opened

    monkeypatch.setattr(conftest, "Ledger", Deaths)
    document = done("encode", photos, tmp_path / "features", here).document
    assert [part["file"] for part in document["parts"]] == PARTS[1:]
    assert [Path(each["source"]).name for each in document["failed"]] == ["a.png", "b.png", "c.png"]
    assert document["failed"][0]["reason"] == CRASHES


@pytest.mark.parametrize(("task", "module"), [("encode", encode), ("anomaly", anomaly)])
def test_a_picture_at_which_the_program_fails_is_listed_and_the_rest_go_on(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, module: Any
) -> None:
    step = {"encode": "rows_of", "anomaly": "judged"}[task]
    right = getattr(module, step)

    def wrong(does: Any, picture: Opened, *more: Any) -> Any:
        if picture.job.source.name == "b.png":
            raise IndexError("list index out of range")
        return right(does, picture, *more)

    monkeypatch.setattr(module, step, wrong)
    document = done(task, photos, tmp_path / "out", here).document
    files = document["failed"] if task == "encode" else document["files"]
    failed = {Path(each["source"]).name: each["reason"] for each in files if each.get("status", "failed") == "failed"}
    assert failed.keys() == {"b.png", "c.png"}
    assert failed["b.png"] == "an unexpected error in the program: IndexError: list index out of range"
    if task == "encode":
        paths = rows_in(*(tmp_path / "out" / name for name in PARTS))["paths"]
        assert [Path(path).name for path in paths] == ["a.png", "d.png", "e.png"]


def test_a_table_that_cannot_be_written_costs_only_its_pictures(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path, rows: Iterable[Any]) -> None:
        made = list(rows)
        if made and made[0].path.endswith("a.png"):
            raise IndexError("list index out of range")
        write_table(path, made)

    monkeypatch.setattr(encode, "write_table", wrong)
    document = done("encode", photos, tmp_path / "out", here).document
    assert [part["file"] for part in document["parts"]] == PARTS[1:]
    assert [Path(each["source"]).name for each in document["failed"]] == ["a.png", "b.png", "c.png"]


def test_pictures_before_one_that_ends_its_workers_do_not_count_as_its_reason(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(lambda _: True)
    monkeypatch.setattr(conftest, "Ledger", lambda _: ledger)
    done("encode", photos, tmp_path / "features", here)
    for place in (tmp_path / "features").iterdir():  # no table was written: workers died during later pictures
        place.unlink()
    for _ in range(TRIES + 1):
        assert not done("encode", photos, tmp_path / "features", here).document["failed"][1:]
        (tmp_path / "features" / PARTS[0]).unlink()
    assert not [death for death in ledger.deaths() if death.tries]


def test_tables_finished_before_a_worker_died_count_as_done(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(lambda _: True)
    monkeypatch.setattr(conftest, "Ledger", lambda _: ledger)
    first = done("encode", photos, tmp_path / "features", here).document
    assert len(ledger.rows()) == 5
    assert done("encode", photos, tmp_path / "features", here).document == first


def test_tables_of_other_calls_are_kept_without_overwrite(here: Here, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    done("encode", photos, out, here)
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    first = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    with pytest.raises(UsageError, match="exists, but another model or overlap made it, or its pictures have changed"):
        done("encode", photos, out, here)
    (photos / "a.png").write_bytes(first)
    with pytest.raises(UsageError, match="exists, with a row for each image"):
        done("encode", photos, out, here, per_patch=True)
    (photos / "e.png").unlink()
    with pytest.raises(UsageError, match=r"'.*part-00002.npz' exists, and 4 pictures make 2 tables only"):
        done("encode", photos, out, here)
    (photos / "a.png").unlink()
    (out / PARTS[2]).unlink()
    with pytest.raises(UsageError, match=r"has rows of others, '.*a.png'"):
        done("encode", photos, out, here)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {name: content[name] for name in PARTS[:2]}
    here.away = True
    with pytest.raises(ClusterError, match="no Ray cluster answers"):
        done("encode", photos, out, here, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == PARTS[:2], "nothing is removed before the cluster answers"
    here.away = False
    done("encode", photos, out, here, overwrite=True)
    assert [Path(path).name for path in rows_in(out / PARTS[0], out / PARTS[1])["paths"]] == ["b.png", "d.png"]
    with pytest.raises(UsageError, match="a cluster writes features to a folder of tables"):
        done("encode", photos, tmp_path / "features.npz", here)


def test_tables_can_be_written_to_a_store(
    here: Here, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra cloud is not installed")
    monkeypatch.setattr(encode, "check_places", lambda _: None)  # which refuses memory://, as workers do not share it
    out = place_of("memory://encoded/features")
    for overwrite in (False, False, True):
        assert done("encode", photos, out, here, overwrite=overwrite).document["images"] == 4
    (tmp_path / "copy.npz").write_bytes(fsspec.filesystem("memory").cat_file("encoded/features/part-00000.npz"))
    assert [Path(path).name for path in rows_in(tmp_path / "copy.npz")["paths"]] == ["a.png", "b.png"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_anomalies_equal_those_of_a_local_call(
    here: Here, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    local = done("anomaly", photos, tmp_path / "local", None, raw_maps=True).document
    told = [record.getMessage() for record in caplog.records]
    caplog.clear()
    found = done("anomaly", photos, tmp_path / "heat", here, raw_maps=True)
    assert found.failed
    assert files_in(tmp_path / "heat") == files_in(tmp_path / "local")
    assert [record.getMessage().replace("heat/", "local/") for record in caplog.records] == told
    nodes = {each.pop("node", None) for each in found.document["files"]}
    assert nodes == {"10.0.0.3 (01234567)"}
    assert str(found.document).replace("/heat", "/local") == str(local)


def test_scores_of_an_interrupted_call_are_reused(here: Here, photos: Path, tmp_path: Path) -> None:
    done("anomaly", photos, tmp_path / "local", None)
    out = tmp_path / "heat"
    here.most = 2
    with pytest.raises(KeyboardInterrupt):
        done("anomaly", photos, out, here)
    first = sorted(path.name for path in (out / "scores.parts").iterdir())
    assert first == ["part-00000.csv", "part-00001.csv"]
    (out / "d_heat.png").write_bytes(b"of a worker that was killed before it wrote its part")
    here.most = 1000
    document = done("anomaly", photos, out, here).document
    assert {Path(each["source"]).name: each["status"] for each in document["files"]} == {
        "a.png": "skipped", "b.png": "skipped", "c.png": "failed", "d.png": "done", "e.png": "done",
    }  # fmt: skip
    assert files_in(out) == files_in(tmp_path / "local")


def test_a_cluster_scores_only_into_folders(here: Here, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a cluster writes heat maps to folders: name a folder"):
        done("anomaly", photos / "a.png", tmp_path / "a_heat.png", here)
