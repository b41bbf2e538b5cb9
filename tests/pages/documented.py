"""The commands that the project's Markdown pages show, found by search, so that a page can move."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("cae-run", "cae-train", "cae-export")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)", re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4,}\S.*\n?)+", re.MULTILINE)
_SHELLS = ("sh", "shell", "bash", "console", "")


@dataclass(frozen=True)
class Shown:
    """One command of a page.

    Attributes:
        page: the page's path below the root.
        words: the command and its arguments, without redirections.
        block: whether it stands in a block of its own, so that a reader may paste it; else inside a sentence.
    """

    page: str
    words: tuple[str, ...]
    block: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """All Markdown pages that belong to the project."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def commands() -> list[Shown]:
    """All commands of ours and all runs of Python modules that the pages show, in order, each once a page."""
    found: dict[Shown, None] = {}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        for block, shell in _texts(text):
            found |= dict.fromkeys(Shown(name, words, block) for words in _commands(shell, block))
    return list(found)


def _texts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is a block, shell text) in order."""
    parts: list[tuple[int, bool, str]] = []
    rest = text
    for match in _FENCE.finditer(text):
        if match[1] in _SHELLS:
            parts.append((match.start(), True, match[2]))
        rest = rest[: match.start()] + re.sub(r"[^\n]", " ", match[0]).replace(" ", "\0") + rest[match.end() :]
    for match in _INDENTED.finditer(rest):
        parts.append((match.start(), True, match[0]))
    for match in _INLINE.finditer(rest):
        parts.append((match.start(), False, " ".join(match[1].split())))
    for _, block, shell in sorted(parts):
        yield block, shell


def _commands(shell: str, block: bool) -> Iterator[tuple[str, ...]]:
    for line in shell.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:  # an apostrophe: a sentence, not a command
            continue
        command: list[str] = []
        skip = False
        for word in [*words, ";"]:
            if skip:
                skip = False
            elif set(word) <= set("<>"):
                skip = True  # the file of a redirection
            elif set(word) <= set("&|;"):
                if _is_ours(command) and (block or len(command) > 1):
                    yield tuple(command)
                command = []
            else:
                command.append(word)


def _is_ours(words: list[str]) -> bool:
    if not words or "▶" in words[-2 % len(words)]:  # a diagram
        return False
    return words[0] in OURS or (
        words[:2] == ["python", "-m"] and len(words) > 2 and words[2][-1] != "." and words[2].startswith("tests.")
    )
