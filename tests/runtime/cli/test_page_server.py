"""The server of `cae-run --page`: what it serves and refuses, and its error if the page was not built."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.runtime.conftest import Command

from cae_runtime.cli import page
from cae_runtime.inference.model_files import find_model


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve a small page, and return the port."""
    site = tmp_path / "page"
    (site / "ort").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("not part of the page")
    (site / "index.html").write_text("<h1>page</h1>")
    (site / "ort" / "engine.wasm").write_bytes(b"\0asm")
    (site / "headers.json").write_text(json.dumps({"Cross-Origin-Embedder-Policy": "require-corp"}))
    monkeypatch.setattr(page, "PAGE", site)
    with page._server(partial(page._Handler, headers=page._headers())) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def asked(port: int, path: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_files_have_content_types_and_the_headers_for_threads(port: int) -> None:
    for path, kind in (("/", "text/html; charset=utf-8"), ("/ort/engine.wasm", "application/wasm")):
        status, headers, _ = asked(port, path)
        assert status == 200
        assert headers["Content-type"] == kind
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cache-Control"] == "no-cache"


def test_packaged_models_are_served_unchanged(port: int) -> None:
    assert asked(port, "/models/denoise-fast.onnx")[2] == find_model("denoise-fast").read_bytes()


@pytest.mark.parametrize("path", [
    "/../secret.txt", "/%2e%2e/secret.txt", "/ort/", "/models/", "/models/other.onnx", "/models/..%2Fpage.onnx", "/no",
    "//secret.txt", "/%00", "/index.html%00", "/models/denoise%00.onnx",
])  # fmt: skip
def test_only_files_of_the_page_are_served(port: int, path: str) -> None:
    status, _, content = asked(port, path)
    assert status in (301, 404)
    assert b"not part" not in content


def test_requests_for_other_host_names_are_refused(port: int) -> None:
    for host in ("evil.example", f"evil.example:{port}", f"localhost.evil.example:{port}", "127.0.0.1.evil.example"):
        status, _, content = asked(port, "/", host)
        assert (status, b"<h1>page" in content) == (403, False), host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "LOCALHOST"):
        assert asked(port, "/", host)[0] == 200, host


def test_the_page_is_served_while_a_browser_opens(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    loaded = threading.Event()

    def open_browser(address: str) -> bool:
        """A browser that returns once the page is loaded."""
        seen.append(asked(int(address.rstrip("/").rpartition(":")[2]), "/")[0])
        loaded.set()
        return True

    class Server(page._Server):
        def service_actions(self) -> None:
            if loaded.is_set():
                raise KeyboardInterrupt

    monkeypatch.setattr(page, "_Server", Server)
    monkeypatch.setattr("webbrowser.open", open_browser)
    with pytest.raises(KeyboardInterrupt):
        page.serve_page(window=True)
    assert seen == [200]


def test_a_page_that_was_not_built_is_a_one_line_error(
    cae_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "nothing")
    done = cae_run("--page", model=None)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        "cae-run: the page is not built: run npm ci --ignore-scripts && npm run build in runtime/page of a checkout\n"
    )


@pytest.mark.parametrize("kind", ["wheel", "sdist"])  # a wheel is often built from an sdist
def test_distributions_include_the_page(kind: str) -> None:
    settings = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"][kind]["artifacts"] == ["/runtime/cae_runtime/page/"]


def test_page_refuses_other_options(cae_run: Command) -> None:
    done = cae_run("--page", "photo.jpg", model=None)
    assert done.returncode == 2
    assert done.stderr.decode() == "cae-run: --page cleans nothing: remove SOURCE and -o\n"
