"""A client for Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from ..clock import SystemClock
from ..ports import Clock
from ..types import Answer, ModelCall
from ..wire.anthropic import decode_response, encode_request, format_of, refuses_format
from ..wire.anthropic_stream import MessageReader
from ..wire.openai import encode_json
from ..wire.rate_limits import ANTHROPIC_LIMITS, pause_s
from ..wire.status import error_from_status
from .endpoint import auth_value, endpoint_url, headers_for, json_headers, time_for
from .event_stream import Exchanged, exchange
from .http import Limits, Transport, default_transport
from .http_stream import as_streaming

__all__ = ["AnthropicClient"]

_API_VERSION = "2023-06-01"

_MOST_REFUSED = 256
"""Schemas that were refused and are remembered."""


class AnthropicClient:
    """Performs calls to Anthropic, or to a server that speaks its Messages format.

    There are no log-probabilities here: confidence has to come from elsewhere. A server that refuses the
    schema of a structured answer is asked again without; that is remembered for model and schema as long
    as the client lives.
    """

    def __init__(
        self,
        name: str,
        base_url: str = "https://api.anthropic.com/v1",
        api_key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        limits: Limits | None = None,
        timeout_s: float = 600.0,
        keep_raw: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Make a client; nothing is opened before the first call.

        Args:
            name: The provider's name in the ladder, for errors.
            base_url: Where `/messages` is found; `/v1` is added to a URL without a path.
            api_key: Sent as `x-api-key`; None for a server that wants none.
            headers: Further headers, such as `anthropic-beta`; they win over ours.
            transport: What sends the requests, and stays the caller's to close; None: one of our
                own, which suits the event loop.
            limits: What a transport of our own takes on; without effect on one that was given.
            timeout_s: Seconds one call may take.
            keep_raw: Whether answers keep the provider's body.
            clock: Tells the time where a header says a date until which to wait.

        Raises:
            ConfigError: The URL, the key or a header cannot be sent; the message shows no key.
        """
        self.name = name
        self._url = endpoint_url(name, base_url, "/messages", default_path="/v1")
        auth = {} if api_key is None else {"x-api-key": auth_value(name, api_key)}
        auth["anthropic-version"] = _API_VERSION
        self._headers = json_headers(name, auth, headers)
        self._transport = default_transport(limits) if transport is None else transport
        self._streaming = as_streaming(self._transport)
        self._owns_transport = transport is None
        self._timeout_s = timeout_s
        self._keep_raw = keep_raw
        self._clock = SystemClock() if clock is None else clock
        self._refused_formats: set[tuple[str, bytes]] = set()

    def __repr__(self) -> str:
        return f"AnthropicClient(name={self.name!r}, url={self._url.partition('?')[0]!r})"

    @property
    def keeps_deadlines(self) -> bool:
        """Whether a call ends by itself at the deadline of its ask: by the machine's own clock."""
        return isinstance(self._clock, SystemClock)

    async def complete(self, call: ModelCall) -> Answer:
        """Return the model's answer; see `ports.Client`."""
        schema = format_of(call)
        wanted = None if schema is None else (call.model, encode_json(schema))
        structured = wanted not in self._refused_formats
        status, headers, body, answer = await self._exchange(call, structured)
        if wanted is not None and structured and refuses_format(status, body):
            status, headers, body, answer = await self._exchange(call, structured=False)
            if 200 <= status < 300:  # else it may have been about something else
                if len(self._refused_formats) >= _MOST_REFUSED:
                    self._refused_formats.clear()
                self._refused_formats.add(wanted)
        if 200 <= status < 300:
            if answer is None:
                answer = decode_response(
                    body, provider=self.name, model=call.model, keep_raw=self._keep_raw
                )
            wait_s = pause_s(headers, self._now, ANTHROPIC_LIMITS)
            return answer if wait_s is None else replace(answer, pause_s=wait_s)
        raise error_from_status(
            status,
            headers,
            body,
            provider=self.name,
            model=call.model,
            now=self._now(),
        )

    async def _exchange(self, call: ModelCall, structured: bool) -> Exchanged:
        """Send a call; return status, headers, body, and the answer if it came as a stream."""
        body = encode_request(
            call,
            stream=self._streaming is not None and call.listener is not None,
            structured=structured,
        )
        timeout_s = time_for(call, self._timeout_s, self._clock, self.name)
        if self._streaming is not None and call.listener is not None:
            return await exchange(
                self._streaming,
                self._url,
                headers_for(call, self._headers),
                body,
                timeout_s,
                MessageReader(self.name, call.model),
                call,
                call.listener,
                self.name,
            )
        status, headers, whole = await self._transport.post(
            self._url,
            headers_for(call, self._headers),
            body,
            timeout_s=timeout_s,
            provider=self.name,
            model=call.model,
        )
        return Exchanged(status, headers, whole, None)

    def _now(self) -> datetime:
        return datetime.fromisoformat(self._clock.now_iso())

    async def aclose(self) -> None:
        """Close the client's own connections; a transport that was given stays open."""
        if self._owns_transport:
            await self._transport.aclose()
