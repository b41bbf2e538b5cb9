"""Take the pages' pictures of the windows: `python -m scripts.make_screens` (needs Xvfb, xdotool and openbox).

The window for pictures shows a sample. For the live one, a noisy film of a photo of scikit-image (NASA's astronaut,
public domain) plays as the camera. Each has a screen of its own; keys are pressed as a user presses them.
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from skimage import data
from tests.runtime.live.test_window import Session, open_display, wait_for

README = Path(__file__).resolve().parent.parent / "assets" / "readme"
SIZE, FRAMES, SIGMA = (640, 480), 90, 25


def film(path: Path) -> Path:
    """A photograph under new noise in every frame, lossless."""
    picture = cv2.resize(data.astronaut()[..., ::-1], (640, 640), interpolation=cv2.INTER_CUBIC)[: SIZE[1]]
    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 30, SIZE)
    for _ in range(FRAMES):
        writer.write((picture + random.normal(0, SIGMA, picture.shape)).clip(0, 255).round().astype(np.uint8))
    writer.release()
    return path


def main() -> None:
    """Take them."""
    with tempfile.TemporaryDirectory() as name, open_display(Path(name)) as display:
        source = film(Path(name) / "film.avi")
        for keys, target in ((("c",), "live-compare"), (("i", "h"), "live-keys")):
            session = Session(display, Path(name), "--camera", source, "-m", "denoise-int8")
            wait_for(lambda session=session: session.picture().any())
            for key in keys:
                session.press(key)
            time.sleep(0.4)
            cv2.imwrite(str(README / f"{target}.png"), session.picture(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
            session.press("q")
            session.end()
        samples = Path(__file__).resolve().parent.parent / "assets" / "samples"
        session = Session(display, Path(name), samples / "coffee-sigma35.png", "-m", "denoise", opens="--view")
        wait_for(lambda: session.picture().any())
        session.press("2")
        time.sleep(4)
        cv2.imwrite(str(README / "view.png"), session.picture(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
        session.press("q")
        session.end()


if __name__ == "__main__":
    main()
