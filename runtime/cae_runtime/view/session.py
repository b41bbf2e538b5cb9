"""A run of the window for pictures: switches between pictures and models, and saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cae_runtime.errors import ModelError, ProviderError
from cae_runtime.inference.model_files import DEFAULT_MODEL, packaged_models
from cae_runtime.jobs.planning import Job
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.places.address import local_path
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer
from cae_runtime.view.background import Background
from cae_runtime.view.saver import Saver
from cae_runtime.view.viewer import PictureState, PictureViewer

_POLL: Final = 0.01  # seconds between looks at the window


@dataclass(frozen=True)
class ViewSettings:
    """The settings of a run.

    Attributes:
        sources: images and folders.
        output: where pictures are saved, like `-o` of `cae-run`; None: saving is off.
        model: the first model, a name or a file.
        open_model: opens a model by its name or file.
        options: how pictures are written.
        in_words: makes options of the names of arguments in a text, as `tell` does.
    """

    sources: tuple[Path, ...]
    output: str | None
    model: str
    open_model: Callable[[str], Restorer]
    options: RestoreOptions
    in_words: Callable[[str], str]


class PictureSession:
    """A run of the window.

    Args:
        settings: the settings of the run.
        jobs: the pictures, at least one.
        restorer: the first model.
        parts: the state of the view, the window, and the background thread that cleans.
        tell: called with each message for the user.

    Attributes:
        failed: whether a picture could not be read or saved.
    """

    def __init__(
        self,
        settings: ViewSettings,
        jobs: Sequence[Job],
        restorer: Restorer,
        parts: tuple[PictureState, PictureViewer, Background],
        tell: Callable[[str], None],
    ) -> None:
        self._settings, self._jobs, self._restorer, self._tell = settings, jobs, restorer, tell
        self._view, self._viewer, self._background = parts
        self._saver = Saver(settings.options)
        self._model = settings.model
        self._models = list(dict.fromkeys([
            *(name for name in packaged_models() if name.startswith(DEFAULT_MODEL)), settings.model,
        ]))  # fmt: skip
        self._number = 0
        self._unreadable: set[Job] = set()
        self._noted: set[tuple[Job, Note]] = set()
        self._goes_on = True

    @property
    def failed(self) -> bool:
        """Whether a picture could not be read or saved."""
        return bool(self._unreadable) or self._saver.failed

    def run(self) -> None:
        """Show pictures until the window is closed."""
        self._open()
        while self._goes_on:
            for command in self._viewer.commands():
                self._obey(command)
            self._hear()
            self._viewer.say(*(list(map(self._settings.in_words, each)) for each in (self._lines(), self._notes())))
            self._background.want(self._viewer.wanted())
            self._viewer.refresh()
            time.sleep(_POLL)

    def close(self) -> None:
        """End the threads; a picture that is being saved is finished first."""
        if self._saver.busy:
            self._tell("the picture that is being saved is finished first")
        self._saver.close()
        self._hear()

    @property
    def _job(self) -> Job:
        return self._jobs[self._number]

    def _open(self) -> None:
        self._background.open(local_path(self._job.source, "source"), self._restorer)

    def _obey(self, command: str) -> None:
        if command == "end":
            self._goes_on = False
        elif command in ("next", "previous"):
            self._number = (self._number + (1 if command == "next" else -1)) % len(self._jobs)
            self._viewer.opened()
            self._open()
        elif command == "model":
            self._next_model()
        elif self._settings.output is None:
            self._view.message = "nothing can be saved: no output folder was named at the start"
        else:
            options = replace(self._settings.options, strength=self._view.strengths)
            jobs = self._jobs if command == "save all" else [self._job]
            self._view.message = f"saving {jobs[0].output if len(jobs) == 1 else f'{len(jobs)} pictures'}"
            self._saver.save(jobs, self._restorer, options)

    def _next_model(self) -> None:
        name = self._models[(self._models.index(self._model) + 1) % len(self._models)]
        try:
            self._restorer = self._settings.open_model(name)  # pictures that are being saved keep the old one
        except (ModelError, ProviderError) as e:
            self._say(str(e))
            return
        self._model = name
        self._view.message = f"model {name}"
        self._open()

    def _hear(self) -> None:
        """Pass on the messages of the threads."""
        for message in self._saver.messages():
            self._say(message)
        if self._background.failed and self._job not in self._unreadable:
            self._unreadable.add(self._job)
            self._tell(f"{str(self._job.source)!r} {self._background.failed}")

    def _say(self, message: str) -> None:
        self._view.message = self._settings.in_words(message)
        self._tell(message)

    def _notes(self) -> list[str]:
        """Return the notes on the picture, each only once."""
        notes = self._background.notes
        for note in notes:
            if (self._job, note) not in self._noted:
                self._noted.add((self._job, note))
                self._tell(f"note: {str(self._job.source)!r}: {note.text}")
        return [f"note: {note.text}" for note in notes]

    def _lines(self) -> list[str]:
        background = self._background
        lines = [f"{self._job.source.name}   {self._number + 1} of {len(self._jobs)}"]
        if background.failed:
            return [*lines, background.failed]
        full = background.full
        if full is None:
            return [*lines, "reading ..."]
        state = "" if full.complete else f"   {full.share:.0%}".replace("%", " % cleaned")
        width, height = full.size
        return [*lines, f"{width}x{height}   {self._viewer.zoom}   {Path(self._model).stem}{state}"]
