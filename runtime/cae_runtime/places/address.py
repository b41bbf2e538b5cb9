"""Addresses of files, such as `s3://bucket/photos/a.jpg`: their parts and names, and what is shown of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from cae_runtime.errors import UsageError

PROTOCOLS: Final = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "http": "http", "https": "https", "memory": "memory",
}  # fmt: skip
"""What an address may begin with -> the protocol."""
WEB: Final = frozenset({"http", "https"})  # read only
HIDDEN: Final = "***"  # what is shown in place of a password

_BEGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a Windows drive has one letter
_ONE_SLASH: Final = re.compile(rf"({'|'.join(PROTOCOLS)}):/?(?!/)", re.IGNORECASE)
_USER: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^\s'\"]*@")  # up to the last: a password may have others
_VALUE: Final = re.compile(r"([?&][^=&\s'\"]*=)[^&\s'\"]+")
_BARE_QUERY: Final = re.compile(r"((?:https?|rtsps?|rtmp)://[^\s'\"?]*\?)[^\s'\"=]+(?![^\s'\"])", re.IGNORECASE)
_ACCESS_POINT: Final = re.compile(r"(arn:aws[^/]*:s3:[a-z0-9-]*:\d{12}:accesspoint[:/][^/]+)/?(.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?:[^\s:@\[\]]+|\[[0-9a-fA-F:.]+\])(?::\d*)?")
_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Address:
    """A file or folder in a store, with the names that a `Path` has. `str` never shows passwords.

    Attributes:
        protocol: `s3`, `gs`, `az`, `http`, `https` or `memory`.
        root: the bucket or container; of the web, host and port; of memory, nothing.
        key: the name inside it, such as `photos/a.jpg`; empty for the root itself.
        secret: what stands before an `@`: `KEY:SECRET` of S3, `USER:PASSWORD` of the web.
        query: of the web, what follows a `?`; it may hold a signature.
        size: bytes of the file as the store's listing has it, where there was one.
    """

    protocol: str
    root: str
    key: str = ""
    secret: str = field(default="", repr=False, compare=False)
    query: str = field(default="", repr=False)
    size: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        user = f"{HIDDEN}@" if self.secret else ""
        query = _VALUE.sub(rf"\1{HIDDEN}", f"?{self.query}") if "=" in self.query else f"?{HIDDEN}"
        return f"{self.protocol}://{user}{self._path}{query if self.query else ''}"

    @property
    def _path(self) -> str:
        return "/".join(filter(None, (self.root, self.key)))

    @property
    def in_store(self) -> str:
        """What the store's file system is asked for; of the web, the whole address with its passwords."""
        if self.protocol not in WEB:
            return self._path
        user = f"{self.secret}@" if self.secret else ""
        return f"{self.protocol}://{user}{self.root}/{self.key}{f'?{self.query}' if self.query else ''}"

    @property
    def identity(self) -> str:
        """The same text for all spellings of an address; an S3 object's web address is one of them."""
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
        """The last name of the key, of the web without its percent signs."""
        last = self.key.rpartition("/")[2]
        return unquote(last).replace("\\", "/").rpartition("/")[2] if self.protocol in WEB else last

    @property
    def suffix(self) -> str:
        """The end of the name, such as `.jpg`."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> Address:
        """The folder above; of the root, itself."""
        return self.in_root(self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Address:
        """Return the file of another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Address:
        """Return the file of the same name with another suffix."""
        return self.with_name(self.stem + suffix)

    def __truediv__(self, below: str | PurePath) -> Address:
        parts = below.parts if isinstance(below, PurePath) else (below,)
        return self.in_root("/".join([*self.parts, *parts]))

    def relative_to(self, folder: Address) -> PurePosixPath:
        """Return the names below a folder.

        Raises:
            ValueError: it lies elsewhere.
        """
        count = len(folder.parts)
        if (self.protocol, self.root) != (folder.protocol, folder.root) or self.parts[:count] != folder.parts:
            raise ValueError(f"{str(self)!r} is not below {str(folder)!r}")
        return PurePosixPath(*self.parts[count:])

    def is_below(self, folder: Address) -> bool:
        """Return whether it is a folder, or lies below it."""
        return f"{self.identity}/".startswith(f"{folder.identity}/")

    def in_root(self, key: str) -> Address:
        """Return another file or folder in the same bucket, by its key."""
        return replace(self, key=key, query="", size=None)


Place = Path | Address


def is_address(text: str) -> bool:
    """Return whether a text begins like an address, such as `s3://`; a Windows drive does not."""
    return _BEGIN.match(text) is not None


def masked(text: str) -> str:
    """Return a text in which passwords and signatures of addresses are hidden."""
    text = _BARE_QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
    return _VALUE.sub(rf"\1{HIDDEN}", text)


def place_of(text: str, name: str = "address") -> Place:
    """Return the path or the address that a text is.

    Args:
        text: a path, an address, or a path that begins with `file://`.
        name: how the error calls it, `source` or `output`.

    Raises:
        UsageError: it is an address of another protocol, or names no bucket or host.
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
        raise UsageError(f"{name} {shown}: addresses of {scheme!r} are not taken, but those of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[scheme]
    if protocol == "memory":
        return Address(protocol, "", _normal(rest))
    address = _web(protocol, rest) if protocol in WEB else _in_bucket(protocol, rest, name)
    if not address.root:
        what = "host" if protocol in WEB else "container" if protocol == "az" else "bucket"
        raise UsageError(f"{name} {shown} names no {what}")
    if protocol in WEB and not _HOST.fullmatch(address.root):
        raise UsageError(
            f"{name} '{protocol}://{HIDDEN}': this is no host and port; the signs / ? # in a password are written "
            "%2F %3F %23"
        )
    if protocol in WEB and not address.name:
        raise UsageError(f"{name} {shown} names no file, and the web has no folders")
    return address


def s3_endpoint() -> str:
    """Return the address of the S3 store that the environment names; empty for Amazon's."""
    names = ("FSSPEC_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next(filter(None, map(os.environ.get, names)), "")


def local_path(place: Place, name: str) -> Path:
    """Return a place as a path, for work that stores cannot do.

    Args:
        place: the path or address.
        name: how the error calls it, `source` or `output`.

    Raises:
        UsageError: it is an address.
    """
    if isinstance(place, Address):
        raise UsageError(
            f"{name} {str(place)!r} is an address: this works with files and folders of this computer only"
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
        UsageError: it has a password that is not taken, or a bucket of a name that none has.
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
    """Return the identity of the object that a web address names in a known store; empty for other addresses."""
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
