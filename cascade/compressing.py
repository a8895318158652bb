"""Shortens prompts on their way to a rung's client, where that pays by the rung's price.

It stands around the clients as one more client, so that asks, streams and several questions at once all
pass through it. What was done is told with the answer, and so in attempts and in the decision log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replace_rung
from functools import partial
from typing import Protocol

import anyio.to_thread
from msgspec.structs import replace

from .errors import RequestError
from .ladder import Ladder
from .ports import Client, Compressor
from .pricing import Price
from .types import Answer, Compressed, Compression, ModelCall, Request

__all__ = ["CompressingClient", "PromptCache", "RungCompression", "compressed_ladder"]

_log = logging.getLogger("cascade")

MIN_SAVING_USD = 0.00001
"""Least saving of a call for which a prompt is shortened."""

IN_LINE_CHARS = 32_000
"""Longer prompts are shortened in a worker thread, so that other asks go on."""

_CHARS_A_TOKEN = 4.0
_MILLION = 1_000_000.0


class PromptCache(Protocol):
    """Weighs a provider's prompt cache against a shorter prompt; `compress.savings` has one."""

    def shorten(self, shorten: Callable[[int], Compressed], request: Request) -> Compressed:
        """Return the cheapest of: the prompt as it is, shortened behind its known beginning, and shortened.

        Args:
            shorten: Characters that stay as they are, from the first text on → the shorter request.
            request: The prompt.
        """

    def learn(self, done: Compressed, cached_tokens: int | None, prompt_tokens: int | None) -> None:
        """Take in what the provider says it had in its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungCompression:
    """How prompts are made shorter for one rung.

    Attributes:
        compressor: Makes them shorter.
        price: Price of the rung, or None when it is unknown.
        min_saving_usd: Least US dollars of input that it must save; 0: any, whatever the price.
        escalated: Whether prompts are shortened too once another rung was asked.
        prompt_cache: Weighs the provider's prompt cache; None: it is not thought of.
        learn: Told of (model, tokens as counted, tokens as billed) after a call; None: nobody is.
        correction: Model → what to multiply counted tokens by for billed ones; None: 1.
    """

    compressor: Compressor
    price: Price | None = None
    min_saving_usd: float = MIN_SAVING_USD
    escalated: bool = False
    prompt_cache: PromptCache | None = None
    learn: Callable[[str, int, int], None] | None = None
    correction: Callable[[str], float] | None = None

    @property
    def version(self) -> str:
        """Changes whenever what is sent may change."""
        return f"{self.compressor.version}:{self.min_saving_usd:g}:{self.escalated:d}"

    def may_pay(self, request: Request) -> bool:
        """Return whether leaving out the whole prompt would save enough: without it, nothing need be tried."""
        if self.min_saving_usd == 0.0:
            return True
        if self.price is None:
            return False
        characters = sum(_characters(message.content) for message in request.messages)
        return characters / _CHARS_A_TOKEN * self.price.input / _MILLION >= self.min_saving_usd

    def pays(self, done: Compression, model: str = "") -> bool:
        """Return whether what was saved is enough, in tokens as the model's provider bills them."""
        if done.tokens_before is None or done.tokens_after is None:
            return False
        if self.min_saving_usd == 0.0:
            return True
        price = 0.0 if self.price is None else self.price.input
        saved = float(done.tokens_before - done.tokens_after)
        if self.correction is not None:
            saved *= self.correction(model)
        return saved * price / _MILLION >= self.min_saving_usd


def compressed_ladder(ladder: Ladder, compress: Mapping[int, RungCompression]) -> Ladder:
    """Return a ladder whose version says how prompts are made shorter: answers may depend on it."""
    rungs = tuple(
        rung if i not in compress else replace_rung(rung, compression=compress[i].version)
        for i, rung in enumerate(ladder.rungs)
    )
    return replace_rung(ladder, rungs=rungs)


class CompressingClient:
    """A client that shortens prompts before it passes calls on.

    Args:
        client: Makes the calls.
        rungs: By index of the rung; calls to others are passed on as they are.
    """

    def __init__(self, client: Client, rungs: Mapping[int, RungCompression]) -> None:
        self._client = client
        self._rungs = dict(rungs)
        self.keeps_deadlines: bool = getattr(client, "keeps_deadlines", False)

    async def complete(self, call: ModelCall) -> Answer:
        """Return the answer to the call with a shorter prompt; see `ports.Client`.

        Raises:
            PromptOverBudget: The prompt is over a budget that is set to refuse it.
            ProviderError: The call failed.
        """
        rung = self._rungs.get(call.rung)
        if rung is None:
            return await self._client.complete(call)
        done = await self._shortened(rung, call)
        if call.shortened is not None:
            call.shortened(done.compression)
        answer = await self._client.complete(replace(call, request=done.request))
        _learn(rung, call, done, answer)
        return replace(answer, compression=done.compression)

    async def _shortened(self, rung: RungCompression, call: ModelCall) -> Compressed:
        request = call.request
        if call.escalated and not rung.escalated:
            return _untouched(request, "sent whole, as another rung was asked before")
        if not rung.may_pay(request):
            said = "price unknown" if rung.price is None else "too short to pay at this price"
            return _untouched(request, said)
        shorten = partial(_shorten, rung, call)
        size = sum(_characters(message.content) for message in request.messages)
        try:
            if size <= IN_LINE_CHARS:
                done = shorten()
            else:
                done = await anyio.to_thread.run_sync(shorten)
        except RequestError:
            raise
        except Exception as exc:  # noqa: BLE001 - a compressor must not cost anybody an answer
            _log.error("prompt compression failed: %s", type(exc).__name__)
            return _untouched(request, f"failed ({type(exc).__name__})")
        if done.request is request or rung.pays(done.compression, call.model):
            return done
        return _untouched(request, "would have saved too little at this price")

    async def aclose(self) -> None:
        """Close what it stands around."""
        await self._client.aclose()


def _shorten(rung: RungCompression, call: ModelCall) -> Compressed:
    def keeping(prefix: int) -> Compressed:
        return rung.compressor.compress(
            call.request, model=call.model, keep_prefix=prefix, tenant=call.context.tenant
        )

    if rung.prompt_cache is None:
        return keeping(0)
    return rung.prompt_cache.shorten(keeping, call.request)


def _learn(rung: RungCompression, call: ModelCall, done: Compressed, answer: Answer) -> None:
    """Tell what the provider billed, which is the truth about tokens."""
    usage = answer.usage
    if rung.prompt_cache is not None:
        rung.prompt_cache.learn(done, usage.cached_tokens, usage.prompt_tokens)
    counted, billed = done.compression.tokens_after, usage.prompt_tokens
    if rung.learn is None or not counted or not billed or usage.estimated:
        return
    if call.request.tools is None:  # they are billed as well, and not counted here
        rung.learn(call.model, counted, billed)


def _untouched(request: Request, note: str) -> Compressed:
    said = Compression(tokens_before=None, tokens_after=None, note=note)
    return Compressed(request=request, compression=said)


def _characters(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list | tuple):
        return 0
    return sum(len(part["text"]) for part in content if isinstance(part.get("text"), str))
