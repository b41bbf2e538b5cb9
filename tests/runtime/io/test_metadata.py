"""Metadata beside the pixels, as Pillow and tifffile read it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from tests.runtime.files import chunk, opened, saved, segment
from tests.runtime.tiffs import Tags, tiff

from cae_runtime.io import metadata
from cae_runtime.io.encoding import GRAY_LAYOUT, encode, is_lossy
from cae_runtime.io.image_files import decode
from cae_runtime.io.metadata import exif as exif_blocks
from cae_runtime.io.metadata import tiff_tags
from cae_runtime.io.metadata import xmp as xmp_packets
from cae_runtime.io.metadata.density import Density

Noise = Callable[..., np.ndarray]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>kept</note></x:xmpmeta>'
FORMATS = ["JPEG", "PNG", "WebP", "TIFF", "BMP"]
ORIENTATION, ARTIST, EXPOSURE, MAKER_NOTE, WIDTH, HEIGHT = 0x112, 0x13B, 0x829A, 0x927C, 0xA002, 0xA003
EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
NOTE = bytes(range(200)) * 3


def exif_of_camera(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION], block[ARTIST] = orientation, "A. Name"
    block.get_ifd(EXIF_IFD).update({EXPOSURE: 0.004, MAKER_NOTE: NOTE, WIDTH: 72, HEIGHT: 48})
    block.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 11.5)})
    return block


def with_all(image: Image.Image, format: str, orientation: int = 1) -> bytes:
    """Return a file with EXIF, XMP, a profile and 300 dots an inch; of BMP with the last two."""
    if format == "BMP":
        return metadata.write(saved(image, "BMP", dpi=(300, 300)), "BMP", metadata.Metadata(icc=ICC), native=True)
    options: dict[str, Any] = {"exif": exif_of_camera(orientation), "icc_profile": ICC, "dpi": (300, 300)}
    if format != "TIFF":  # whose offset Pillow writes wrong
        options["exif"].get_ifd(EXIF_IFD)[INTEROPERABILITY_IFD] = {1: "R98"}
    if format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif format == "TIFF":
        options["exif"][700] = XMP
        options["exif"] = options["exif"].tobytes()  # only so Pillow writes the directories in it
    else:
        options["xmp"] = XMP
    return saved(image, format, **options)


def xmp_of(image: Image.Image) -> bytes:
    value = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp", "")
    return value if isinstance(value, bytes) else value.encode()


@pytest.fixture
def photo() -> Image.Image:
    ramp = np.add.outer(np.arange(48), np.arange(72)) % 200
    return Image.fromarray(np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_exif_xmp_profile_and_density_are_kept_between_formats(photo: Image.Image, source: str, target: str) -> None:
    data = with_all(photo, source, orientation=6)
    has_exif, has_density = source != "BMP", source != "WebP"
    lost: set[str] = set()
    if target == "BMP" and has_exif:
        lost = {"exif", "xmp"} | ({"artist"} if source == "TIFF" else set())
    elif target == "WebP" and has_density and source != "TIFF":  # of a TIFF it goes into the EXIF block
        lost = {"density"}
    for _ in range(2):  # a second pass finds what the first one has written
        data, dropped = encode(decode(data), target)
        assert set(dropped) == lost
        lost = set()
        image = opened(data)
        if target == "BMP":
            assert decode(data).metadata.icc == ICC
        else:
            assert image.info["icc_profile"] == ICC
        if has_density and target != "WebP":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        if target != "BMP" and has_exif:
            assert xmp_of(image) == XMP
            block = image.getexif()
            assert (block[ORIENTATION], block[ARTIST]) == (1 if target == "TIFF" else 6, "A. Name")
            inner = block.get_ifd(EXIF_IFD)
            assert inner[EXPOSURE] == pytest.approx(0.004)
            assert inner[MAKER_NOTE] == NOTE
            assert [inner[WIDTH], inner[HEIGHT]] == ([48, 72] if target == "TIFF" else [72, 48])
            assert source == "TIFF" or block.get_ifd(INTEROPERABILITY_IFD)[1] == "R98"
            assert block.get_ifd(GPS_IFD)[2] == (48.0, 8.0, 11.5)
        assert ImageOps.exif_transpose(opened(data)).size == (photo.size[::-1] if has_exif else photo.size)
        if target == "TIFF":
            page = tifffile.TiffFile(io.BytesIO(data)).pages.first
            assert page.tags[34675].value == ICC
            assert not has_exif or page.tags[34665].value["MakerNote"] == NOTE
            assert not has_exif or page.tags[700].value == XMP
            np.testing.assert_array_equal(page.asarray()[..., ::-1], decode(data).pixels)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (30, 40, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_keeps_every_plain_tag(noise: Noise, shape: tuple[int, ...], dtype: type) -> None:
    pixels = noise(shape, dtype)
    plain = {
        269: "page 7", 270: "box 7", 305: "scanner", 306: "2020:01:02 03:04:05", 315: "A. Name", 33432: "(c)",
        42113: "-9999", 65000: "private",
    }  # fmt: skip
    extra: list[tuple[Any, ...]] = [(tag, 2, None, text, True) for tag, text in plain.items() if tag != 270]
    extra += [
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 0), True),
        (33723, 7, 5, b"\x1c\2\0\0\0", True),
    ]
    extra += [(65001, 16, 2, (5, 7), True)]
    for order in ("<", ">"):
        file = io.BytesIO()
        tifffile.imwrite(
            file, pixels[..., :3] if shape[-1] == 4 else pixels, byteorder=order, extratags=extra, iccprofile=ICC,
            resolution=(118, 118), resolutionunit="CENTIMETER", software=False, metadata={}, description=plain[270],
            bigtiff=order == ">",
        )  # fmt: skip
        data, dropped = encode(replace_pixels(decode(file.getvalue()), pixels), "TIFF")
        assert dropped == ()
        tags = tifffile.TiffFile(io.BytesIO(data)).pages.first.tags
        assert {tag: tags[tag].value for tag in plain} == plain
        assert tags[33550].value == (0.5, 0.5, 0.0)
        assert tags[65001].value == (5, 7)
        assert tags[34735].value == (1, 1, 0, 0)
        assert tags[33723].value == b"\x1c\2\0\0\0"
        assert tags[34675].value == ICC
        assert (tags[282].value, tags[296].value) == ((118, 1), 3)
        if shape[-1] == 4:
            assert tags[338].value == (2,)
            order_of_colors = [2, 1, 0, 3]
        else:
            order_of_colors = [2, 1, 0]
        image = tifffile.TiffFile(io.BytesIO(data)).asarray()
        np.testing.assert_array_equal(image, pixels[..., order_of_colors] if pixels.ndim == 3 else pixels)
        np.testing.assert_array_equal(decode(data).pixels, pixels)
        if dtype == np.uint8:  # Pillow gives 8 bits of 16-bit colors
            np.testing.assert_array_equal(np.asarray(opened(data)), image)


def replace_pixels(picture: Any, pixels: np.ndarray) -> Any:
    from dataclasses import replace

    return replace(picture, pixels=pixels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_scientific_tags_stay_in_tiff_and_are_reported_lost_elsewhere(noise: Noise, order: str) -> None:
    file = io.BytesIO()
    metadata = {
        "Info": "stage 3: 5 µm", "Labels": ["one", "two"], "Ranges": (0.5, 99.25), "Properties": {"a": "b"},
        "LUTs": [np.arange(768, dtype=np.uint8).reshape(3, 256)], "ROI": b"Iout\0\1", "Overlays": [b"Iout\0\2"],
    }  # fmt: skip
    private = [(65002, 7, 8, b"\0\0\0\5\0\0\0\7", True), (65003, 7, 5, b"plain", True), (65004, 3, 2, (5, 7), True)]
    tifffile.imwrite(
        file, noise((30, 40), np.uint16), imagej=True, metadata=metadata, byteorder=order, extratags=private
    )
    before = tifffile.TiffFile(io.BytesIO(file.getvalue()))
    picture = decode(file.getvalue())
    kept, dropped = encode(picture, "TIFF")
    assert dropped == (("TIFF tag 65002",) if order == ">" else ())
    after = tifffile.TiffFile(io.BytesIO(kept))
    np.testing.assert_equal(after.imagej_metadata, before.imagej_metadata)
    tags = after.pages.first.tags
    assert (tags[65003].value, tags[65004].value) == (b"plain", (5, 7))
    assert {"ImageJ tags", "ImageJ metadata"} <= set(encode(picture, "PNG")[1])


@pytest.mark.parametrize(
    "change", [(b"IJIJ", b"IJIX"), (b"info\0\0\0\1", b"info\0\0\0\2"), (b"info\0\0\0\1", b"what\0\0\0\1")]
)
def test_imagej_metadata_that_cannot_be_converted_is_dropped_and_reported(
    noise: Noise, change: tuple[bytes, bytes]
) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, noise((30, 40), np.uint16), imagej=True, metadata={"Info": "stage 3"}, byteorder=">")
    assert file.getvalue().count(change[0]) == 1
    kept, dropped = encode(decode(file.getvalue().replace(*change)), "TIFF")
    assert dropped == ("ImageJ metadata",)
    assert not {50838, 50839} & set(tifffile.TiffFile(io.BytesIO(kept)).pages.first.tags.keys())


def jpeg(*segments: bytes, behind: bytes = b"", **options: Any) -> bytes:
    data = saved(Image.new("RGB", (40, 30), "teal"), "JPEG", **options)
    return data[:20] + b"".join(segments) + data[20:] + behind


def png(*chunks: bytes, mode: str = "RGB", **options: Any) -> bytes:
    data = saved(Image.new("RGB", (40, 30), "teal").convert(mode), "PNG", **options)
    return data[:33] + b"".join(chunks) + data[33:]


def gray_tiff(tags: Tags) -> bytes:
    pixels = np.zeros((7, 9), np.uint8).tobytes()
    own: Tags = {
        256: (3, [9]), 257: (3, [7]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 273: (4, [0]), 277: (3, [1]),
        278: (3, [7]), 279: (4, [len(pixels)]),
    }  # fmt: skip
    own[273] = (4, [len(b"".join(tiff({**tags, **own})))])
    return b"".join((*tiff({**tags, **own}), pixels))


def packet(attributes: str, content: str = "") -> bytes:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5" {attributes}>{content}'
        '</rdf:Description></rdf:RDF></x:xmpmeta>   <?xpacket end="w"?>'
    ).encode()


RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
VIDEO = b"\0\0\0\x18ftypmp42" + bytes(100)
MOTION = packet('xmlns:C="http://ns.google.com/photos/1.0/camera/" C:MotionPhoto="1" C:MicroVideoOffset = \'112\'')
GAIN = packet(
    'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    ' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"',
    "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>"
    '<Container:Item Item:Semantic="GainMap" Item:Length="999"/></rdf:li></rdf:Seq></Container:Directory>'
    "<xmp:Label>red</xmp:Label>",
)
MPF = b"MPF\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHII", 0xB001, 4, 1, 2) + bytes(4)
JPEG_OF_ITS_OWN = saved(Image.new("L", (8, 8)), "JPEG")
IPTC = b"\x1c\2\x50\0\6A.Name"
RESOURCE = b"Photoshop 3.0\x008BIM\4\4\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0"
LOST: dict[str, tuple[bytes, str, set[str]]] = {
    "motion photo": (jpeg(xmp=MOTION, behind=VIDEO), "JPEG", {xmp_packets.VIDEO}),
    "Ultra HDR": (
        jpeg(segment(0xE2, MPF), xmp=GAIN, behind=JPEG_OF_ITS_OWN), "JPEG", {xmp_packets.GAIN_MAP},
    ),
    "ISO gain map": (jpeg(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0")), "WebP", {xmp_packets.GAIN_MAP}),
    "preview": (jpeg(segment(0xE2, MPF), behind=JPEG_OF_ITS_OWN), "JPEG", {xmp_packets.FURTHER_PICTURES}),
    "FLIR": (jpeg(segment(0xE1, b"FLIR\0\1\0\0" + bytes(99))), "JPEG", {"FLIR thermal data"}),
    "C2PA": (jpeg(segment(0xEB, b"JP\0\1\0\0\0\1jumb c2pa")), "JPEG", {"C2PA content credentials"}),
    "maker's": (jpeg(segment(0xE4, b"Qualcomm\0x")), "PNG", {"APP4 segment (Qualcomm)"}),
    "behind": (jpeg(behind=b"SEFT"), "JPEG", {"data behind the picture"}),
    "comment": (jpeg(comment="by hand"), "PNG", {"comment"}),
    "comment kept": (jpeg(comment="by hand"), "JPEG", set()),
    "iptc": (jpeg(segment(0xED, RESOURCE)), "WebP", {"iptc"}),
    "iptc kept": (jpeg(segment(0xED, RESOURCE)), "TIFF", set()),
    "Photoshop": (jpeg(segment(0xED, RESOURCE + b"8BIM\4\x0c\0\0\0\0\0\2ab")), "JPEG", {"Photoshop resources"}),
    "extended XMP": (
        jpeg(
            segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(50)),
            xmp=packet('xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="00"'),
        ),
        "JPEG",
        {"extended XMP"},
    ),
    "XMP thumbnail": (
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet(
            'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="self#jumb"',
            "<xmp:Thumbnails><rdf:Alt><rdf:li>HasExtended</rdf:li></rdf:Alt></xmp:Thumbnails><xmp:Label>x</xmp:Label>",
        ))),
        "TIFF",
        {"XMP thumbnail", "C2PA content credentials"},
    ),
    "HDR": (png(chunk(b"cICP", b"\x09\x10\0\1"), chunk(b"mDCV", bytes(24)), chunk(b"cLLI", bytes(8))), "PNG", set()),
    "PNG's place": (png(chunk(b"oFFs", bytes(9)), chunk(b"bKGD", bytes(6))), "PNG", set()),
    "PNG's time": (
        png(chunk(b"tIME", bytes(7)), chunk(b"sBIT", b"\5\6\5")), "PNG",
        {"significant bits (sBIT)", "time of the last change (tIME)"},
    ),
    "text": (png(chunk(b"tEXt", b"Author\0A"), chunk(b"caBX", b"jumb")), "PNG", {"C2PA content credentials"}),
    "text elsewhere": (png(chunk(b"tEXt", b"Author\0A")), "JPEG", {"text (Author)"}),
    "palette": (png(mode="P"), "PNG", {"palette (written as colors)"}),
    "1 bit": (png(mode="1"), "PNG", {"depth of 1 bit (8 are written)"}),
    "BMP 1 bit": (saved(Image.new("1", (9, 9)), "BMP"), "BMP", {"depth of 1 bit (8 are written)"}),
    "BMP palette": (saved(Image.new("RGB", (9, 9), "red").convert("P"), "BMP"), "PNG", {"palette (written as colors)"}),
    "BMP gray": (saved(Image.new("L", (9, 9)), "BMP"), "PNG", set()),
    "TIFF palette": (saved(Image.new("P", (9, 9)), "TIFF"), "TIFF", {"palette (written as colors)"}),
    "gray with alpha": (png(mode="LA"), "PNG", {GRAY_LAYOUT}),
}  # fmt: skip


@pytest.mark.parametrize("case", LOST)
def test_lost_parts_are_reported_and_no_metadata_still_claims_them(case: str) -> None:
    data, target, names = LOST[case]
    written, dropped = encode(decode(data), target)
    assert set(dropped) == names
    for word in (
        b"MotionPhoto",
        b"MicroVideo",
        b"GainMap",
        b'hdr-gain-map/1.0/" hdr',
        b"HasExtended",
        b"FLIR",
        b"jumb",
    ):
        assert word not in written
    if b"xmp:Rating" in data:
        root = ElementTree.fromstring(decode(written).metadata.xmp)  # noqa: S314 - the test's own
        assert next(root.iter(f"{RDF}Description")).get("{http://ns.adobe.com/xap/1.0/}Rating") == "5"
        assert (b"Label" in data) == (b"Label" in written)
    assert encode(decode(written), target)[1] == ()


@pytest.mark.parametrize(
    "packet",
    [
        b"MotionPhoto <broken",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x a="MotionPhoto">&a;</x>',
        b'<x a="MotionPhoto">' + b" " * 2**20 + b"</x>",
    ],
    ids=["broken", "definitions", "long"],
)
def test_an_xmp_packet_that_cannot_be_edited_is_dropped(packet: bytes) -> None:
    assert xmp_packets.without_claims(packet) == (b"", {xmp_packets.PACKET, xmp_packets.VIDEO})
    for format, data in {
        "JPEG": jpeg(xmp=packet) if len(packet) < 2**16 else b"",
        "PNG": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)),
        "TIFF": gray_tiff({700: (1, packet)}),
        "WebP": saved(Image.new("RGB", (9, 9)), "WebP", xmp=packet),
    }.items():
        assert not data or set(encode(decode(data), format)[1]) == {"xmp", xmp_packets.VIDEO}


def test_an_xmp_packet_in_utf_16_is_edited_and_rotated_too() -> None:
    text = '<x xmlns:a="urn:a" a:MotionPhoto="1" a:title="Ä"/>'
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        declared = f'<?xml version="1.0" encoding="UTF-16"?>\n{text}'
        cut, found = xmp_packets.without_claims(declared.encode(encoding))
        assert (cut.decode(), found) == ('<x xmlns:a="urn:a" a:title="Ä"/>', {xmp_packets.VIDEO})
        assert (
            xmp_packets.upright(f"{text}tiff:Orientation='6'".encode(encoding))
            == f"{text}tiff:Orientation='1'".encode()
        )
        assert xmp_packets.upright(text.encode(encoding)) == text.encode(encoding)


SLOW_PACKETS = """
from cae_runtime.io.metadata import exif
from cae_runtime.io.metadata import xmp
assert exif.plain(exif.PREFIX * 2_000_000 + b"II") == b"II"
claim = 'xmlns:C="urn:camera" C:MotionPhoto="1"'
children = "".join(f'<x xmlns:C="urn:{number}" C:MotionPhoto="1"/>' for number in range(20_000))
for text in (f"<x{' ' * 900_000}{claim}/>", f"<x {claim}{' ' * 900_000}/>", f"<x {claim}>{children}</x>"):
    cut, found = xmp.without_claims(text.encode())
    assert cut and b"MotionPhoto" not in cut and found == {xmp.VIDEO}
"""


def test_a_long_xmp_packet_takes_linear_time() -> None:
    subprocess.run([sys.executable, "-c", SLOW_PACKETS], check=True, timeout=60)  # minutes, if it were by the square


@pytest.mark.parametrize(
    "data",
    [
        jpeg(*(segment(0xE5, b"n%03d\0" % number) for number in range(30)), exif=exif_of_camera()),
        png(*(chunk(b"tEXt", b"n%03d\0" % number) for number in range(30)), exif=exif_of_camera()),
        gray_tiff({**{50_000 + tag: (3, [1]) for tag in range(30)}, ARTIST: (2, b"A.")}),
    ],
    ids=["JPEG", "PNG", "TIFF"],
)
def test_at_most_twenty_lost_names_are_listed(data: bytes) -> None:
    dropped = encode(decode(data), "BMP")[1]
    assert len(dropped) == 21
    assert dropped[0] in ("exif", "artist")  # what all know comes first
    assert dropped[-1] == "and 11 more"


def test_a_file_keeps_at_most_a_thousand_texts_or_comments() -> None:
    texts = png(*(chunk(b"tEXt", b"n%d\0keep" % number) for number in range(1003)))
    comments = jpeg(*(segment(0xFE, b"keep%d" % number) for number in range(1003)))
    names = jpeg(*(segment(0xE5, b"n%d" % number) for number in range(1003)))
    for format, data, lost in [
        ("PNG", texts, "further texts"),
        ("JPEG", comments, "further comments"),
    ]:
        written, dropped = encode(decode(data), format)
        assert dropped == (lost,)
        assert written.count(b"keep") == 1000
        assert encode(decode(written), format)[1] == ()
    assert len(decode(names).metadata.found) == 1001
    assert metadata.few(decode(names).metadata.found)[0] == "further metadata"


@pytest.mark.parametrize(
    ("packet", "kept"),
    [
        (b'<x xmlns:a="urn:a" a:MotionPhoto="1" MotionPhoto="2"/>', b'<x xmlns:a="urn:a"/>'),
        (b'<x xml:MotionPhoto="1"><y xmlns:a="urn:a" a:Thumbnails="1"/></x>',
         b'<x><y xmlns:a="urn:a" a:Thumbnails="1"/></x>'),
        (b'<x xmlns:a="http://ns.adobe.com/xap/1.0/"><y xmlns:a="urn:a" a:Thumbnails="1"/><y a:Thumbnails="2"/></x>',
         b'<x xmlns:a="http://ns.adobe.com/xap/1.0/"><y xmlns:a="urn:a" a:Thumbnails="1"/><y/></x>'),
    ],
)  # fmt: skip
def test_xmp_claims_are_recognized_by_namespace(packet: bytes, kept: bytes) -> None:
    assert xmp_packets.without_claims(packet)[0] == kept


def with_thumbnail(thumbnail: bytes, note: bytes = b"", compression: int = 6) -> bytes:
    """Return an EXIF block by hand: orientation and maker note, then a second directory with the thumbnail."""
    at = 8 + 2 + 12 * 2 + 4 + 2 + 12 + 4 + 2 + 12 * 3 + 4
    entries = struct.pack(">HHHIHHHHII", 2, 0x112, 3, 1, 1, 0, 0x8769, 4, 1, 38)
    inner = struct.pack(">HHHIII", 1, 0x927C, 7, len(note), at + len(thumbnail), 0)
    places = (513, 514) if compression == 6 else (273, 279)
    second = struct.pack(">HHHIHH", 3, 259, 3, 1, compression, 0)
    second += struct.pack(">HHIIHHIII", places[0], 4, 1, at, places[1], 4, 1, len(thumbnail), 0)
    return b"MM\0*\0\0\0\x08" + entries + struct.pack(">I", 56) + inner + second + thumbnail + note


@pytest.mark.parametrize("target", FORMATS)
def test_no_thumbnail_shows_the_original_picture(target: str) -> None:
    before = Image.effect_noise((320, 200), 50).convert("RGB")
    after = Image.new("RGB", (320, 200), "navy")
    thumbnail = saved(before.resize((160, 100)), "JPEG")
    data = saved(before, "JPEG", exif=b"Exif\0\0" + with_thumbnail(thumbnail, b"note" + JPEG_OF_ITS_OWN + b"end"))
    picture = decode(data)
    assert {exif_blocks.THUMBNAIL, exif_blocks.PREVIEW} <= picture.metadata.found
    written, dropped = encode(replace_pixels(picture, np.asarray(after)[..., ::-1]), target)
    assert exif_blocks.PREVIEW in dropped
    assert thumbnail not in written
    assert JPEG_OF_ITS_OWN not in written
    if target in ("TIFF", "BMP"):
        assert exif_blocks.THUMBNAIL in dropped
        return
    assert exif_blocks.THUMBNAIL not in dropped
    block = opened(written).getexif()
    assert block.get_ifd(EXIF_IFD)[MAKER_NOTE] == b"note" + bytes(len(JPEG_OF_ITS_OWN)) + b"end"
    small = opened(written[written.index(b"\xff\xd8\xff", written.index(b"MM\0*")) :])
    assert small.size == (160, 100)
    assert np.abs(np.asarray(small.convert("RGB"), int) - (0, 0, 128)).max() < 4


@pytest.mark.parametrize("thumbnail", [b"\xff\xd8\xff\xdb tiny \xff\xd9", bytes(300)])
def test_a_thumbnail_that_cannot_be_redrawn_is_dropped_and_reported(thumbnail: bytes) -> None:
    block = with_thumbnail(thumbnail, compression=6 if thumbnail[0] else 1)
    data = saved(Image.new("RGB", (320, 200)), "JPEG", exif=b"Exif\0\0" + block)
    written, dropped = encode(decode(data), "JPEG")
    assert dropped == (exif_blocks.THUMBNAIL,)
    assert opened(written).getexif().get_ifd(1) == {}
    assert b"tiny" not in written


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("prefixes", [1, 2])
def test_the_exif_prefix_in_a_webp_is_removed(target: str, prefixes: int) -> None:
    block = exif_of_camera(6).tobytes().removeprefix(b"Exif\0\0")
    room = bytes(6 * prefixes)
    data = saved(Image.new("RGB", (64, 32), "red"), "WEBP", exif=block + room)
    written, _ = encode(decode(data.replace(block + room, b"Exif\0\0" * prefixes + block)), target)
    assert written.count(b"Exif\0\0") == (target == "JPEG")
    assert ImageOps.exif_transpose(opened(written)).size == (32, 64)


SOURCES = {
    **{format: with_all(Image.new("RGB", (9, 7), "teal"), format, 6) for format in FORMATS},
    "thumbnail": saved(Image.new("L", (9, 7)), "JPEG", exif=b"Exif\0\0" + with_thumbnail(JPEG_OF_ITS_OWN, NOTE)),
    "TIFF, FLOAT": gray_tiff({282: (11, [300.0]), 283: (11, [300.0]), 296: (3, [2])}),
    "TIFF, DOUBLE": gray_tiff({282: (12, [300.0]), 283: (12, [300.0]), 296: (12, [2.0])}),
    "claims": jpeg(segment(0xE2, MPF), segment(0xED, RESOURCE), xmp=GAIN, behind=JPEG_OF_ITS_OWN),
}
EMPTY = {format: saved(Image.new("RGB", (9, 7)), format) for format in FORMATS}


@pytest.mark.slow
@settings(max_examples=80)
@given(st.data())
def test_damaged_metadata_does_not_stop_cleaning(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from([*SOURCES]))
    file = bytearray(SOURCES[source])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(12, len(file) - 1))
        new = data.draw(
            st.sampled_from([b"\0", b"\xff", b"\xff" * 8, b"\0\0\0\x08"]) | st.binary(min_size=1, max_size=8)
        )
        file[at : at + len(new)] = new
    format = source.split(",")[0]
    before = metadata.read(bytes(file), format if format in FORMATS else "JPEG")
    block = exif_blocks.with_new_pictures(before.exif, np.zeros((7, 9), np.uint8))
    assert len(block) == len(before.exif)
    for target in FORMATS:
        kept = before
        if block and metadata.carries_exif(target, block):
            kept = before.upright(6, exif_blocks.upright_block(block)) if target == "TIFF" else before
        written = metadata.write(EMPTY[target], target, kept, native=format == target)
        assert decode(written).pixels.shape[:2] == (7, 9)


@pytest.mark.parametrize("kind", [11, 12])
@pytest.mark.parametrize(
    ("density", "unit"),
    [
        ((np.inf, np.inf), 2), ((300, np.inf), 2), ((300, np.nan), 3), ((np.nan, 300), 2), ((3e38, 3e38), 3),
        ((300, 300), np.inf), ((300, 300), np.nan),
    ],
)  # fmt: skip
def test_a_density_that_is_not_a_number_is_dropped(density: tuple[float, float], unit: float, kind: int) -> None:
    data = gray_tiff({282: (kind, density[:1]), 283: (kind, density[1:]), 296: (kind, [unit]), 315: (2, b"A.")})
    for target in FORMATS:
        written, dropped = encode(decode(data), target)
        assert {"density", "artist"} >= set(dropped)
        assert decode(written).metadata.density in (None, Density(2**32 - 1, 2**32 - 1, "cm"))
        assert target == "BMP" or opened(written).getexif()[ARTIST] == "A."


def test_a_signaling_nan_is_read_without_a_warning() -> None:
    assert np.isnan(tiff_tags.Value(11, 1, b"\1\0\x80\x7f").numbers()).all()


@pytest.mark.parametrize("target", FORMATS)
def test_metadata_that_cannot_be_written_does_not_stop_cleaning(
    photo: Image.Image, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(data: bytes, format: str, block: metadata.Metadata, *, native: bool) -> bytes:
        return struct.pack("B", 256) if block.icc else metadata.write(data, format, block, native=native)

    monkeypatch.setattr("cae_runtime.io.encoding.write_metadata", write)
    written, dropped = encode(decode(with_all(photo, "JPEG", orientation=6)), target)
    assert {"exif", "xmp", "icc"} <= set(dropped)
    assert opened(written).size == photo.size[::-1]  # as it is to be seen: nothing says how to turn it


@pytest.mark.parametrize("quality", [1, 30, 75, 90, 96, 99, 100])
def test_a_jpeg_is_written_at_least_at_its_own_quality(photo: Image.Image, quality: int) -> None:
    data = saved(photo, "JPEG", quality=quality)
    assert decode(data).metadata.jpeg_quality == quality
    before, after = (opened(each).quantization for each in (data, encode(decode(data), "JPEG")[0]))  # type: ignore[attr-defined]
    assert all(np.less_equal(after[table], before[table]).all() for table in before)
    assert decode(encode(decode(data), "JPEG", 40)[0]).metadata.jpeg_quality == 40


def test_lossy_formats_are_recognized(photo: Image.Image) -> None:
    picture = decode(with_all(photo, "PNG"))
    assert {format for format in FORMATS if is_lossy(encode(picture, format)[0])} == {"JPEG", "WebP"}
    assert not is_lossy(saved(photo, "WebP", lossless=True, icc_profile=ICC))


def test_a_color_profile_in_several_segments_is_kept(photo: Image.Image, noise: Noise) -> None:
    body = ICC + noise((200_000,)).tobytes()
    profile = struct.pack(">I", len(body)) + body[4:]
    data, dropped = encode(decode(saved(photo, "PNG", icc_profile=profile)), "JPEG")
    assert dropped == ()
    assert opened(data).info["icc_profile"] == decode(data).metadata.icc == profile


def test_a_gray_profile_is_not_written_to_a_color_picture(photo: Image.Image) -> None:
    profile = ICC[:16] + b"GRAY" + ICC[20:]
    data, dropped = encode(decode(saved(photo.convert("L"), "JPEG", icc_profile=profile)), "WebP")
    assert dropped == ("icc",)
    assert "icc_profile" not in opened(data).info


def test_exif_that_does_not_fit_is_reported_and_its_orientation_applied(photo: Image.Image) -> None:
    block = exif_of_camera(6)
    block.get_ifd(EXIF_IFD)[0x9286] = bytes(70_000)
    written, dropped = encode(decode(saved(photo, "PNG", exif=block)), "JPEG")
    assert dropped == ("exif",)
    assert opened(written).size == photo.size[::-1]
