"""The same engine, blocking, for scripts and notebooks.

>>> import cascade.sync
>>> with cascade.sync.Cascade.from_yaml("configs/recorded.yaml") as ladder:  # doctest: +SKIP
...     print(ladder.ask("What is the capital of France?").text)
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .engine import Cascade as AsyncCascade
from .errors import EngineClosed
from .intake import Prompt
from .types import Result

__all__ = ["Cascade", "ask"]


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
    global _default
    with _lock:
        if _default is None:
            from .build import default_config_path

            engine = Cascade.from_yaml(default_config_path())
            engine.__enter__()
            atexit.register(engine.close)  # so that the log is on disk when the script ends
            _default = engine
    return _default.ask(prompt, **options)
