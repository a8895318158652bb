"""A client for every server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from ..clock import SystemClock
from ..ports import Clock, Listener
from ..types import Answer, ModelCall
from ..wire.openai import (
    allowed_top_logprobs,
    decode_response,
    encode_request,
    refuses_stream_options,
)
from ..wire.openai_stream import ChunkReader
from ..wire.rate_limits import OPENAI_LIMITS, pause_s
from ..wire.status import error_from_status
from .endpoint import auth_value, endpoint_url, headers_for, json_headers, time_for
from .event_stream import Exchanged, exchange
from .http import Limits, Transport, default_transport
from .http_stream import StreamingTransport, as_streaming

__all__ = ["OpenAIClient"]

_MOST_TOP_LOGPROBS = 20
"""More than any server takes; what a server takes is learnt from its refusals."""

_NO_LOGPROBS = -1


class OpenAIClient:
    """Performs calls to one OpenAI-compatible server.

    A server that refuses log-probabilities is asked again: with as many alternatives as it says it
    takes, then with none, then without log-probabilities. What it took is remembered for each model
    as long as the client lives, so that only the first calls pay for finding out.
    """

    def __init__(
        self,
        name: str,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        limits: Limits | None = None,
        logprobs: bool = True,
        timeout_s: float = 600.0,
        keep_raw: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Make a client; nothing is opened before the first call.

        Args:
            name: The provider's name in the ladder, for errors.
            base_url: Where `/chat/completions` is found; http or https.
            api_key: Sent as a bearer token; None for a server that wants none.
            headers: Further headers; they win over ours.
            transport: What sends the requests, and stays the caller's to close; None: one of our
                own, which suits the event loop.
            limits: What a transport of our own takes on; without effect on one that was given.
            logprobs: False never asks for log-probabilities.
            timeout_s: Seconds one call may take.
            keep_raw: Whether answers keep the provider's body; those to a request that has
                `logprobs` among its own fields always do.
            clock: Tells the time where a header says a date until which to wait.

        Raises:
            ConfigError: The URL, the key or a header cannot be sent; the message shows no key.
        """
        self.name = name
        self._url = endpoint_url(name, base_url, "/chat/completions")
        auth = {} if api_key is None else {"authorization": auth_value(name, f"Bearer {api_key}")}
        self._headers = json_headers(name, auth, headers)
        self._transport = default_transport(limits) if transport is None else transport
        self._streaming = as_streaming(self._transport)
        self._owns_transport = transport is None
        self._timeout_s = timeout_s
        self._keep_raw = keep_raw
        self._clock = SystemClock() if clock is None else clock
        self._unlearnt = _MOST_TOP_LOGPROBS if logprobs else _NO_LOGPROBS
        self._most_top_logprobs: dict[str, int] = {}
        self._no_stream_options: set[str] = set()

    def __repr__(self) -> str:
        return f"OpenAIClient(name={self.name!r}, url={self._url.partition('?')[0]!r})"

    @property
    def keeps_deadlines(self) -> bool:
        """Whether a call ends by itself at the deadline of its ask: by the machine's own clock."""
        return isinstance(self._clock, SystemClock)

    async def complete(self, call: ModelCall) -> Answer:
        """Return the model's answer; see `ports.Client`."""
        model = call.model
        known = self._most_top_logprobs.get(model, self._unlearnt)
        most = known
        streaming = self._streaming if call.listener is not None else None
        while True:
            asked = min(call.top_logprobs, most)
            read = None
            if streaming is not None and call.listener is not None:
                status, headers, answer, read = await self._stream(
                    streaming, call, call.listener, asked
                )
            else:
                status, headers, answer = await self._transport.post(
                    self._url,
                    headers_for(call, self._headers),
                    encode_request(call, logprobs=asked >= 0, top_logprobs=asked),
                    timeout_s=time_for(call, self._timeout_s, self._clock, self.name),
                    provider=self.name,
                    model=model,
                )
            if 200 <= status < 300:
                if most != known:  # remembered only now: an error may speak of log-probabilities
                    self._most_top_logprobs[model] = most  # and still be about something else
                if read is None:
                    # Who asked for log-probabilities by name wants them as they are written.
                    keep = self._keep_raw or bool(call.request.extra.get("logprobs"))
                    read = decode_response(answer, provider=self.name, model=model, keep_raw=keep)
                wait_s = pause_s(headers, self._now, OPENAI_LIMITS)
                return read if wait_s is None else replace(read, pause_s=wait_s)
            unlearnt = streaming is not None and model not in self._no_stream_options
            if unlearnt and refuses_stream_options(status, answer):
                self._no_stream_options.add(model)
                continue
            lower = None
            if call.logprobs and asked >= 0:
                lower = allowed_top_logprobs(status, answer, asked)
            if lower is None:
                raise error_from_status(
                    status,
                    headers,
                    answer,
                    provider=self.name,
                    model=model,
                    now=self._now(),
                )
            most = lower

    async def _stream(
        self, transport: StreamingTransport, call: ModelCall, listener: Listener, asked: int
    ) -> Exchanged:
        """Ask for chunks."""
        model = call.model
        body = encode_request(
            call,
            logprobs=asked >= 0,
            top_logprobs=asked,
            stream=True,
            stream_usage=model not in self._no_stream_options,
        )
        keep = bool(call.request.extra.get("logprobs"))
        return await exchange(
            transport,
            self._url,
            headers_for(call, self._headers),
            body,
            time_for(call, self._timeout_s, self._clock, self.name),
            ChunkReader(self.name, model, keep_logprobs=keep),
            call,
            listener,
            self.name,
        )

    def _now(self) -> datetime:
        return datetime.fromisoformat(self._clock.now_iso())

    async def aclose(self) -> None:
        """Close the client's own connections; a transport that was given stays open."""
        if self._owns_transport:
            await self._transport.aclose()
