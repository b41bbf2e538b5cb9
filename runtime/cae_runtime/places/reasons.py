"""Turns the errors of stores into reasons for messages, and says whether a retry makes sense."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cae_runtime.places.address import WEB, Address
from cae_shared.text import masked

_NO_KEYS: Final = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "SSOTokenLoadError", "UnauthorizedSSOTokenError", "DefaultCredentialsError", "CredentialUnavailableError",
})  # fmt: skip
_NO_ACCOUNT: Final = "Must provide either a connection_string"  # of adlfs
_WRONG_KEYS: Final = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "AuthenticationFailed",
})  # fmt: skip
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
_LATER: Final = frozenset({
    "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "ServiceUnavailable",
    "ServerBusy", "OperationAborted",
})  # fmt: skip
_BAD_NAME: Final = frozenset({"ParamValidationError", "InvalidBucketName", "InvalidURL", "InvalidUrlClientError"})
_CERTIFICATE: Final = frozenset({"SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError"})
_TIMEOUTS: Final = frozenset({
    "TimeoutError", "FSTimeoutError", "ReadTimeoutError", "ConnectTimeoutError", "ServerTimeoutError",
    "ConnectionTimeoutError", "SocketTimeoutError", "ServiceResponseTimeoutError",
})  # fmt: skip
_CONNECTIONS: Final = frozenset({
    "EndpointConnectionError", "ConnectionClosedError", "ConnectionError", "HTTPClientError", "ProxyConnectionError",
    "ClientConnectorError", "ClientConnectionError", "ClientConnectorDNSError", "ClientOSError", "ClientPayloadError",
    "ServerDisconnectedError", "ConnectionResetError", "ConnectionRefusedError", "ConnectionAbortedError",
    "BrokenPipeError", "IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "ResponseParserError",
    "ServiceRequestError", "ServiceResponseError", "TransportError", "RemoteDisconnected", "ContentLengthError",
})  # fmt: skip
_HOW: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or FSSPEC_S3_ANON=true for public buckets",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for public buckets",
    "az": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_SERVER, _TOO_MANY, _TIME_OUT, _TOO_EARLY, _MISSING, _GONE = 500, 429, 408, 425, 404, 410
_REFUSED: Final = frozenset({401, 403})
_NOT_DONE: Final = 501
_WORDS_MAX: Final = 200


class StoreError(OSError):
    """A request to a store failed; `strerror` is the reason, written to follow a colon."""

    def __init__(self, reason: str, number: int = errno.EIO) -> None:
        super().__init__(number, reason)


@dataclass(frozen=True)
class Reason:
    """Why a request failed.

    Attributes:
        text: the reason for the user, without passwords.
        passing: whether a retry may succeed.
        number: an `errno`: ENOENT if there is no such file, ENXIO if no such bucket, EACCES if access is denied.
        wait: seconds after which the store allows a retry; 0 if it does not say.
    """

    text: str
    passing: bool = False
    number: int = errno.EIO
    wait: float = 0


def reason_of(error: BaseException, address: Address) -> Reason:
    """Return why a call of a store's file system failed.

    Args:
        error: the exception. Each store has its own classes, which are recognized by name and number.
        address: the file or folder of the call.
    """
    chain = list(_causes(error))
    names = {name for each in chain for name in _names(each)}
    code, said, status = _answer(chain)
    if names & _NO_KEYS or any(_NO_ACCOUNT in str(each) for each in chain):
        return Reason(f"no credentials were found: {_HOW.get(address.protocol, 'the environment has none')}")
    if code in _WRONG_KEYS:
        return Reason(f"the store refuses the credentials ({_words(code, said)})", number=errno.EACCES)
    if code in _NO_BUCKET:
        return Reason(_no_bucket(address), number=errno.ENXIO)
    if status in (_MISSING, _GONE) or (status is None and isinstance(error, FileNotFoundError) and len(chain) == 1):
        if address.key or address.protocol in (*WEB, "memory"):
            return Reason("it does not exist", number=errno.ENOENT)
        return Reason(_no_bucket(address), number=errno.ENXIO)
    if code in _LATER or status in (_TOO_MANY, _TIME_OUT, _TOO_EARLY) or (status or 0) >= _SERVER != _NOT_DONE:
        text = f"the {_kind(address)} answered {_words(str(status or ''), code, said)}"
        return Reason(text, passing=True, wait=_wait(chain))
    if status in _REFUSED or (status is None and isinstance(error, PermissionError)):
        return Reason(f"permission is denied ({_words(str(status or ''), code, said)})", number=errno.EACCES)
    if status is not None:
        return Reason(f"the {_kind(address)} answered {_words(str(status), code, said)}")
    return _without_answer(error, chain, names, address)


def _without_answer(error: BaseException, chain: list[BaseException], names: set[str], address: Address) -> Reason:
    """Return why there was no answer from a store."""
    if names & _BAD_NAME:
        return Reason("the store does not allow this name")
    if names & _CERTIFICATE:
        return Reason("the certificate of the server is not trusted")
    if names & _TIMEOUTS:
        return Reason(f"the {_kind(address)} did not answer in time", passing=True)
    if names & _CONNECTIONS:
        cause = next((each for each in reversed(chain) if getattr(each, "strerror", None)), chain[-1])
        words = getattr(cause, "strerror", None) or _text(cause)
        return Reason(
            f"the connection failed ({_words(re.sub(r'Connect call failed .*', 'refused', words))})", passing=True
        )
    if isinstance(error, FileNotFoundError):
        return Reason("it does not exist", number=errno.ENOENT)
    return Reason(_words(getattr(error, "strerror", None) or _text(error) or type(error).__name__))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _names(error: BaseException) -> Iterator[str]:
    return (kind.__name__ for kind in type(error).__mro__ if kind not in (object, BaseException, Exception, OSError))


def _answer(chain: list[BaseException]) -> tuple[str, str, int | None]:
    """Return the code and message of a store's answer, and its HTTP status; None if there was no answer."""
    for error in chain:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:  # of botocore
            found = response["Error"]
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = str(found.get("Code", ""))
            return ("" if code.isdigit() else code), str(found.get("Message", "")), status or _number(code)
        for name in ("status", "status_code", "code"):  # of aiohttp, Azure and gcsfs
            if (status := _number(getattr(error, name, None))) is not None:
                words = getattr(error, "message", None) or getattr(error, "reason", None) or ""
                return str(getattr(error, "error_code", None) or ""), str(words), status
    return "", "", None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and re.fullmatch(r"[1-5]\d\d", str(value)) else None


def _wait(chain: list[BaseException]) -> float:
    """Return the seconds of the answer's `Retry-After`."""
    for error in chain:
        response: Any = getattr(error, "response", None)
        of_botocore = response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, dict) else None
        headers = of_botocore or getattr(error, "headers", None) or {}
        value = str(headers.get("Retry-After") or headers.get("retry-after") or "")
        if value.isdigit():
            return float(value)
    return 0


def _kind(address: Address) -> str:
    return "server" if address.protocol in WEB else "store"


def _no_bucket(address: Address) -> str:
    return f"there is no {'container' if address.protocol == 'az' else 'bucket'} {address.root!r}"


def _text(error: BaseException) -> str:
    return str(error.args[0]) if len(error.args) == 1 else str(error)


def _words(*words: str) -> str:
    """Return texts of a store as one line of limited length, without passwords."""
    line = masked(" ".join(" ".join(dict.fromkeys(filter(None, words))).split()))
    return line if len(line) <= _WORDS_MAX else f"{line[: _WORDS_MAX - 3]}..."
