"""What the engine needs from outside, as Protocols of a few methods.

Anything with these methods fits: a wrapper that retries, a double in a test, a user's own class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from .types import (
    Answer,
    Attempt,
    CacheEntry,
    CallContext,
    Chunk,
    Compressed,
    ModelCall,
    Request,
    Score,
)

__all__ = [
    "Cache",
    "Client",
    "Clock",
    "Compressor",
    "Listener",
    "Observer",
    "PrefixScorer",
    "Scorer",
    "Sink",
    "Tracer",
]


@runtime_checkable
class Client(Protocol):
    """Performs calls to one provider.

    One with an attribute `keeps_deadlines` that is true ends each call by itself at
    `call.context.deadline`, in `ProviderTimeout`, and ends what is in flight when it is closed: the
    engine then need not watch over it, which would cost every ask 7 µs.

    A call with a `listener` may be told to it chunk by chunk while it is answered; see `Listener`. A
    client that knows nothing of listeners returns the whole answer, which is then passed on as a whole.
    """

    async def complete(self, call: ModelCall) -> Answer:
        """Return the model's answer.

        Raises:
            ProviderError: The call failed; the class says how.
        """

    async def aclose(self) -> None:
        """Release connections. Calling it twice is harmless."""


@runtime_checkable
class Listener(Protocol):
    """Is told of an answer while it is written.

    Whoever repeats calls or spreads them over deployments leaves the listener in the call, and repeats
    it only while `may_repeat`: what has been passed on to the asker cannot be taken back.
    """

    @property
    def may_repeat(self) -> bool:
        """Whether another answer may take the place of what has come so far."""

    def begin(self) -> None:
        """Note that a response begins: what an earlier one said is void.

        Raises:
            BadResponse: Too late, the asker has had a part of the earlier one.
        """

    async def take(self, chunk: Chunk) -> bool:
        """Take what has come; return whether more is wanted.

        If not, the client closes the connection at once and returns what has come as the answer, with
        the usage it can tell or estimate (`Usage.estimated`).
        """


@runtime_checkable
class PrefixScorer(Protocol):
    """Says how likely an answer will be right of which only the beginning is known."""

    @property
    def version(self) -> str:
        """Name and version, as the decision log states it."""

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        """Return the confidence that the whole answer will be right.

        Args:
            request: What is asked.
            attempts: What was answered before, by other rungs.
            prefix: What has come so far: text, tool calls and log-probabilities; no finish reason.
            rung: Index of the rung that is answering.
            tokens: Tokens that have come.
        """


@runtime_checkable
class Cache(Protocol):
    """Keeps answers. Nothing that goes wrong in it is an ask's business: it misses, counts and says so.

    What it returns is never of another key, never torn, and never past its time.
    """

    def start(self) -> None:
        """Open what is kept; called once, when the engine is entered.

        Raises:
            ConfigError: It cannot be used at all; the message says what to change.
        """

    async def get(self, key: str) -> CacheEntry | None:
        """Return the entry, or None: not there, past its time, unreadable, or the store is gone."""

    async def put(self, entry: CacheEntry) -> bool:
        """Keep an entry in the place of any with its key; return whether it is kept."""

    async def remove(self, keys: Iterable[str]) -> int:
        """Drop entries; return how many there were."""

    def entries(self) -> AsyncIterator[CacheEntry]:
        """Yield what is kept, in no order; what is added or dropped meanwhile may be missed."""

    def stats(self) -> Mapping[str, int]:
        """Return counters by name: entries, bytes, hits, misses, evictions, failures, …"""

    async def aclose(self) -> None:
        """Write what is to be written, and release the store. Calling it twice is harmless."""


@runtime_checkable
class Scorer(Protocol):
    """Says how likely an answer is right.

    One with an attribute `is_immediate` that is true waits for nothing, and needs no watching over.
    """

    @property
    def version(self) -> str:
        """Name and version, as the decision log states it."""

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the confidence in the newest attempt's answer, given all that was answered before.

        With no attempts yet, only `Score.forecast` is meant. An absent log-probability is absent:
        with nothing to measure the confidence is None, with the reason.
        """


@runtime_checkable
class Compressor(Protocol):
    """Makes a request shorter without touching what must not change."""

    @property
    def version(self) -> str:
        """Changes whenever what it makes of a request may change; part of the ladder's version."""

    def compress(
        self,
        request: Request,
        *,
        question: str | None = None,
        budget: int | None = None,
        model: str = "",
        keep_prefix: int = 0,
        tenant: str | None = None,
    ) -> Compressed:
        """Return the request to send in the place of `request`.

        Args:
            request: What was asked.
            question: What is to be answered; None: it is looked for in the last user message.
            budget: Most tokens of text wanted; None: what is set in the stages.
            model: Name of the model, for counting tokens.
            keep_prefix: Characters of its texts, from the first on, that must stay as they are, as a
                provider has them in its prompt cache.
            tenant: Whose prompt it is, or None.

        Raises:
            RequestError: The budget cannot be met, and it is set to be refused then.
        """


@runtime_checkable
class Sink(Protocol):
    """Takes decision records."""

    def start(self) -> None:
        """Open what is written to; called once, when the engine is entered.

        Raises:
            LogError: It cannot be written.
        """

    async def write(self, record: Mapping[str, Any]) -> None:
        """Take one record, waiting no longer than the sink states."""

    def write_nowait(self, record: Mapping[str, Any]) -> None:
        """Take one record without waiting: the ask it is about has been cancelled."""

    def close(self) -> None:
        """Write all that was taken, and release it. Calling it twice is harmless."""


@runtime_checkable
class Clock(Protocol):
    """Tells the time; injected, so that tests need not wait."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for durations."""

    def now_iso(self) -> str:
        """The wall clock in UTC, as ISO 8601 with milliseconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@runtime_checkable
class Observer(Protocol):
    """Is told of every finished ask; must be quick and must not raise."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Take the decision record of an ask that has just ended."""


@runtime_checkable
class Tracer(Protocol):
    """Follows asks while they run; must be quick and must not raise."""

    def ask(
        self, id: str, ladder: str, request: Request, context: CallContext
    ) -> AbstractContextManager[None]:
        """Follow an ask from its beginning to its end, which may be an error."""

    def around(self, client: Client) -> Client:
        """Return the client that makes the calls of all rungs, each of them followed."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Take the decision record of the ask that is ending, inside of `ask`."""

    def parent(self, headers: Mapping[bytes, bytes]) -> AbstractContextManager[None]:
        """Make the asks inside part of what the headers of an HTTP request say they belong to."""

    def close(self) -> None:
        """Send what has not been sent yet; may take seconds. Calling it twice is harmless."""
