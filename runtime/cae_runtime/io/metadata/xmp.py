"""Removes from an XMP packet statements about things that are no longer in the file.

The XMP of a phone's photograph says that a video or a gain map follows; a viewer that looks for them finds nothing, or
takes the file for damaged. The packet is cut, not rewritten: in UTF-8, all remaining bytes stay the same. A UTF-16
packet that must change is written in UTF-8, without an encoding declaration.
"""

from __future__ import annotations

import re
from typing import Final
from xml.parsers import expat

from cae_runtime.io.headers import header

PACKET: Final = "xmp"
VIDEO: Final = "video of a motion photo"
GAIN_MAP: Final = "gain map (HDR)"
DEPTH_MAP: Final = "depth map"
FURTHER_PICTURES: Final = header.FURTHER_PICTURES
C2PA: Final = "C2PA content credentials"
EXTENDED: Final = "extended XMP"
THUMBNAIL: Final = "XMP thumbnail"

# Start of a namespace, pattern of the names in it -> what they are about.
_CLAIMS: Final = [
    ("", r"(MotionPhoto|MicroVideo|OLivePhoto|VideoLength)", VIDEO),
    ("http://ns.google.com/photos/1.0/container/", "", FURTHER_PICTURES),
    ("http://ns.adobe.com/hdr-gain-map/", "", GAIN_MAP),
    ("http://ns.apple.com/HDRGainMap/", "", GAIN_MAP),
    ("http://ns.google.com/photos/1.0/depthmap/", "", DEPTH_MAP),
    ("http://ns.google.com/photos/dd/", "", DEPTH_MAP),
    ("http://ns.google.com/photos/1.0/image/", "", FURTHER_PICTURES),
    ("http://ns.google.com/photos/1.0/audio/", "", "sound"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP", EXTENDED),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails", THUMBNAIL),
    ("http://purl.org/dc/terms/", "provenance", C2PA),
]
_CLAIMS_PATTERN: Final = [(address, re.compile(names), what) for address, names, what in _CLAIMS]
# Both run in linear time: no white space and no quoted text is scanned twice.
_ATTRIBUTE: Final = re.compile(rb"(?<!\s)\s+([^\s=<>\"']+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_TAG: Final = re.compile(rb"<[^\s/>\"']+[^>\"']*(?:(?:\"[^\"]*\"|'[^']*')[^>\"']*)*>")
_TURNED: Final = re.compile(r"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[2-8]")
_CUT_BYTES_MAX: Final = 2**20  # bytes of the largest packet that is searched
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_DECLARATION: Final = re.compile(r"\A\ufeff?<\?xml\s[^>]*>\s*")
_SUSPECT: Final = re.compile("|".join(re.escape(address) for address, _, _ in _CLAIMS if address) + "|" + _CLAIMS[0][1])


def without_claims(packet: bytes) -> tuple[bytes, set[str]]:
    """Cut statements about a video, a gain map and other parts of the original file out of a packet.

    Args:
        packet: XMP.

    Returns:
        The packet and the names of what was cut, such as `VIDEO`. A packet that may contain such statements but is not
        XML, or is longer than 1 MiB, comes back empty, and the names include `PACKET`.
    """
    text = _decoded(packet)
    if not _SUSPECT.search(text):
        return packet, set()
    data = text.encode()
    cutter = _Cutter(data)
    try:
        if len(data) > _CUT_BYTES_MAX:
            raise _NoXmp
        cutter.run()
    except (expat.ExpatError, _NoXmp):
        claims = {
            what for address, names, what in _CLAIMS if (re.search(names, text) if not address else address in text)
        }
        return b"", {PACKET, *claims}
    return cutter.result(), cutter.found


def upright(packet: bytes) -> bytes:
    """Return a packet that says that its picture is upright."""
    turned, count = _TURNED.subn(r"\g<1>1", _decoded(packet))
    return turned.encode() if count else packet


class _NoXmp(Exception):  # noqa: N818 - it never leaves this file
    """A packet defines entities, or is otherwise not XMP that can be cut."""


class _Cutter:
    """Finds the bytes to cut while the packet is parsed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.found: set[str] = set()
        self._cuts: list[tuple[int, int]] = []
        self._within = 0  # nesting depth inside an element that is cut
        self._start = 0
        self._addresses: dict[str, list[str]] = {"xml": [_XML]}  # by prefix: its meanings, the last one is current
        self._parser = expat.ParserCreate("utf-8", " ")
        self._parser.StartElementHandler = self._open
        self._parser.EndElementHandler = self._close
        self._parser.StartNamespaceDeclHandler = self._declare
        self._parser.EndNamespaceDeclHandler = self._forget
        self._parser.StartDoctypeDeclHandler = self._refuse

    def run(self) -> None:
        self._parser.Parse(self._data.rstrip(b"\0"), True)

    def result(self) -> bytes:
        starts, stops = zip(*sorted(self._cuts), strict=True) if self._cuts else ((), ())
        return b"".join(self._data[start:stop] for start, stop in zip((0, *stops), (*starts, None), strict=True))

    def _refuse(self, *_: object) -> None:
        raise _NoXmp

    def _declare(self, prefix: str | None, address: str) -> None:
        self._addresses.setdefault(prefix or "", []).append(address)

    def _forget(self, prefix: str | None) -> None:
        self._addresses[prefix or ""].pop()

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        if self._within:
            self._within += 1
            return
        at = self._parser.CurrentByteIndex
        if what := _claim(name):
            self.found.add(what)
            self._within, self._start = 1, at
            return
        claims = {attribute: what for attribute in attributes if (what := _claim(attribute))}
        tag = _TAG.match(self._data, at) if claims else None
        for each in _ATTRIBUTE.finditer(tag[0]) if tag else ():
            prefix, _, local = each[1].decode().rpartition(":")
            address = self._addresses[prefix][-1] + " " if prefix and self._addresses.get(prefix) else ""
            if what := claims.pop(address + local, ""):
                self.found.add(what)
                self._cuts.append((at + each.start(), at + each.end()))
        if claims:  # they exist but were not found in the text
            raise _NoXmp

    def _close(self, _name: str) -> None:
        if self._within:
            self._within -= 1
            if not self._within:
                end = self._parser.CurrentByteIndex
                tag = _TAG.match(self._data, end)  # of an empty element the only tag
                self._cuts.append((self._start, tag.end() if tag else self._data.index(b">", end) + 1))


def _claim(name: str) -> str:
    """What a name, `namespace local`, is about; empty if it may stay."""
    address, _, local = name.rpartition(" ")
    return next((what for at, names, what in _CLAIMS_PATTERN if address.startswith(at) and names.match(local)), "")


def _decoded(packet: bytes) -> str:
    """Return the text of a packet, without the encoding declaration if it is UTF-16."""
    for mark, encoding in (
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if packet.startswith(mark):
            return _DECLARATION.sub("", packet.decode(encoding, "replace"), count=1)
    return packet.decode("utf-8", "replace")
