"""Downloads files once, with a checksum and a progress bar."""

import contextlib
import sys
import textwrap
from pathlib import Path


def fetched(url: str, checksum: str, folder: Path) -> Path:
    """The file of `url` in `folder`, downloaded unless it is there already; never one of another checksum.

    Args:
        url: its last part is the name of the file.
        checksum: `md5:...` or `sha256:...`.
        folder: made if it is not there.

    Raises:
        OSError, ValueError: the folder cannot be written, the server does not answer, or the checksum is another.
    """
    import pooch

    if ":" not in checksum:
        raise ValueError(f"checksum {checksum!r} does not begin with its kind, as in sha256:...")
    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    name = url.rpartition("/")[2]
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        return Path(pooch.retrieve(url, known_hash=checksum, path=folder, fname=name, downloader=fetch))
    except BaseException:
        for each in made:  # from the innermost: nothing is left of a download that failed
            with contextlib.suppress(OSError):  # it is not there, or another file is in it
                each.rmdir()
        raise


def reason(error: Exception) -> str:
    """A short description of an exception."""
    if type(error).__name__ in (
        "ConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
    ):  # of requests; their texts are long
        return "the server cannot be reached"
    return textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
