"""A model file opened for inference; its metadata is checked against the graph."""

from __future__ import annotations

import copy
import logging
import operator
import os
import threading
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_whole
from cae_runtime.errors import ArgumentTypeError, ModelError, ProviderError, UsageError
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.cpu_limits import THREADS_MAX, usable_cpus
from cae_runtime.inference.forks import renew_after_fork
from cae_runtime.inference.model_checks import (
    checked_spec,
    graph_batch,
    refuse_damaged,
)
from cae_runtime.inference.model_files import DEFAULT_MODEL, find_model, packaged_models, read_model, refuse_large
from cae_runtime.inference.model_spec import RESTORING
from cae_runtime.inference.providers import AUTO, CPU, by_full_name, parse_provider
from cae_runtime.inference.untrusted.refusals import refuse_not_finite, refuse_unsafe

_log = logging.getLogger(__name__)

_PROBED_MAX: Final = 256  # largest side of patches that are run once when a model is opened
_of_parents: Final[list[engine.InferenceSession]] = []  # sessions that were open when this process was forked


class Session:
    """An open model on an execution provider.

    `with Session(...) as session` closes it at the end. A forked child process reopens the model on first use. A copy
    and a pickle hold the name or the bytes of the model and the arguments: they open it anew.

    Args:
        model: the name of a packaged model, the path of a file that `cae-export` wrote, or the bytes of such a file.
        provider: `auto`, `cpu`, `cuda`, `cuda:1`, `openvino`, ... or a full onnxruntime name. A named provider must run
            the whole model, otherwise an error is raised.
        threads: number of `workers` on the CPU provider; None: one for each CPU that this process may use.

    Attributes:
        name: the model as it was named, or `<bytes>` for a model that was given as bytes.
        path: the model's file, or `<bytes>`.
        spec: the metadata of the file.
        provider: full name of the onnxruntime provider in use.
        provider_note: one line: which provider is in use, and why.
        workers: how many threads should call `run` at once to use the provider fully. On the CPU a call uses one
            thread: parallel batches scale better than threads inside each small operator.
        code_shape: for tasks `encode` and `generate`: the shape of one code, such as (128, 4, 4) or (32,).
        batch: how many patches a call of the graph takes; None for any number. `run` takes any number in both cases.
        steady_batch: whether all calls should take the same number of patches, whatever the graph allows: true on a
            GPU, which prepares each number separately.

    Raises:
        ModelError: the file is missing, not ONNX, without our metadata, or contradicts its metadata; or its weights
            hold NaN or infinity.
        ProviderError: the named provider is not available, did not start, or would leave a part of the model to the
            CPU.
        UsageError: `provider` is not the name of a provider, or `threads` is not 1..4096; an `ArgumentTypeError` (also
            a TypeError) if an argument has the wrong type.
    """

    def __init__(
        self, model: str | os.PathLike[str] | bytes = DEFAULT_MODEL, *, provider: str = AUTO, threads: int | None = None
    ) -> None:
        choice = parse_provider(provider)
        if threads is not None:
            threads = checked_whole("threads", threads, 1, THREADS_MAX, unless="None for all CPUs of this process")
        if choice is not None:
            engine.require_available(choice.provider)
        self._content = model if isinstance(model, bytes) else None
        self.name = "<bytes>" if isinstance(model, bytes) else str(model)
        self.path = Path(self.name) if isinstance(model, bytes) else find_model(model)
        self._choice, self._threads, self._asked = choice, threads, provider
        self._absolute = self.path.absolute()  # a forked child may have another working folder
        self._session: engine.InferenceSession | None
        self._session, self.provider_note = self._start(self.path)
        self.provider: str = self._session.get_providers()[0]
        self.workers = (threads or usable_cpus()) if self.provider == CPU else by_full_name(self.provider).calls
        self.steady_batch = self.provider != CPU
        self.spec = checked_spec(self.path, self._session)
        task, patch = self.spec.task, self.spec.patch
        side = self._session.get_inputs() if task == "generate" else self._session.get_outputs()
        self.code_shape: tuple[int, ...] = tuple(side[0].shape[1:]) if task in ("encode", "generate") else ()
        self._takes = self.code_shape if task == "generate" else self.spec.shape(1)[1:]
        self._gives = {"encode": self.code_shape, "anomaly": (1, patch, patch)}.get(task, self.spec.shape(1)[1:])
        self.batch = graph_batch(self._session)
        self._feed = self._session.get_inputs()[0].name
        self._fetch = [self._session.get_outputs()[0].name]
        self._dtype = np.dtype(self.spec.dtype)
        _log.debug("opened %s (%s, task %s) on %s", self.path, self.spec.architecture, task, self.provider)
        self._closed = self._has_run = False
        self._reopening = threading.Lock()
        renew_after_fork(self)
        if task in RESTORING and self.provider == CPU and patch <= _PROBED_MAX:
            refuse_damaged(self.path, self.run, self.spec)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def provider_was_chosen(self) -> bool:
        """Whether `auto` had more than one provider to choose from, so that its choice should be reported."""
        return self._choice is None and not self.provider_note.endswith(engine.ONLY_ONE)

    def __repr__(self) -> str:
        return f"Session({described(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._closed:
            raise UsageError(f"model {str(self.path)!r} was closed: it can be neither copied nor pickled")
        packaged = packaged_models().get(self.name) == self.path
        model = self._content if self._content is not None else self.name if packaged else str(self._absolute)
        return _opened_anew, (type(self), model, self.name, self._asked, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def opened_alike(self, model: str | os.PathLike[str]) -> Session:
        """Return another model, opened with this one's `provider` and `threads`."""
        return Session(model, provider=self._asked, threads=self._threads)

    def close(self) -> None:
        """Release the model's memory; later runs raise `UsageError`."""
        self._closed, self._session = True, None

    def after_fork(self) -> None:
        """Do not destroy what the parent opened: locks may be held, and its threads do not exist in this process."""
        if self._session is not None:
            _of_parents.append(self._session)
        self._session, self._reopening = None, threading.Lock()

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model on a batch; on the CPU only in the calling thread. `workers` threads may call it at once.

        Args:
            patches: float32, values in 0..1, shape (N, C, P, P), or (N, P, P, C) if the model's layout is `nhwc`; N is
                1 or more. For task `generate`, codes of shape (N, *code_shape).

        Returns:
            The model's output as float32: the same shape for task `restore`, (N, *code_shape) for `encode`,
            (N, 1, P, P) for `anomaly`, (N, C, P, P) for `generate`.

        Raises:
            ModelError: the output does not have the shape that the metadata says, or the model fails on the CPU on any
                input.
            ProviderError: the provider failed while running, for example for lack of memory.
            UsageError: `patches` is not an array of float32 (then also a TypeError), has another shape, or the session
                was closed.
        """
        self._check_batch(patches)
        session, batch = self._session or self._reopened(), self.batch
        if batch is None or len(patches) == batch:
            return self._run(session, patches)
        results = []
        for first in range(0, len(patches), batch):
            part = patches[first : first + batch]
            missing = batch - len(part)
            filled = np.pad(part, [(0, missing), *[(0, 0)] * (part.ndim - 1)]) if missing else part
            results.append(self._run(session, filled)[: len(part)])
        return np.concatenate(results)

    def _run(self, session: engine.InferenceSession, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Call the graph once."""
        try:
            (output,) = session.run(self._fetch, {self._feed: patches.astype(self._dtype, copy=False)})
        except Exception as e:  # onnxruntime's exceptions have no common base class
            if not self._has_run:  # one that has is not to blame: other threads may use the memory
                self._refuse_unusable(session)
            raise ProviderError(
                f"{self.provider} failed on a batch of shape {patches.shape}: {engine.reason(e)}"
            ) from e
        self._has_run = True
        result: NDArray[np.float32] = np.asarray(output).astype(np.float32, copy=False)
        wanted = (len(patches), *self._gives)
        if result.shape != wanted:
            given = f"{'codes' if self.spec.task == 'generate' else 'patches'} of {patches.shape}"
            raise ModelError(
                f"model {str(self.path)!r} gives shape {result.shape} for {given}: task {self.spec.task} needs {wanted}"
            )
        return result

    def _refuse_unusable(self, session: engine.InferenceSession) -> None:
        """Refuse a model that fails on the CPU whatever the picture: also on the smallest batch, of zeros."""
        if self.provider != CPU:
            return
        try:
            session.run(self._fetch, {self._feed: np.zeros((self.batch or 1, *self._takes), self._dtype)})
        except Exception as e:  # as above
            raise engine.cannot_be_run(self.path, e) from e

    def _check_batch(self, patches: Any) -> None:
        if not isinstance(patches, np.ndarray) or patches.dtype != np.float32:
            given = f"of {patches.dtype}" if isinstance(patches, np.ndarray) else f"a {type(patches).__name__}"
            raise ArgumentTypeError(f"the batch is {given}: it must be a NumPy array of float32")
        if patches.shape[1:] != self._takes or not len(patches):
            wanted = ", ".join(map(str, self._takes))
            raise UsageError(
                f"the batch has shape {patches.shape}: model {str(self.path)!r} takes (N, {wanted}), N from 1 on"
            )

    def _start(self, path: Path) -> tuple[engine.InferenceSession, str]:
        """Start the model; the note says in one line where it runs and why."""
        choice = self._choice
        data = read_model(path) if self._content is None else self._content
        refuse_large(path, len(data))
        refuse_unsafe(path, data)
        if choice is None:
            session, note = engine.start_best(path, data, self._threads)
        else:
            session = engine.start(path, data, self._threads, choice, strict=True)
            note = f"{choice.provider.full}{engine.on_device(choice)}: as asked"
        refuse_not_finite(path, data)
        return session, note

    def check_open(self) -> None:
        """Raise UsageError if the session was closed."""
        if self._closed:
            raise UsageError(f"model {str(self.path)!r} was closed: open it again to use it again")

    def _reopened(self) -> engine.InferenceSession:
        """Start the model again in a forked process.

        Raises:
            ModelError: the file has changed.
            ProviderError: the provider does not start in a forked process (CUDA does not).
        """
        with self._reopening:
            self.check_open()
            if self._session is None:
                try:
                    session, _ = self._start(self._absolute)
                except ProviderError as e:
                    raise _not_after_fork(self.provider, str(e)) from e
                if session.get_providers()[0] != self.provider:
                    raise _not_after_fork(self.provider, f"onnxruntime took {session.get_providers()[0]}")
                if checked_spec(self.path, session) != self.spec:
                    raise ModelError(f"model {str(self.path)!r} was replaced since it was opened: open it again")
                self._session = session
            return self._session


class OnSession:
    """Base of the classes that work with an open session: `repr` names it, a copy opens it anew, as a pickle does."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({described(operator.attrgetter('session')(self))})"

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._own_all()

    def _own_all(self) -> None:
        """Let `close` close session and threads: those of a copy are its own, whoever opened the original's."""
        self._own = True


def described(session: Session) -> str:
    """Return the model of a session, where it runs, the side of its patches, and its threads."""
    return (
        f"{session.name!r}, provider={session.provider!r}, patch={session.spec.patch}, threads={session.workers}"
        f"{', closed' * session.closed}"
    )


def _opened_anew(cls: type[Session], model: str | bytes, name: str, provider: str, threads: int | None) -> Session:
    session = cls(model, provider=provider, threads=threads)
    session.name = name
    return session


def _not_after_fork(provider: str, why: str) -> ProviderError:
    return ProviderError(
        f"{provider} does not start in a process that was forked after it was in use: open the model in the child, or "
        f"start processes by 'spawn' ({why})"
    )
