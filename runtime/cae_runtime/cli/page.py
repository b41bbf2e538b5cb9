"""`cae-run --page`: serves the page that cleans pictures in a browser, for this computer alone."""

from __future__ import annotations

import json
import logging
import sys
import threading
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from cae_runtime.cli.terminal import tell
from cae_runtime.errors import UsageError
from cae_runtime.inference.model_files import packaged_models

_log = logging.getLogger(__name__)

PAGE: Final = Path(__file__).parents[1] / "page"  # made by `npm run build` in runtime/page
MODELS: Final = Path(__file__).parents[1] / "models"
_HERE: Final = "127.0.0.1"
_OUR_NAMES: Final = ("127.0.0.1", "localhost")  # any other name is a foreign site that points its name here
_PORT: Final = 8624  # the same each time, so that the browser remembers the page; another one if it is taken


def serve_page(*, window: bool) -> None:
    """Serve the page until the process is interrupted.

    Args:
        window: whether to open it in the browser.

    Raises:
        UsageError: the page was not built.
        OSError: no port can be opened.
    """
    headers = _headers()
    with _server(partial(_Handler, headers=headers)) as server:
        address = f"http://{_HERE}:{server.server_port}/"
        tell(f"the page is at {address} until Ctrl-C")
        if window:  # some browsers return only when they end: the page must be served meanwhile
            threading.Thread(target=_open_browser, args=(address,), daemon=True).start()
        server.serve_forever(poll_interval=0.2)


def _open_browser(address: str) -> None:
    if not webbrowser.open(address):
        tell("note: no browser could be opened: open the address yourself")


def _headers() -> dict[str, str]:
    """Return the headers of every answer: they limit what the page may load, and allow threads."""
    try:
        found = json.loads((PAGE / "headers.json").read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UsageError(
            "the page is not built: run npm ci --ignore-scripts && npm run build in runtime/page of a checkout"
        ) from e
    return {str(name): str(value) for name, value in found.items()}


def _server(handler: partial[_Handler]) -> _Server:
    try:
        return _Server((_HERE, _PORT), handler)
    except OSError:
        return _Server((_HERE, 0), handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there it would share the port with another server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log, not report: a browser that closes its connection is not an error."""
        _log.debug("a request could not be answered", exc_info=True)


class _Handler(SimpleHTTPRequestHandler):
    """Answers with the page's files and the packaged models, and nothing else."""

    protocol_version = "HTTP/1.1"
    extensions_map: Final = {  # type: ignore[misc]
        "": "application/octet-stream", ".css": "text/css", ".html": "text/html; charset=utf-8",
        ".js": "text/javascript", ".json": "application/json", ".mjs": "text/javascript", ".png": "image/png",
        ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }  # fmt: skip

    def __init__(self, *args: Any, headers: dict[str, str]) -> None:
        self._added = headers
        super().__init__(*args, directory=str(PAGE))

    def send_head(self) -> Any:
        """Refuse requests for other hosts, and addresses that cannot name a file."""
        if self.headers.get("Host", "").partition(":")[0].lower() not in _OUR_NAMES:
            return self.send_error(403, "This page is served to this computer alone")
        if "\0" in unquote(self.path):
            return self.send_error(404)
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """Return the file that an address stands for."""
        parts = PurePosixPath(unquote(urlsplit(path).path)).parts
        if len(parts) == 3 and parts[1] == "models":
            name = parts[2].removesuffix(".onnx")
            return str(MODELS / f"{name}.onnx" if name in packaged_models() else PAGE / "missing")
        return super().translate_path(path)

    def list_directory(self, path: Any) -> None:
        """List no folders."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Add the headers of every answer, so that browsers request files again after an update."""
        for name, value in self._added.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests, which only --verbose shows."""
        _log.debug(format, *args)
