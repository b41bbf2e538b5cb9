"""Names of the tags of a TIFF's first directory, and which of them EXIF blocks have too."""

from __future__ import annotations

from typing import Final

from cae_runtime.io.headers.tiff_directory import DAMAGED, ORIENTATION
from cae_runtime.io.metadata import tiff_tags, xmp
from cae_runtime.io.metadata.record import GEO

DENSITY: Final = (282, 283, 296)
PALETTE_COLORS: Final = 3  # a photometric interpretation
# Tags about how the pixels are stored: the writer sets them.
STORAGE: Final = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 284, 288, 289, 290, 291, 292, 293, 317,
     320, 322, 323, 324, 325, 330, 338, 339, 347, *range(512, 522), 529, 530, 531, 532,
     332, 333, 334, 336}  # the last four: inks
)  # fmt: skip
# Tags that are wrong for other pixels, show the original ones, or contain offsets in the old file.
UNTRUE: Final = {
    280: "smallest value", 281: "largest value", 301: "transfer function", 340: "smallest value", 341: "largest value",
    tiff_tags.PHOTOSHOP: "Photoshop resources", 37724: "Photoshop layers", 34412: "LSM tags", 33628: "MetaMorph tags",
    33629: "MetaMorph tags", 33630: "MetaMorph tags", 33631: "MetaMorph tags", 52545: xmp.C2PA,
}  # fmt: skip
# Tags that the first directory of an EXIF block may have in any file.
OF_EXIF: Final = {
    tiff_tags.DESCRIPTION: "description", 271: "camera make", 272: "camera model", ORIENTATION: "",
    305: "software", 306: "date", 315: "artist", 316: "host computer", 318: "white point", 319: "chromaticities",
    18246: "rating", 18249: "rating", 33432: "copyright", 40091: "title", 40092: "comment", 40093: "author",
    40094: "keywords", 40095: "subject", **dict.fromkeys(DENSITY, "density"),
}  # fmt: skip
_OTHERS: Final = {
    269: "document name", 285: "page name", 297: "page number", 42112: "GDAL tags", 42113: "GDAL tags",
    50838: "ImageJ metadata", 50839: "ImageJ metadata", **dict.fromkeys(GEO, "GeoTIFF tags"),
}  # fmt: skip


def name_of(tag: int, value: tiff_tags.Value) -> str:
    """Return the name of a tag; empty if its loss is not worth reporting."""
    if tag == tiff_tags.DESCRIPTION and (program := program_of(value)):
        return program
    known = OF_EXIF | _OTHERS | UNTRUE
    return known.get(tag, f"TIFF tag {tag}")


def program_of(description: tiff_tags.Value) -> str:
    """Return which program's data a description contains, if it is not for people: `ImageJ tags`, `OME-XML`."""
    if description.data.startswith(b"ImageJ="):
        return "ImageJ tags"
    return "OME-XML" if b"<OME" in description.data[:1000] else ""


def names_of_exif(block: bytes) -> frozenset[str]:
    """Return the names of the tags in the first directory of an EXIF block."""
    try:
        directory = tiff_tags.read(block)
    except DAMAGED:
        return frozenset()
    return frozenset(name_of(tag, value) for tag, value in directory.values.items() if tag in OF_EXIF) - {""}
