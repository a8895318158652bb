"""The same engine, blocking, for scripts and notebooks.

>>> import cascade.sync
>>> with cascade.sync.Cascade.from_yaml("configs/recorded.yaml") as ladder:  # doctest: +SKIP
...     print(ladder.ask("What is the capital of France?").text)
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .engine import Cascade as AsyncCascade
from .errors import EngineClosed
from .events import Event, TextDelta
from .intake import Prompt
from .streaming import AnswerStream as AsyncAnswerStream
from .types import OneOfMany, Result

__all__ = ["AnswerStream", "Cascade", "ask", "ask_many", "stream"]


class Cascade:
    """A blocking front to an engine that runs in a thread of its own; safe to share between threads.

    Args:
        engine: The engine to run; it is opened and closed by ``with``.
    """

    def __init__(self, engine: AsyncCascade) -> None:
        self._engine = engine
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> Self:
        """Return a blocking engine as the ladder file describes it.

        Raises:
            LadderError: The file has mistakes.
        """
        return cls(AsyncCascade.from_yaml(path, **overrides))

    def __enter__(self) -> Self:
        try:
            portal = self._stack.enter_context(start_blocking_portal())
            self._stack.enter_context(portal.wrap_async_context_manager(self._engine))
        except BaseException:  # the thread would otherwise keep the program from ending
            self._stack.close()
            raise
        self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the engine and its thread. Calling it twice is harmless."""
        self._portal = None
        self._stack.close()

    def ask(self, prompt: Prompt, **options: Any) -> Result:
        """Return the ladder's answer; the options and errors are those of `cascade.Cascade.ask`."""
        if self._portal is None:
            raise EngineClosed("the engine is not open; use `with Cascade(...) as ladder:`")
        result: Result = self._portal.call(partial(self._engine.ask, prompt, **options))
        return result

    @contextmanager
    def stream(self, prompt: Prompt, **options: Any) -> Iterator[AnswerStream]:
        """Ask, and read the answer while it comes about; see `cascade.Cascade.stream`.

        Yields:
            The events: a blocking iterator with `result` after its end.
        """
        if self._portal is None:
            raise EngineClosed("the engine is not open; use `with Cascade(...) as ladder:`")
        stream = self._engine.stream(prompt, **options)
        with self._portal.wrap_async_context_manager(stream) as events:
            yield AnswerStream(events, self._portal)

    def ask_many(self, questions: Sequence[str], **options: Any) -> list[OneOfMany]:
        """Return one result a question; options and errors are those of `cascade.Cascade.ask_many`."""
        if self._portal is None:
            raise EngineClosed("the engine is not open; use `with Cascade(...) as ladder:`")
        results: list[OneOfMany] = self._portal.call(
            partial(self._engine.ask_many, questions, **options)
        )
        return results


class AnswerStream:
    """The events of one streamed ask, blocking; see `cascade.AnswerStream`."""

    def __init__(self, events: AsyncAnswerStream, portal: BlockingPortal) -> None:
        self._events = events
        self._portal = portal

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return self._portal.call(self._events.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def texts(self) -> Iterator[str]:
        """Yield the pieces of the answer's text alone, to the end of the stream."""
        return (event.text for event in self if isinstance(event, TextDelta))

    @property
    def id(self) -> str:
        """Id of the ask, as in the decision log."""
        return self._events.id

    @property
    def result(self) -> Result:
        """What `ask` would have returned; raises a RuntimeError before the end."""
        return self._events.result


_lock = threading.Lock()
_default: Cascade | None = None


def _forget_after_fork() -> None:
    """A forked child has no thread of the parent's: it builds an engine of its own."""
    global _default, _lock
    _lock = threading.Lock()
    _default = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def ask(prompt: Prompt, **options: Any) -> Result:
    """Ask the default ladder (``$CASCADE_CONFIG``, or ``./cascade.yaml``) and wait for the answer.

    The engine is built at the first call and closed when the program ends.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    return _opened_default().ask(prompt, **options)


def ask_many(questions: Sequence[str], **options: Any) -> list[OneOfMany]:
    """Ask the default ladder several questions and wait for all; see `cascade.Cascade.ask_many`.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    return _opened_default().ask_many(questions, **options)


@contextmanager
def stream(prompt: Prompt, **options: Any) -> Iterator[AnswerStream]:
    """Ask the default ladder as `ask` does, and read the answer while it comes about.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    with _opened_default().stream(prompt, **options) as events:
        yield events


def _opened_default() -> Cascade:
    """Return the engine of the default ladder, built and opened at the first call."""
    global _default
    with _lock:
        if _default is None:
            from .build import default_config_path

            engine = Cascade.from_yaml(default_config_path())
            engine.__enter__()
            atexit.register(engine.close)  # so that the log is on disk when the script ends
            _default = engine
    return _default
