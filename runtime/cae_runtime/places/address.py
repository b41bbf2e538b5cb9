"""Addresses of files, such as `s3://bucket/photos/a.jpg`: their parts, and how they are shown without passwords."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from cae_runtime.errors import UsageError
from cae_shared.text import HIDDEN, masked, masked_values

PROTOCOLS: Final = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "http": "http", "https": "https", "memory": "memory",
}  # fmt: skip
"""Scheme of an address -> protocol."""
WEB: Final = frozenset({"http", "https"})  # read only

_BEGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a Windows drive has one letter
_ONE_SLASH: Final = re.compile(rf"({'|'.join(PROTOCOLS)}):/?(?!/)", re.IGNORECASE)
_ACCESS_POINT: Final = re.compile(r"(arn:aws[^/]*:s3:[a-z0-9-]*:\d{12}:accesspoint[:/][^/]+)/?(.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?:[^\s:@\[\]]+|\[[0-9a-fA-F:.]+\])(?::\d*)?")
_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Address:
    """A file or folder in a store, with the properties and methods of a `Path`. `str` never shows passwords.

    Attributes:
        protocol: `s3`, `gs`, `az`, `http`, `https` or `memory`.
        root: the bucket or container; for the web, host and port; for memory, empty.
        key: the name inside the root, such as `photos/a.jpg`; empty for the root itself.
        secret: the part before an `@`: `KEY:SECRET` for S3, `USER:PASSWORD` for the web.
        query: for the web, the part after a `?`; it may hold a signature.
        size: bytes of the file according to the store's listing; None if it was not listed.
    """

    protocol: str
    root: str
    key: str = ""
    secret: str = field(default="", repr=False, compare=False)
    query: str = field(default="", repr=False)
    size: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        user = f"{HIDDEN}@" if self.secret else ""
        query = masked_values(f"?{self.query}") if "=" in self.query.rstrip("=") else f"?{HIDDEN}"
        return f"{self.protocol}://{user}{self._path}{query if self.query else ''}"

    @property
    def _path(self) -> str:
        return "/".join(filter(None, (self.root, self.key)))

    @property
    def in_store(self) -> str:
        """The name that fsspec's file system expects; for the web, the whole address including passwords."""
        if self.protocol not in WEB:
            return self._path
        user = f"{self.secret}@" if self.secret else ""
        return f"{self.protocol}://{user}{self.root}/{self.key}{f'?{self.query}' if self.query else ''}"

    @property
    def identity(self) -> str:
        """A text that is equal for all spellings of one address, including the web address of an S3 object."""
        if self.protocol not in WEB:
            return f"{self.protocol}:{self._path}"
        key, host = _normal(unquote(self.key)), self.root.lower().removesuffix(_PORTS[self.protocol])
        return _bucket_of(self.protocol, host, key) or f"web:{host}/{key}?{self.query}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names between the slashes of the key."""
        return tuple(self.key.split("/")) if self.key else ()

    @property
    def name(self) -> str:
        """The last part of the key; for the web, with percent escapes decoded."""
        last = self.key.rpartition("/")[2]
        return unquote(last).replace("\\", "/").rpartition("/")[2] if self.protocol in WEB else last

    @property
    def suffix(self) -> str:
        """The file extension with its dot, such as `.jpg`."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> Address:
        """The parent folder; the root is its own parent."""
        return self.in_root(self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Address:
        """Return the address of a file with another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Address:
        """Return the address with another suffix."""
        return self.with_name(self.stem + suffix)

    def __truediv__(self, below: str | PurePath) -> Address:
        parts = below.parts if isinstance(below, PurePath) else (below,)
        return self.in_root("/".join([*self.parts, *parts]))

    def relative_to(self, folder: Address) -> PurePosixPath:
        """Return the path from a folder to this file.

        Raises:
            ValueError: the file is not below the folder.
        """
        count = len(folder.parts)
        if (self.protocol, self.root) != (folder.protocol, folder.root) or self.parts[:count] != folder.parts:
            raise ValueError(f"{str(self)!r} is not below {str(folder)!r}")
        return PurePosixPath(*self.parts[count:])

    def is_below(self, folder: Address) -> bool:
        """Return whether this is the given folder, or is inside it."""
        return f"{self.identity}/".startswith(f"{folder.identity}/")

    def in_root(self, key: str) -> Address:
        """Return another file or folder in the same bucket, by its key."""
        return replace(self, key=key, query="", size=None)


Place = Path | Address


def is_address(text: str) -> bool:
    """Return whether a text begins like an address, such as `s3://`; a Windows drive does not."""
    return _BEGIN.match(text) is not None


def place_of(text: str, name: str = "address") -> Place:
    """Parse a text as a path or an address.

    Args:
        text: a path, an address, or a path that begins with `file://`.
        name: what error messages call it, such as `source` or `output`.

    Raises:
        UsageError: the address has an unsupported protocol, or no bucket or host.
    """
    begin = _BEGIN.match(text)
    if begin is None:
        if _ONE_SLASH.match(text) and not os.path.lexists(text):
            raise UsageError(
                f"{name} {masked(text)!r}: an address begins with two slashes, as in s3://bucket/photo.jpg"
            )
        return Path(text)
    scheme, rest = begin[1].lower(), text[begin.end() :]
    if scheme == "file":
        return Path(rest)
    shown = repr(masked(text))
    if scheme not in PROTOCOLS:
        raise UsageError(f"{name} {shown}: {scheme!r} addresses are not supported; use one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[scheme]
    if protocol == "memory":
        return Address(protocol, "", _normal(rest))
    address = _web(protocol, rest) if protocol in WEB else _in_bucket(protocol, rest, name)
    if not address.root:
        what = "host" if protocol in WEB else "container" if protocol == "az" else "bucket"
        raise UsageError(f"{name} {shown} names no {what}")
    if protocol in WEB and not _HOST.fullmatch(address.root):
        raise UsageError(
            f"{name} '{protocol}://{HIDDEN}' has no valid host and port; in a password, write %2F %3F %23 in place of "
            "/ ? #"
        )
    if protocol in WEB and not address.name:
        raise UsageError(f"{name} {shown} names no file; folders on web servers are not supported")
    return address


def s3_endpoint() -> str:
    """Return the endpoint URL of the S3 store from the environment; empty for Amazon S3."""
    names = ("FSSPEC_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next(filter(None, map(os.environ.get, names)), "")


def local_path(place: Place, name: str) -> Path:
    """Return a place as a path, for features that do not support stores.

    Args:
        place: the path or address.
        name: what error messages call it, such as `source` or `output`.

    Raises:
        UsageError: the place is an address.
    """
    if isinstance(place, Address):
        raise UsageError(
            f"{name} {str(place)!r} is an address: this works only with files and folders on this computer"
        )
    return place


def _web(protocol: str, rest: str) -> Address:
    rest, _, query = rest.partition("#")[0].partition("?")
    host, _, key = rest.partition("/")
    secret, _, host = host.rpartition("@")
    return Address(protocol, host.lower(), key, "" if secret == HIDDEN else secret, query)


def _in_bucket(protocol: str, rest: str, name: str) -> Address:
    """Return the address of a file in a bucket.

    Raises:
        UsageError: it has a password in a place where none is supported, or an invalid bucket name.
    """
    if protocol == "s3" and (point := _ACCESS_POINT.match(rest)):
        return Address(protocol, point[1], _normal(point[2]))
    secret = ""
    if set(rest.partition("/")[0]) & {":", "@"}:
        secret, found, rest = rest.partition("@")  # a secret of S3 may have slashes, but no @
        secret = "" if secret == HIDDEN else secret  # from a report
        if (secret or not found) and (not found or protocol != "s3" or not all(secret.partition(":"))):
            how = "KEY:SECRET@ before the bucket" if protocol == "s3" else "none; the environment has them"
            raise UsageError(f"{name} '{protocol}://{HIDDEN}': credentials in addresses of {protocol} are {how}")
    bucket, _, key = rest.partition("/")
    return Address(protocol, bucket, _normal(key), secret)


def _normal(key: str) -> str:
    """Return a key without empty names, `.` and `..`."""
    names: list[str] = []
    for name in key.split("/"):
        if name == "..":
            names = names[:-1]
        elif name not in ("", "."):
            names.append(name)
    return "/".join(names)


def _bucket_of(protocol: str, host: str, key: str) -> str:
    """Return the identity of the object in a known store to which a web address leads; empty for other addresses."""
    endpoint = urlsplit(s3_endpoint())
    own = endpoint.netloc.rpartition("@")[2].lower().removesuffix(_PORTS.get(endpoint.scheme, ":"))
    if own and endpoint.scheme == protocol:
        if host == own:
            return f"s3:{key}"
        if host.endswith(f".{own}"):
            return f"s3:{host.removesuffix(f'.{own}')}/{key}"
    if found := re.fullmatch(r"(?:(.+)\.)?s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com", host):
        return f"s3:{found[1]}/{key}" if found[1] else f"s3:{key}"
    if found := re.fullmatch(r"(?:(.+)\.)?storage\.googleapis\.com", host):
        return f"gs:{found[1]}/{key}" if found[1] else f"gs:{key}"
    if re.fullmatch(r".+\.blob\.core\.windows\.net", host):
        return f"az:{key}"
    return ""
