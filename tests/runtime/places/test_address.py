from __future__ import annotations

import pickle
from pathlib import Path, PurePosixPath

import pytest

from cae_runtime import UsageError
from cae_runtime.places.address import Address, is_address, place_of
from cae_shared.text import masked


def identity(text: str) -> str:
    place = place_of(text)
    assert isinstance(place, Address)
    return place.identity


@pytest.mark.parametrize(
    ("text", "protocol", "root", "key"),
    [
        ("s3://bucket", "s3", "bucket", ""),
        ("S3A://bucket/a//b/./c.png/", "s3", "bucket", "a/b/c.png"),
        ("gcs://bucket/a.png", "gs", "bucket", "a.png"),
        ("az://container/a b#?.png", "az", "container", "a b#?.png"),
        ("memory:///a/b.png", "memory", "", "a/b.png"),
        ("HTTPS://Host:443/a%20b.png?x=1#part", "https", "host:443", "a%20b.png"),
        ("s3://key:sec/r+et@bucket/a@2x.png", "s3", "bucket", "a@2x.png"),
        (
            "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/mine/a.png", "s3",
            "arn:aws:s3:us-west-2:123456789012:accesspoint/mine", "a.png",
        ),
    ],
)  # fmt: skip
def test_addresses_are_parsed_into_their_parts(text: str, protocol: str, root: str, key: str) -> None:
    address = place_of(text)
    assert isinstance(address, Address)
    assert (address.protocol, address.root, address.key) == (protocol, root, key)


@pytest.mark.parametrize("text", [r"C:\photos\a.png", "C:/a.png", "c://a.png", "photos/a.png", "a:b.png", "-"])
def test_local_paths_stay_paths(text: str) -> None:
    assert not is_address(text)
    assert place_of(text) == Path(text)


def test_file_addresses_become_local_paths() -> None:
    assert place_of("file:///photos/a.png") == Path("/photos/a.png")


@pytest.mark.parametrize(
    "spellings",
    [
        ["s3://b/a.png", "s3a://b//a.png", "S3://k:s@b/./x/../a.png", "https://b.s3.eu-central-1.amazonaws.com/a.png",
         "https://s3.amazonaws.com/b/a.png?X-Amz-Signature=1", "https://b.s3.amazonaws.com:443/a.png"],
        ["gs://b/a b.png", "gcs://b/a b.png", "https://storage.googleapis.com/b/a%20b.png"],
        ["az://c/a.png", "https://account.blob.core.windows.net/c/a.png?sig=1"],
        ["http://host/a%20b.png", "HTTP://HOST:80//a b.png", "http://u:p@host/a b.png#x"],
        ["memory://a/b.png", "memory:///a//b.png"],
    ],
)  # fmt: skip
def test_different_spellings_give_the_same_address(spellings: list[str]) -> None:
    assert len({identity(text) for text in spellings}) == 1


@pytest.mark.parametrize(
    ("endpoint", "spellings"),
    [
        ("http://localhost:9000", ["http://localhost:9000/b/a.png", "http://b.localhost:9000/a.png"]),
        ("https://minio.example", ["https://minio.example:443/b/a.png", "https://b.minio.example/a.png"]),
        ("https://minio.example:443", ["https://minio.example/b/a.png", "https://b.minio.example:443/a.png?x=1"]),
    ],
)
def test_custom_s3_endpoints_are_recognized(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, spellings: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for text in spellings:
        assert identity(text) == identity("s3://b/a.png")
    assert identity("https://notminio.example/b/a.png").startswith("web:")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/a.png", "s3://***@bucket/a.png"),
        ("s3://key:se/cret@bucket/a.png", "s3://***@bucket/a.png"),
        ("http://user:secret@host/a.png", "http://***@host/a.png"),
        ("https://host/a.png?X-Amz-Signature=secret&id=secret", "https://host/a.png?X-Amz-Signature=***&id=***"),
        ("https://host/a.png?secret", "https://host/a.png?***"),
        ("https://host/a.png?secret==", "https://host/a.png?***"),
        ("s3://bucket/a@2x.png", "s3://bucket/a@2x.png"),
        ("memory://a/b.png", "memory://a/b.png"),
    ],
)
def test_passwords_are_never_shown(text: str, shown: str) -> None:
    address = place_of(text)
    assert str(address) == shown
    assert "secret" not in repr(address) + masked(text)
    again = pickle.loads(pickle.dumps(address))  # noqa: S301 - for workers of other processes
    assert again.in_store == address.in_store


@pytest.mark.parametrize(
    "text",
    [
        "ftp://us@er:secret@host/a", "https://user:secret?x@host/a", "http://user:secret#x@host/", "az://user:secret/x@host",
        "rtsp://user:secret@host/a?token=secret", "rtsp://host/a?secret", "https://us@er:secret@host/a@b?sig=secret",
        "rtsp://user:it's secret@host/a".replace(" ", ""), 'rtsp://user:"secret"@host/a',
        "rtsp://user:a secret b@host/a",
        "user:secret@host/a.png", "user:secret@host:554", "user:secret@[::1]:554/a", "rtsp//user:secret@host/a",
        "rtsp/user:secret@host/a", "https://host/a#token=secret", "https://host/a;token=secret",
        "a.png;password=secret", r"https:\user:secret@host\a.png",
        "https://host/a?id=1#x;access_token=secret", "https://host/a?secret=", "https://host/a?secret==",
    ],
)  # fmt: skip
def test_no_part_of_a_password_remains_in_a_message(text: str) -> None:
    assert "secret" not in masked(f"source {text!r} is not there")


@pytest.mark.parametrize(
    "name",
    [
        "a:b@c.png", "user@2x.png", "C:/photos/me@home/a.png", r"C:\photos\me@home\a.png", "photos/12:30@noon.png",
        "a;b=c.png",
        "a#1=2.png", "s3://bucket/a.png", "http://host:554/a.png", "rtsp/me@home.png", "./rtsp/a:b@c.png",
    ],
)  # fmt: skip
def test_names_of_files_stay_as_they_are(name: str) -> None:
    told = f"source '{name}' cannot be read: it is not there"
    assert masked(told) == told


def test_a_port_is_no_password() -> None:
    told = "http://host:80/a.png was not read: ask me@example.com"
    assert masked(told) == told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3://", "names no bucket"),
        ("az:///a.png", "names no container"),
        ("http:///a.png", "names no host"),
        ("ftp://user:secret@host/a.png", "'ftp' addresses are not supported"),
        ("s3:/bucket/a.png", "two slashes"),
        ("s3://key:secret/a.png", "credentials"),
        ("s3://secret@bucket/a.png", "KEY:SECRET@"),
        ("gs://key:secret@bucket/a.png", "the environment has them"),
        ("https://user:se/secret@host.org/x.jpg", "no valid host and port; in a password"),
        ("https://user:secret?x@host.org/x.jpg", "no valid host and port"),
    ],
)
def test_unsupported_addresses_are_refused_without_showing_passwords(text: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        place_of(text)
    assert why in str(refused.value)
    assert "secret" not in str(refused.value)


def test_addresses_have_the_name_parts_of_paths() -> None:
    address = place_of("s3://bucket/photos/a.tar.gz")
    assert isinstance(address, Address)
    assert (address.name, address.stem, address.suffix) == ("a.tar.gz", "a.tar", ".gz")
    assert str(address.with_suffix(".png")) == "s3://bucket/photos/a.tar.png"
    assert str(address.parent / "deep/b.png") == "s3://bucket/photos/deep/b.png"
    assert address.relative_to(address.parent.parent) == PurePosixPath("photos/a.tar.gz")
    assert str(address.parent.parent.parent) == "s3://bucket"
    with pytest.raises(ValueError, match="not below"):
        address.relative_to(Address("s3", "other"))


def test_names_in_web_addresses_cannot_leave_the_folder() -> None:
    for text in ("http://h/x/..%2F..%2Fa.png", r"http://h/..%5Ca.png"):
        assert place_of(text).name == "a.png"
