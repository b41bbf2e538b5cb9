"""Write the pictures of runtime/TASKS.md.

    python -m scripts.make_uses --inpaint fill --deblur runs/train/deblur/model.onnx
    python -m scripts.make_uses --heat runs/anomalies

`filled.jpg` and `sharp.jpg`: crops of scikit-image's public-domain and CC0 photographs, spoilt as in
`tests.benchmarks.other_tasks.inpainting` and `.deblurring`, what the models make of them, and what OpenCV does.
`anomalies.png`: heat maps that `tests.benchmarks.other_tasks.anomalies defects` left in its folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scripts.make_images import photograph
from tests.benchmarks.other_tasks.deblurring import blurred, gaussian, motion, unsharp
from tests.benchmarks.other_tasks.inpainting import strokes, text

from cae_runtime import Inpainter, Restorer

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "readme"
SIDE, GAP, TITLE = 224, 4, 24
SPOILT = {  # top, left; and how
    "chelsea": (60, 150), "astronaut": (0, 130), "coffee": (120, 170),
}  # fmt: skip
STROKES = 5
HEAT = (("texture-weave-0-4-8", "scratch-0"), ("texture-wood-0-4-8", "spot-0"), ("texture-brick-0-4-8", "blotch-1"),
        ("texture-grass-0-4-8", "hole-0"))  # fmt: skip

Image = NDArray[np.uint8]  # H x W x 3, BGR


def crop(name: str) -> Image:
    """A square of a photograph."""
    top, left = SPOILT[name]
    return np.ascontiguousarray(photograph(name)[top : top + SIDE, left : left + SIDE])


def write(path: Path, rows: Sequence[Sequence[Image]], titles: Sequence[str]) -> None:
    """Put pictures of one size in rows, a title over each column."""
    gaps = [np.pad(np.hstack([np.pad(p, [(0, 0), (0, GAP), (0, 0)], constant_values=255) for p in row]),
                   [(0, GAP), (0, 0), (0, 0)], constant_values=255) for row in rows]  # fmt: skip
    sheet = np.pad(np.vstack(gaps), [(TITLE, 0), (0, 0), (0, 0)], constant_values=255)
    step = sheet.shape[1] // len(titles)
    for column, title in enumerate(titles):
        cv2.putText(sheet, title, (column * step + 2, TITLE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0,) * 3, 1,
                    cv2.LINE_AA)  # fmt: skip
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [])
    print(path)


def filled(model: Path) -> None:
    """Strokes, and text on the second."""
    inpainter = Inpainter(model)
    rows = []
    for number, name in enumerate(SPOILT):
        clean = crop(name)
        mask = text(SIDE, SIDE, number) if number % 2 else strokes(SIDE, SIDE, STROKES, number)
        holed = clean.copy()
        holed[mask > 0] = (255, 0, 255)
        telea = cv2.inpaint(holed, mask, 3, cv2.INPAINT_TELEA).astype(np.uint8)
        rows.append([holed, inpainter(holed, mask > 0), telea, clean])
    write(FOLDER / "filled.jpg", rows, ("holes", "fill", "OpenCV (Telea)", "without holes"))


def sharp(model: Path) -> None:
    """A Gaussian blur, and motion on the second."""
    restorer = Restorer(model)
    rows = []
    for number, name in enumerate(SPOILT):
        clean = crop(name)
        spoilt = blurred(clean, motion(7, number) if number % 2 else gaussian(1.5))
        rows.append([spoilt, restorer(spoilt), unsharp(spoilt, 1.5, 1.0), clean])
    write(FOLDER / "sharp.jpg", rows, ("blurred", "this model", "unsharp masking", "sharp"))


def heat(folder: Path) -> None:
    """Four pairs of a damaged picture and its heat map."""
    pictures = [cv2.imread(str(folder / name / f"{kind}.png")).astype(np.uint8) for name, kind in HEAT]
    write(FOLDER / "anomalies.png", [pictures[:2], pictures[2:]], ("", ""))


def main() -> None:
    """Write what there are models for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inpaint", type=Path, metavar="MODEL")
    parser.add_argument("--deblur", type=Path, metavar="MODEL")
    parser.add_argument("--heat", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.inpaint:
        filled(given.inpaint)
    if given.deblur:
        sharp(given.deblur)
    if given.heat:
        heat(given.heat)


if __name__ == "__main__":
    main()
