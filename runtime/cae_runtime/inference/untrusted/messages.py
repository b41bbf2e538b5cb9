"""Makes one plain line of a message of onnxruntime, without the names of its source files and functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_READ_MAX: Final = 2**13  # characters that are looked at; a file may have names of any length
_CODE: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE: Final = re.compile(r"\S*\.(?:cc|cpp|h|hpp|cu|cuh):\d+ ")
_AFTER_SIGNATURE: Final = re.compile(r"(?: const)?(?: \[with [^\]]*\])? ")
_CHECK: Final = re.compile(r".{1,400}? was false\. ")
_NODE: Final = re.compile(r"""In Node, \("[^"]*", (\w+), """)
_AT_NODE: Final = " , Error "
_RUNNING: Final = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'.*?' Status Message: ")
_INFERRED: Final = re.compile(r"Node \(.*?\) Op \((\w+)\) \[\w+\] ")
_LEADING: Final = re.compile(
    r"^(?:(?:Failed to load model with error|Fatal error|Type Error|Error): |(?:This is an invalid|Invalid) model\. )+"
)


def _number(text: str) -> str:
    return f"{int(text):,}" if len(text) < 30 else text


Sentence = Callable[[re.Match[str]], str]
_MEANINGS: Final[tuple[tuple[str, Sentence], ...]] = (
    (
        r".*Available memory of (\d+) is smaller than requested bytes of (\d+).*",
        lambda m: f"it asks for {_number(m[2])} bytes of memory at once, and {_number(m[1])} are left for models",
    ),
    (
        r".*Failed to allocate memory for requested buffer of size (\d+).*",
        lambda m: f"it asks for {_number(m[1])} bytes of memory at once, which are not there",
    ),
    (r".*(?:storage size overflowed|Integer overflow).*", lambda _: "it asks for more memory than any machine has"),
    (r"(?:std::)?bad[_ ]alloc(?:ation)?", lambda _: "there is not enough memory"),
    (
        r".*Unsupported model IR version: (\d+), max supported IR version: (\d+).*",
        lambda m: f"its file format, IR version {m[1]}, is not read; IR versions up to {m[2]} are",
    ),
    (r".*Missing model IR version.*", lambda _: "it does not say its IR version, the version of its file format"),
    (
        r".*Opset (\d+) is under development .* till opset (\d+).*",
        lambda m: f"its opset {m[1]} is not known; opsets up to {m[2]} are",
    ),
    (r".*Opset (\d+) is under development .*", lambda m: f"its opset {m[1]} is newer than those that are known"),
    (
        r".*No Op registered for (\S+) with domain_version of (-?\d+).*",
        lambda m: f"there is no operator {m[1]} in opset {m[2]}",
    ),
    (r"(\S+)\(-?\d+\) is not a registered function/op.*", lambda m: f"there is no operator {m[1]}"),
    (
        r".*No opset import for domain '(.*)'.*",
        lambda m: f"it uses operators of {m[1]!r} and does not say which opset",
    ),
    (
        r"(.*)Node with schema\(.*?\) has (input|output) size (\d+) not in range \[min=(\d+), max=(\d+)\].*",
        lambda m: f"{m[1]}it has {m[3]} {m[2]}s, {m[4]} to {m[5]} are possible",
    ),
)
_PATTERNS: Final = tuple((re.compile(pattern, re.DOTALL), sentence) for pattern, sentence in _MEANINGS)


def readable(text: str) -> str:
    """Return the part of a message that tells what is wrong, as one line; a known cause in plain words."""
    line = _CODE.sub("", " ".join(text[:_READ_MAX].split()))
    operator = ""
    for pattern in (_RUNNING, _INFERRED):
        if found := pattern.search(line):
            operator, line = f"operator {found[1]}: ", line[found.end() :]
    line = _without_places(line)
    if (found := _NODE.search(line)) and _AT_NODE in line:
        operator, line = f"operator {found[1]}: ", line.rpartition(_AT_NODE)[2]
    line = _LEADING.sub("", line, count=1)
    for known, sentence in _PATTERNS:
        if meant := known.fullmatch(line):
            return operator + sentence(meant)
    return operator + line.rstrip(" .")


def _without_places(line: str) -> str:
    """Remove the places in onnxruntime's source: file, line, signature of the function, and the check that failed."""
    place = _PLACE.match(line)
    while place is not None:
        line = line[place.end() :]
        end = _end_of_signature(line)
        if after := _AFTER_SIGNATURE.match(line, end):
            end = after.end()
        line = _CHECK.sub("", line[end:].lstrip(), count=1)
        place = _PLACE.match(line)
    return line


def _end_of_signature(line: str) -> int:
    """Return where the parameters of a C++ function end; 0 if there are none."""
    at = line.find("(")
    depth = 0
    while 0 <= at < len(line):
        depth += {"(": 1, ")": -1}.get(line[at], 0)
        at += 1
        if not depth and line[at : at + 1] != "(":
            return at
    return 0
