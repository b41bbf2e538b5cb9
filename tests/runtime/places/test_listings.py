"""Listings of stores: no page is lost, and none is requested again without need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.runtime.conftest import Command
from tests.runtime.places.conftest import Trouble

from cae_runtime.places import retries, store
from cae_runtime.places.address import Address, place_of
from cae_runtime.places.reasons import StoreError


def address_of(text: str) -> Address:
    place = place_of(text)
    assert isinstance(place, Address)
    return place


class Pages:
    """A store of S3 that gives two files a page."""

    def __init__(self, keys: list[str], failing: set[int]) -> None:
        self.keys, self.failing, self.asked = keys, failing, 0

    def call_s3(self, method: str, *, Bucket: str, Prefix: str, Delimiter: str, ContinuationToken: str = "0") -> Any:  # noqa: N803
        assert (method, Bucket, Delimiter) == ("list_objects_v2", "bucket", "")
        self.asked += 1
        if self.asked in self.failing:
            raise TimeoutError
        start, found = int(ContinuationToken), [key for key in self.keys if key.startswith(Prefix)]
        page = {"Contents": [{"Key": key, "Size": 1} for key in found[start : start + 2]]}
        return {**page, "IsTruncated": start + 2 < len(found), "NextContinuationToken": str(start + 2)}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0)
    return lambda found: monkeypatch.setattr(store, "system_of", lambda _: found)


def test_only_the_page_that_failed_is_requested_again(system: Callable[[Any], None]) -> None:
    pages = Pages([f"k/{number:02}.png" for number in range(40)], {5, 12, 19})
    system(pages)
    assert len(store.files_below(address_of("s3://bucket/k"))) == 40
    assert pages.asked == 20 + 3
    pages.failing = set(range(pages.asked + 2, 1000))
    with pytest.raises(StoreError, match="did not answer in time, also at the last of 5 tries"):
        store.files_below(address_of("s3://bucket/k"))


KEYS = ["a/x.png", "a/y.jpg", "b/x.png", "b/deep/z.png", "c.png", "c/x.png", "c/"]
PATTERNS = [
    ("*/*.png", ["a/x.png", "b/x.png", "c/x.png"]),
    ("*.png", ["c.png"]),
    ("c*", ["c", "c.png"]),
    ("[ab]", ["a", "b"]),
    ("b/*", ["b/deep", "b/x.png"]),
    ("**/z.png", ["b/deep/z.png"]),
    ("b/**", ["b", "b/deep", "b/deep/z.png", "b/x.png"]),
    ("*/d?ep/*", ["b/deep/z.png"]),
    ("z/*.png", []),
]


@pytest.mark.slow
def test_a_listing_that_fails_once_is_not_taken_for_an_empty_folder(
    cae_run: Command, trouble: Trouble, s3: Any
) -> None:
    for key in KEYS:
        s3.call_s3("put_object", Bucket="incoming", Key=key, Body=b"x")
    for pattern, keys in PATTERNS:
        trouble.add("GET /incoming?list-type=2", 1, 503)
        found = store.matching(address_of(f"s3://incoming/{pattern}"))
        assert [each.key for each in found] == keys
        assert not any(each.size for each in found if not each.suffix)
    trouble.rules.clear()
    trouble.seen.clear()
    assert len(store.matching(address_of("s3://incoming/*/*.png"))) == 3
    assert len(trouble.seen) == 1
    trouble.add("GET /incoming?list-type=2", -1, 403)
    with pytest.raises(StoreError, match="permission is denied"):
        store.matching(address_of("s3://incoming/*/*.png"))


@pytest.mark.parametrize(("pattern", "keys"), PATTERNS)
def test_patterns_match_the_same_in_all_stores(memory: Any, pattern: str, keys: list[str]) -> None:
    for key in KEYS[:-1]:
        memory.pipe_file(f"/{key}", b"x")
    assert [each.key for each in store.matching(address_of(f"memory://{pattern}"))] == keys


def test_an_invalid_pattern_is_refused(memory: Any) -> None:
    with pytest.raises(StoreError, match="entire path component"):
        store.matching(address_of("memory://a**b"))


def test_fsspec_settings_of_the_program_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    made: dict[str, Any] = {}
    monkeypatch.setattr(store, "check_extra", lambda _: None)
    monkeypatch.setattr(
        fsspec, "filesystem", lambda protocol, **options: made.update({protocol: options}) or Pages([], set())
    )
    for name in ("FSSPEC_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for protocol in ("s3", "gs", "az"):
        store.system_of(Address(protocol, "bucket"))
        assert made[protocol]["use_listings_cache"] is False
    assert "endpoint_url" not in made["s3"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://of-aws")
    store.system_of(Address("s3", "bucket"))
    assert made["s3"]["endpoint_url"] == "http://of-aws"
    given = {"endpoint_url": "http://mine", "max_concurrency": 9, "config_kwargs": {"read_timeout": 99}}
    monkeypatch.setitem(fsspec.config.conf, "s3", given)
    store.system_of(Address("s3", "bucket"))
    assert (made["s3"]["endpoint_url"], made["s3"]["max_concurrency"]) == ("http://mine", 9)
    assert made["s3"]["config_kwargs"]["read_timeout"] == 99
    assert made["s3"]["config_kwargs"]["retries"] == {"total_max_attempts": 1}
