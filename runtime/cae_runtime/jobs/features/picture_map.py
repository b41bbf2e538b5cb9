"""Draws pictures on two axes of their features, so that pictures with similar features lie side by side."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import MissingExtraError, UsageError
from cae_runtime.inference.tiling import Floats
from cae_runtime.io.contact_sheet import thumbnail
from cae_runtime.io.image_files import write_file
from cae_shared.text import listed

MAP: Final = ".png"
PROJECTIONS: Final = ("pca", "tsne")
_NO_SCIKIT_LEARN: Final = (
    "projection 'tsne' needs an extra: pip install 'cae-toolkit[tsne]' (in a checkout: pip install -e '.[tsne]'), that "
    "is scikit-learn; 'pca' needs none"
)
_LONG, _SHORTEST = 1600, 900  # pixels: the longer side of the drawing, and the least of the other
_MARGIN: Final = 48  # around it, for the names of the axes
_SMALLEST, _LARGEST = 32, 128  # sides of thumbnails
_THUMBNAILS_MOST: Final = 20_000
_APART: Final = 0.7  # thumbnails whose centers are nearer, in sides, are dots
_LEAST_OF_TSNE, _PERPLEXITY = 4, 30.0
_INK, _DOT, _LINE = (40, 40, 40), (150, 150, 150), (200, 200, 200)
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.55


def checked_projection(name: str) -> str:
    """Return a projection's name.

    Raises:
        UsageError: there is none of this name.
        MissingExtraError: the package that it needs is not installed; the message has the line that installs it.
    """
    if name not in PROJECTIONS:
        raise UsageError(f"projection is {name!r}: it must be {listed(map(repr, PROJECTIONS), 'or')}")
    if name == "tsne" and find_spec("sklearn") is None:
        raise MissingExtraError(_NO_SCIKIT_LEARN)
    return name


class PictureMap:
    """Collects pictures and their features, and draws them.

    Args:
        expected: about how many pictures there will be, which decides on the size of the thumbnails.

    Attributes:
        shown: how many pictures were drawn by `write`; the others are dots.
    """

    def __init__(self, expected: int) -> None:
        self._side = int(np.clip(1.2 * _LONG / math.sqrt(max(1, expected)), _SMALLEST, _LARGEST))
        self._every = -(-expected // _THUMBNAILS_MOST)
        self._paths: list[str] = []
        self._thumbnails: list[NDArray[np.uint8] | None] = []
        self._features: list[Floats] = []
        self.shown = 0

    @property
    def width(self) -> int:
        """How many features a picture has."""
        return len(self._features[0])

    def add(self, path: str, image: NDArray[Any], features: Floats) -> None:
        """Add a picture, uint8, uint16 or float32, (H, W) or (H, W, 1..4), and its features, (F,)."""
        kept = len(self._paths) % max(1, self._every) == 0
        self._thumbnails.append(thumbnail(image, self._side) if kept else None)
        self._paths.append(path)
        self._features.append(features)

    def write(self, output: Path, projection: str) -> list[dict[str, Any]]:
        """Write the map as PNG; return the pictures' places on the two axes, with keys `source`, `x` and `y`.

        Args:
            output: the file.
            projection: `pca` or `tsne`.

        Raises:
            UsageError: there are too few pictures for the projection.
            ImageError: the file cannot be written.
        """
        features = np.stack(self._features).astype(np.float64)
        places, names = _pca(features) if projection == "pca" else _tsne(features)
        write_file(output, cv2.imencode(MAP, self._drawn(places, names))[1].tobytes())
        return [
            {"source": path, "x": float(f"{x:.6g}"), "y": float(f"{y:.6g}")}
            for path, (x, y) in zip(self._paths, places.tolist(), strict=True)
        ]

    def _drawn(self, places: NDArray[np.float64], names: tuple[str, str]) -> NDArray[np.uint8]:
        """The map, (H, W, 3) uint8 BGR; both axes have the same scale, and the second one points up."""
        low, span = places.min(axis=0), np.ptp(places, axis=0)
        inside = _LONG - 2 * _MARGIN - self._side
        scale = inside / max(float(span.max()), 1e-12)
        size = np.maximum(span * scale, _SHORTEST - 2 * _MARGIN - self._side)
        width, height = (int(side) + 2 * _MARGIN + self._side for side in size)
        sheet = np.full((height, width, 3), 255, np.uint8)
        shift = (size - span * scale) / 2 + _MARGIN + self._side / 2
        centers = (places - low) * scale + shift
        centers[:, 1] = height - centers[:, 1]
        cv2.rectangle(sheet, (_MARGIN, _MARGIN), (width - _MARGIN, height - _MARGIN), _LINE, 1)
        for x, y in np.rint(centers).astype(int).tolist():
            cv2.circle(sheet, (x, y), 2, _DOT, -1, cv2.LINE_AA)
        self._put_thumbnails(sheet, centers)
        cv2.putText(sheet, names[0], (_MARGIN, height - _MARGIN // 2 + 8), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
        upright = np.full((_MARGIN - 4, height - _MARGIN, 3), 255, np.uint8)
        cv2.putText(upright, names[1], (0, _MARGIN // 2 + 8), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
        sheet[: height - _MARGIN, : _MARGIN - 4] = np.rot90(upright)
        return sheet

    def _put_thumbnails(self, sheet: NDArray[np.uint8], centers: NDArray[np.float64]) -> None:
        """Draw each picture that lies far enough from those drawn before."""
        drawn = np.empty((0, 2))
        for picture, center in zip(self._thumbnails, centers, strict=True):
            if picture is None or (np.abs(drawn - center).max(axis=1) < _APART * self._side).any():
                continue
            drawn = np.vstack([drawn, center])
            height, width = picture.shape[:2]
            left, top = (round(at - side / 2) for at, side in zip(center, (width, height), strict=True))
            sheet[top : top + height, left : left + width] = picture
            cv2.rectangle(sheet, (left - 1, top - 1), (left + width, top + height), _LINE, 1)
        self.shown = len(drawn)


def _pca(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """The two directions in which features (N, F) vary most: places (N, 2), and the names of the axes."""
    centered = features - features.mean(axis=0)
    variances, directions = np.linalg.eigh(centered.T @ centered)
    first = directions[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])  # eigh leaves it open
    places = np.zeros((len(features), 2))
    places[:, : first.shape[1]] = centered @ first
    shares = np.zeros(2)
    shares[: first.shape[1]] = variances[::-1][:2].clip(0) / max(float(variances.clip(0).sum()), 1e-300)
    across, up = (f"component {number}: {share:.0%} of the variance" for number, share in enumerate(shares, 1))
    return places, (across, up)


def _tsne(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Places by t-SNE, van der Maaten and Hinton, "Visualizing data using t-SNE" (JMLR 2008).

    Raises:
        UsageError: there are too few pictures.
    """
    from sklearn.manifold import TSNE

    count = len(features)
    if count < _LEAST_OF_TSNE:
        raise UsageError(f"projection 'tsne' needs {_LEAST_OF_TSNE} pictures, and there are {count}: take 'pca'")
    perplexity = min(_PERPLEXITY, (count - 1) / 3)
    places = TSNE(2, init="pca", random_state=0, perplexity=perplexity).fit_transform(features.astype(np.float32))
    name = f"t-SNE, perplexity {perplexity:.3g}: neighbors are alike; distances between groups mean little"
    return cast("NDArray[np.float64]", np.asarray(places, np.float64)), (name, "")
