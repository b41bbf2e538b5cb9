"""Passwords, tokens and signatures of addresses, which no message shows."""

import re
from typing import Final

HIDDEN: Final = "***"  # what is shown in their place

# Up to the last @, since a password may contain others, and quotes. One slash: a path that was made of an address.
_USER: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2})\S*@")
_VALUE: Final = re.compile(r"([?&][^=&\s'\"]*=)[^&\s'\"]+")
_BARE_QUERY: Final = re.compile(r"((?:https?|rtsps?|rtmp)://[^\s'\"?]*\?)[^\s'\"=]+(?![^\s'\"])", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with the passwords and signatures of its addresses replaced by `***`."""
    return masked_values(_BARE_QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text)))


def masked_values(text: str) -> str:
    """Return a text with the values of queries, such as `?token=...`, replaced by `***`."""
    return _VALUE.sub(rf"\1{HIDDEN}", text)
