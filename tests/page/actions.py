"""What a person does on the page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.page.conftest import SOURCES

LONG = 120_000  # milliseconds; a busy machine takes its time

_DROP = """([name, type, content]) => {
    const file = new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, { type });
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(file);
    const stage = document.querySelector("#stage");
    for (const kind of ["dragenter", "dragover", "drop"])
        stage.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""
_PASTE = _DROP.replace("dataTransfer", "clipboardData").split("const stage")[0] + (
    'document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true })); }'
)

_HOLD_BACK = """
window.holdBack = [() => false, () => false];
window.heldBack = [];
const way = (index, data, go, worker) => holdBack[index](data, worker) ? heldBack.push(go) : go();
window.Worker = class extends Worker {
    constructor(address, options) { super(address, options); this.address = address; }
    postMessage(data, transfer) { way(1, data, () => super.postMessage(data, transfer), this.address); }
    set onmessage(heard) { super.onmessage = event => way(0, event.data, () => heard(event), this.address); }
};
"""


def give(page: Any, *files: Path) -> None:
    """Choose files."""
    page.set_input_files("#files", [str(file) for file in files])


def drop(page: Any, file: Path) -> None:
    """Drop a PNG file."""
    page.evaluate(_DROP, [file.name, "image/png", base64.b64encode(file.read_bytes()).decode()])


def paste(page: Any, file: Path) -> None:
    """Paste a PNG file."""
    page.evaluate(_PASTE, [file.name, "image/png", base64.b64encode(file.read_bytes()).decode()])


def hold_back(page: Any, answers: str = "", calls: str = "") -> None:
    """Open the page anew; what fits these JavaScript conditions waits on its way from and to workers."""
    page.add_init_script(_HOLD_BACK)
    page.reload()
    hold_back_now(page, answers, calls)


def hold_back_now(page: Any, answers: str = "", calls: str = "") -> None:
    """Hold back other things, after `hold_back`; the conditions are on `data` and the address of the `worker`."""
    functions = [f"(data, worker) => {condition or 'false'}" for condition in (answers, calls)]
    page.evaluate(f"() => {{ holdBack = [{', '.join(functions)}]; }}")


def let_go(page: Any) -> None:
    """Wait until something is held back; let it go, and hold nothing back any more."""
    page.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    hold_back_now(page)
    page.evaluate("() => heldBack.splice(0).forEach(go => go())")


def message(page: Any) -> str:
    """What the page says last."""
    text: str = page.inner_text("#status")
    return text


def wait_until_done(page: Any, count: int, limit: int = LONG) -> None:
    """Wait until so many pictures are cleaned, and the one that is chosen is shown."""
    page.wait_for_function(
        "count => document.querySelectorAll('.item[data-state=done]').length === count", arg=count, timeout=limit
    )
    page.wait_for_selector("#stage.compares", timeout=LONG)


def saved(page: Any, button: str = "#save") -> tuple[str, bytes]:
    """Save, and return the file's name and its content."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def violations(page: Any) -> list[str]:
    """What axe finds wrong, and where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate((SOURCES / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']]}" for rule in found]
