"""A model file opened for inference: what it says of itself, held against what it is."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_whole
from cae_runtime.errors import ArgumentTypeError, ModelError, ProviderError, UsageError
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.cpu_limits import usable_cpus
from cae_runtime.inference.forks import renew_after_fork
from cae_runtime.inference.model_checks import INPUT, OUTPUT, checked_spec, refuse_damaged, refuse_not_finite
from cae_runtime.inference.model_files import DEFAULT_MODEL, find_model, read_model
from cae_runtime.inference.providers import AUTO, CPU, by_full_name, parse_provider

_PROBED_MAX: Final = 256  # side of patches that are run once when a model is opened
_of_parents: Final[list[engine.InferenceSession]] = []  # sessions that were open when this process was forked


class Session:
    """A model on an execution provider.

    `with Session(...) as session` closes it at the end. A forked child opens the model anew when it first runs it.

    Args:
        model: the name of a packaged model, the path of a file that `cae-export` wrote, or the bytes of such a file.
        provider: `auto`, `cpu`, `cuda`, `cuda:1`, `openvino`, ... or a full onnxruntime name. One that is named is
            strict: it runs the whole model or it is an error.
        threads: number of `workers` on the CPU provider; None takes all the CPUs that this process may use.

    Attributes:
        name: the model as it was named, or `<bytes>` for a model that was given as bytes.
        path: the model's file, or `<bytes>`.
        spec: what the file says about itself.
        provider: full name of the onnxruntime provider in use.
        provider_note: one line: which provider is in use, and why.
        workers: calls of `run` at once, each from a thread of its own, that make full use of the provider. On the CPU
            a call uses one thread: batches side by side scale better than threads inside each small operator.
        code_shape: of tasks `encode` and `generate`: the shape of one code, such as (128, 4, 4) or (32,).
        fixed_batch: whether calls should all have batches of one size, as a GPU plans anew for each.

    Raises:
        ModelError: the file is missing, not ONNX, without our metadata, or contradicts its metadata; or its weights
            hold NaN or infinity.
        ProviderError: the provider that was named is not there, did not start, or would leave a part of the model to
            the CPU.
        UsageError: `provider` is no provider's name, or `threads` is below 1; an `ArgumentTypeError`, which is a
            TypeError too, where one of the arguments has another type than listed.
    """

    def __init__(
        self, model: str | os.PathLike[str] | bytes = DEFAULT_MODEL, *, provider: str = AUTO, threads: int | None = None
    ) -> None:
        choice = parse_provider(provider)
        if threads is not None:
            threads = checked_whole("threads", threads, 1, unless="None for all CPUs of this process")
        if choice is not None:
            engine.require_available(choice.provider)
        self._content = model if isinstance(model, bytes) else None
        self.name = "<bytes>" if isinstance(model, bytes) else str(model)
        self.path = Path(self.name) if isinstance(model, bytes) else find_model(model)
        self._choice, self._threads = choice, threads
        self._absolute = self.path.absolute()  # a forked child may work in another folder
        self._session: engine.InferenceSession | None
        self._session, self.provider_note = self._start(self.path)
        self.provider: str = self._session.get_providers()[0]
        self.workers = (threads or usable_cpus()) if self.provider == CPU else by_full_name(self.provider).calls
        self.fixed_batch = self.provider != CPU
        self.spec = checked_spec(self.path, self._session)
        task, patch = self.spec.task, self.spec.patch
        side = self._session.get_inputs() if task == "generate" else self._session.get_outputs()
        self.code_shape: tuple[int, ...] = tuple(side[0].shape[1:]) if task in ("encode", "generate") else ()
        self._takes = self.code_shape if task == "generate" else self.spec.shape(1)[1:]
        self._gives = {"encode": self.code_shape, "anomaly": (1, patch, patch)}.get(task, self.spec.shape(1)[1:])
        self._feed = INPUT[self.spec.task]
        self._fetch = [OUTPUT[self.spec.task]]
        self._dtype = np.dtype(self.spec.dtype)
        self._closed = False
        self._reopening = threading.Lock()
        renew_after_fork(self)
        if task == "restore" and self.provider == CPU and patch <= _PROBED_MAX:
            refuse_damaged(self.path, self._session, self.spec)

    @property
    def provider_was_chosen(self) -> bool:
        """Whether `auto` had more than one provider to choose from, so that its choice is worth a line."""
        return self._choice is None and not self.provider_note.endswith(engine.ONLY_ONE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory back; running it afterwards is a `UsageError`."""
        self._closed, self._session = True, None

    def after_fork(self) -> None:
        """Leave what the parent has opened undestroyed: locks may be held, and its threads are not in this process."""
        if self._session is not None:
            _of_parents.append(self._session)
        self._session, self._reopening = None, threading.Lock()

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model on a batch; on the CPU in the calling thread alone. `workers` threads may call it at once.

        Args:
            patches: float32, values in 0..1, shape (N, C, P, P), or (N, P, P, C) where the model's layout is `nhwc`; N
                from 1 on. For task `generate` codes, shape (N, *code_shape).

        Returns:
            The model's output as float32: of the same shape for task `restore`, (N, *code_shape) for `encode`,
            (N, 1, P, P) for `anomaly`, (N, C, P, P) for `generate`.

        Raises:
            ModelError: the output has another shape than the model's file says.
            ProviderError: the provider failed while running, for example for lack of memory.
            UsageError: `patches` is no array of floats (then also a TypeError), has another shape, or the session was
                closed.
        """
        self._check_batch(patches)
        session = self._session or self._reopened()
        try:
            (output,) = session.run(self._fetch, {self._feed: patches.astype(self._dtype, copy=False)})
        except Exception as e:  # onnxruntime's exceptions share no base below Exception
            raise ProviderError(
                f"{self.provider} failed on a batch of shape {patches.shape}: {engine.reason(e)}"
            ) from e
        result: NDArray[np.float32] = np.asarray(output).astype(np.float32, copy=False)
        wanted = (len(patches), *self._gives)
        if result.shape != wanted:
            given = f"{'codes' if self.spec.task == 'generate' else 'patches'} of {patches.shape}"
            raise ModelError(
                f"model {str(self.path)!r} gives shape {result.shape} for {given}: task {self.spec.task} needs {wanted}"
            )
        return result

    def _check_batch(self, patches: Any) -> None:
        if not isinstance(patches, np.ndarray) or patches.dtype.kind != "f":
            given = f"of {patches.dtype}" if isinstance(patches, np.ndarray) else f"a {type(patches).__name__}"
            raise ArgumentTypeError(f"the batch is {given}: it must be a NumPy array of float32")
        if patches.shape[1:] != self._takes or not len(patches):
            wanted = ", ".join(map(str, self._takes))
            raise UsageError(
                f"the batch has shape {patches.shape}: model {str(self.path)!r} takes (N, {wanted}), N from 1 on"
            )

    def _start(self, path: Path) -> tuple[engine.InferenceSession, str]:
        """Start the model, and say in one line where and why."""
        choice = self._choice
        data = read_model(path) if self._content is None else self._content
        if choice is None:
            session, note = engine.start_best(path, data, self._threads)
        else:
            session = engine.start(path, data, self._threads, choice, strict=True)
            note = f"{choice.provider.full}{engine.on_device(choice)}: as asked"
        refuse_not_finite(path, data)
        return session, note

    def _reopened(self) -> engine.InferenceSession:
        """Start the model again, in a process that was forked.

        Raises:
            ModelError: the file is no longer what it was.
            ProviderError: the provider does not start in a forked process, as CUDA does not.
            UsageError: the session was closed.
        """
        with self._reopening:
            if self._closed:
                raise UsageError(f"model {str(self.path)!r} was closed: open it anew to use it again")
            if self._session is None:
                try:
                    session, _ = self._start(self._absolute)
                except ProviderError as e:
                    raise _not_after_fork(self.provider, str(e)) from e
                if session.get_providers()[0] != self.provider:
                    raise _not_after_fork(self.provider, f"onnxruntime took {session.get_providers()[0]}")
                if checked_spec(self.path, session) != self.spec:
                    raise ModelError(f"model {str(self.path)!r} was replaced since it was opened: open it anew")
                self._session = session
            return self._session


def _not_after_fork(provider: str, why: str) -> ProviderError:
    return ProviderError(
        f"{provider} does not start in a process that was forked after it was in use: open the model in the child, or "
        f"start processes by 'spawn' ({why})"
    )


def open_for(
    task: str, model: str | os.PathLike[str] | Session, provider: str = AUTO, threads: int | None = None
) -> Session:
    """Return a session of a model that is made for a task; one that is open already is taken as it is.

    Raises:
        ModelError: the model is made for another task.
        CaeRuntimeError: as `Session` raises it.
    """
    session = model if isinstance(model, Session) else Session(model, provider=provider, threads=threads)
    if session.spec.task != task:
        raise ModelError(f"model {str(session.path)!r} is made for task {session.spec.task!r}: {task!r} is needed here")
    return session
