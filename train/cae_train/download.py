"""Files of the named data sets, fetched once with a checksum and a progress bar."""

import sys
from pathlib import Path


def fetched(url: str, md5: str, folder: Path) -> Path:
    """The file of `url` in `folder`, downloaded unless it is there already; never one of another checksum.

    Raises:
        OSError, ValueError: the folder cannot be written, the server does not answer, or the checksum is another.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    name = url.rpartition("/")[2]
    return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", path=folder, fname=name, downloader=fetch))


def reason(error: Exception) -> str:
    """What an exception says, in part of a line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
