"""Spans for OpenTelemetry: one an ask, one a call of a rung within it, and an event for each decision.

Names are those of the semantic conventions for generative AI, version 1.41; what these have no name for
is called `cascade.…`. Needs the extra `otel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

from msgspec.structs import replace
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..ports import Client
from ..types import Answer, CallContext, ModelCall, Request
from .attributes import (
    RungPlace,
    of_answer,
    of_ask,
    of_attempt,
    of_call,
    of_decision,
    of_record,
    of_stages,
)
from .content import input_messages, output_messages
from .words import called

__all__ = ["Destination", "OtelTracer", "RungPlace", "export_to"]

LIBRARY = "cascade"
_HEADERS = ("traceparent", "tracestate")
_CLOSE_MS = 5_000
"""Milliseconds that sending the last spans may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where spans are sent.

    Attributes:
        endpoint: Address that takes OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``.
        headers: Further HTTP headers.
        service: `service.name` of the spans.
        share: Share of asks that are traced, in [0, 1]; those whose caller is traced follow it.
        timeout_s: Seconds that sending may take.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "cascade"
    share: float = 1.0
    timeout_s: float = 10.0


def export_to(to: Destination) -> TracerProvider:
    """Return a provider of tracers that sends spans there, in a thread of its own."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": to.service}),
        sampler=ParentBased(TraceIdRatioBased(to.share)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=to.endpoint,
        headers=dict(to.headers),
        timeout=to.timeout_s,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class OtelTracer:
    """A `Tracer` whose spans are OpenTelemetry's.

    The span of an ask is a child of the caller's current span, and the current one while it runs.

    Args:
        provider: Makes the spans; None: the program's own provider of tracers.
        rungs: Where each rung is served, in order; what is missing is called ``unknown``.
        content: Whether prompts and answers are written into the spans.
        propagate: Whether calls carry their place in the trace to the provider, as HTTP headers.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        rungs: Sequence[RungPlace] = (),
        content: bool = False,
        propagate: bool = True,
    ) -> None:
        self._provider = provider
        self._tracer = trace.get_tracer(LIBRARY, tracer_provider=provider)
        self._places = tuple(rungs)
        self._content = content
        self._propagate = propagate
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def ask(self, id: str, ladder: str, request: Request, context: CallContext) -> Iterator[None]:
        """Follow an ask."""
        attributes = of_ask(id, ladder, context)
        if self._content:
            attributes["gen_ai.input.messages"] = input_messages(request)
        span = self._tracer.start_span(f"invoke_workflow {ladder}", attributes=attributes)
        walk = _Walk(span)
        token = otel_context.attach(trace.set_span_in_context(span))
        known = _WALK.set(walk)
        try:
            yield
        except BaseException as exc:
            _fail(span, exc)
            raise
        finally:
            walk.end_calls()
            span.end()
            _WALK.reset(known)
            otel_context.detach(token)

    def around(self, client: Client) -> Client:
        """Return the client with a span around every call."""
        return _Traced(client, self)

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Write into the spans how the ask went, and end those of its calls."""
        walk = _WALK.get()
        if walk is not None and walk.span.is_recording():
            walk.close(record)

    def parent(self, headers: Mapping[bytes, bytes]) -> AbstractContextManager[None]:
        """Make the asks inside children of the span that the header `traceparent` names."""
        if b"traceparent" not in headers:
            return nullcontext()
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in _HEADERS
            if name.encode() in headers
        }
        return _attached(self._propagator.extract(carrier))

    def marked(self, call: ModelCall) -> ModelCall:
        """Return the call with headers that make the provider's spans children of the current span."""
        if not self._propagate:
            return call
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return replace(call, headers=headers)

    def close(self) -> None:
        """Send what has not been sent, if the spans are sent by us."""
        if self._provider is not None:
            self._provider.force_flush(_CLOSE_MS)
            self._provider.shutdown()

    def begin_call(self, call: ModelCall) -> Span:
        """Return the span of a call that begins."""
        place = self._places[call.rung] if call.rung < len(self._places) else RungPlace()
        attributes = of_call(call, place)
        if self._content:
            attributes["gen_ai.input.messages"] = input_messages(call.request)
        return self._tracer.start_span(
            f"chat {call.model}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def note_answer(self, span: Span, answer: Answer) -> None:
        """Write into the span of a call what was answered."""
        found = of_answer(answer)
        if self._content:
            found["gen_ai.output.messages"] = output_messages(answer)
        span.set_attributes(found)


class _Traced:
    """A client with a span around every call that is part of an ask."""

    def __init__(self, client: Client, tracer: OtelTracer) -> None:
        self._client = client
        self._tracer = tracer
        self.keeps_deadlines: bool = getattr(client, "keeps_deadlines", False)

    async def complete(self, call: ModelCall) -> Answer:
        """Return the client's answer.

        Raises:
            ProviderError: The call failed.
        """
        walk = _WALK.get()
        if walk is None:
            return await self._client.complete(call)
        if not walk.span.is_recording():  # the provider is told that, too
            return await self._client.complete(self._tracer.marked(call))
        span = self._tracer.begin_call(call)
        entry = walk.add(call.rung, span)
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            answer = await self._client.complete(self._tracer.marked(call))
        except BaseException as exc:
            _fail(span, exc)
            raise
        else:
            self._tracer.note_answer(span, answer)
            return answer
        finally:
            entry.ended_ns = time_ns()
            otel_context.detach(token)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


@dataclass(slots=True)
class _CallSpan:
    rung: int
    span: Span
    began_ns: int
    ended_ns: int | None = None


class _Walk:
    """The spans of one ask. Those of its calls stay open until it is known what became of them."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._calls: list[_CallSpan] = []

    def add(self, rung: int, span: Span) -> _CallSpan:
        """Take in the span of a call that begins."""
        entry = _CallSpan(rung, span, time_ns())
        self._calls.append(entry)
        return entry

    def close(self, record: Mapping[str, Any]) -> None:
        """Write the record of the ask into its spans."""
        self.span.set_attributes(of_record(record))
        error = record["error"]
        if error is not None:
            self.span.set_attribute("error.type", error["type"])
            self.span.set_status(Status(StatusCode.ERROR, error["type"]))
        waiting = list(self._calls)
        decided: list[tuple[Mapping[str, Any], _CallSpan | None]] = []
        for attempt in record["attempts"]:
            entry = None
            if called(attempt):
                entry = next((e for e in waiting if e.rung == attempt["rung"]), None)
            if entry is not None:
                waiting.remove(entry)
                entry.span.set_attributes(of_attempt(attempt))
                for done in of_stages(attempt):
                    entry.span.add_event("cascade.compression", done, timestamp=entry.began_ns)
            decided.append((attempt, entry))
        begun = [entry.began_ns for _, entry in decided if entry is not None]
        for attempt, entry in decided:
            # The decision was made when the next call began, the last one now.
            after = [ns for ns in begun if entry is not None and ns > entry.began_ns]
            self.span.add_event(
                "cascade.decision", of_decision(attempt), timestamp=min(after, default=time_ns())
            )
        self.end_calls()

    def end_calls(self) -> None:
        """End the spans of calls, at the time the calls have ended."""
        for entry in self._calls:
            entry.span.end(entry.ended_ns)
        self._calls.clear()


_WALK: ContextVar[_Walk | None] = ContextVar("cascade_walk", default=None)
"""The ask that the running task is part of."""


@contextmanager
def _attached(context: otel_context.Context) -> Iterator[None]:
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, by the class of the error alone: its words may be anybody's."""
    kind = type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))
