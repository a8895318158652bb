"""The application: what stands at which path."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import RequestError
from ..events import Event
from ..labels import Label
from ..pricing import add_costs
from ..types import Result
from .asked import Asked, decode_object, result_headers
from .callers import identify
from .chat import chat_body, read_chat
from .chat_stream import ChatChunks
from .choices import ask_choices, each_choice, stream_choices
from .endpoint import Answering, Endpoint, Gate, Visit, id_of
from .failures import Failure, Refused, Shape, error_body
from .fields import ChatFields, FeedbackFields, MessageFields, check_fields
from .message_stream import MessageEvents
from .messages import message_body, read_message
from .openapi import openapi_document
from .readiness import Readiness
from .replies import Reply
from .served import PREFIX, Found, Ladders, Served
from .streams import Teller, pass_on
from .traffic import ELSEWHERE

__all__ = ["make_app"]

_log = logging.getLogger("cascade.server")

_NO_PARENT = nullcontext()
_ID_PREFIXES = ("chatcmpl-", "msg_")


def make_app(
    ladders: Ladders, gate: Gate, *, rungs: bool = False, check_providers: bool = False
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        ladders: What is served; opened, reloaded and closed by whoever runs the application.
        gate: Keys and bounds.
        rungs: Whether single rungs may be asked by their model's name.
        check_providers: Whether `/readyz` connects to the providers.
    """
    site = _Site(ladders, gate, rungs=rungs, check_providers=check_providers)

    def route(path: str, answer: Answering, method: str, **options: Any) -> Route:
        name = path.replace(":path", "")
        return Route(path, Endpoint(name, gate, answer, **options), methods=[method])

    routes = [
        route("/v1/chat/completions", site.chat, "POST", takes_body=True),
        route("/v1/messages", site.messages, "POST", takes_body=True, shape="anthropic"),
        route("/v1/models", site.models, "GET"),
        route("/v1/models/{id:path}", site.model, "GET"),
        route("/v1/feedback", site.feedback, "POST", takes_body=True),
        route("/metrics", site.metrics, "GET"),
        route("/openapi.json", site.openapi, "GET", needs_key=False),
        route("/healthz", site.healthz, "GET", needs_key=False),
        route("/readyz", site.readyz, "GET", needs_key=False),
    ]
    return _Front(
        {route.path: route for route in routes if "{" not in route.path},
        Starlette(routes=routes, exception_handlers={HTTPException: site.not_routed}),
    )


class _Front:
    """Goes straight to the path that is asked for; what is not plainly one of them is left to Starlette.

    Its layers for errors and its router, which this server has no use for, cost 3 % of an answer.
    """

    def __init__(self, routes: Mapping[str, Route], site: ASGIApp) -> None:
        self._straight: dict[tuple[Any, Any], ASGIApp] = {
            (method, path): route.endpoint
            for path, route in routes.items()
            for method in (route.methods or ())
            if method != "HEAD"
        }
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._straight.get((scope.get("method"), scope.get("path")), self._site)
        await app(scope, receive, send)


class _Site:
    """The functions behind the paths."""

    def __init__(self, ladders: Ladders, gate: Gate, *, rungs: bool, check_providers: bool) -> None:
        self._ladders = ladders
        self._gate = gate
        self._rungs = rungs
        self._readiness = Readiness(ladders, check_providers=check_providers)

    async def chat(self, visit: Visit) -> Reply | None:
        """Answer a chat completion."""
        fields = decode_object(visit.body)
        check_fields(fields, ChatFields)
        found = self._find(fields.pop("model"), visit)
        asked = read_chat(fields, visit.headers, shown_by_itself=found.served.top_logprobs)
        if asked.stream:
            chunks = ChatChunks(
                created=self._now(),
                include_usage=asked.include_usage,
                top_logprobs=asked.top_logprobs,
            )
            if asked.n == 1:
                await self._stream(visit, found, asked, chunks)
            else:
                await self._stream_choices(visit, found, asked, chunks)
            return None
        results = await self._ask(visit, found, asked)
        body = chat_body(results, top_logprobs=asked.top_logprobs, created=self._now())
        return Reply(body=body, headers=result_headers(results))

    async def messages(self, visit: Visit) -> Reply | None:
        """Answer a message."""
        fields = decode_object(visit.body)
        check_fields(fields, MessageFields)
        found = self._find(fields.pop("model"), visit)
        asked = read_message(fields, visit.headers, native=found.served.native)
        if asked.stream:
            await self._stream(visit, found, asked, MessageEvents())
            return None
        results = await self._ask(visit, found, asked)
        return Reply(body=message_body(results[0]), headers=result_headers(results))

    async def models(self, visit: Visit) -> Reply:
        """List what may be asked, in both APIs' words."""
        entries = self._entries(visit)
        listed = {
            "object": "list",
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }
        return Reply(body=msgspec.json.encode(listed))

    async def model(self, visit: Visit) -> Reply:
        """Describe one model."""
        wanted = visit.scope["path_params"]["id"]
        for entry in self._entries(visit):
            if entry["id"] == wanted:
                return Reply(body=msgspec.json.encode(entry))
        raise self._unknown(wanted, visit)

    async def feedback(self, visit: Visit) -> Reply:
        """Write a label for an answer."""
        fields = decode_object(visit.body)
        check_fields(fields, FeedbackFields)
        given, score = fields["id"], float(fields["score"])
        served = self._labelled(fields.get("ladder"), visit)
        if served.config.log is None:
            raise Refused(400, "no_log", f"ladder: {served.name!r} keeps no log to label")
        for prefix in _ID_PREFIXES:
            given = given.removeprefix(prefix)
        by = "feedback" if visit.caller.key is None else f"feedback/{visit.caller.key}"
        with served.in_use():
            await served.label(Label(id=given, score=score, model=fields.get("model"), by=by))
        visit.told["ask_id"] = given
        return Reply(body=msgspec.json.encode({"id": given, "score": score}))

    async def metrics(self, visit: Visit) -> Reply:
        """Show the metrics of all ladders that have them switched on, to those who may see all of them."""
        if not any(served.counts for served in self._ladders.all()):
            raise Refused(
                404,
                "metrics_off",
                "no ladder has metrics; `telemetry: {prometheus: true}` in its file switches them on",
            )
        if visit.caller.tenant is not None or visit.caller.ladders:
            raise Refused(
                403, "not_for_this_key", "metrics are for keys without a tenant and for all ladders"
            )
        from ..telemetry.prometheus_http import http_meters
        from ..telemetry.scrape import scrape

        traffic = self._gate.traffic
        http_meters().publish(traffic.take(), traffic.in_flight)
        body, kind = scrape(visit.headers.get(b"accept", b"").decode("latin-1"))
        return Reply(body=body, content_type=kind.encode("latin-1"))

    async def openapi(self, visit: Visit) -> Reply:
        """Say what this server takes and gives."""
        return Reply(body=openapi_document())

    async def healthz(self, visit: Visit) -> Reply:
        """Say that the process is alive."""
        return Reply(body=b'{"status":"ok"}')

    async def readyz(self, visit: Visit) -> Reply:
        """Say whether asks can be answered, and what is in the way; details only to those with a key."""
        told = await self._readiness.told(details=self._may_see_details(visit))
        status = 200 if told["status"] == "ready" else 503
        return Reply(status=status, body=msgspec.json.encode(told))

    async def not_routed(self, request: Request, exc: Exception) -> Response:
        """Return the error for a path or a method that there is not."""
        assert isinstance(exc, HTTPException)
        self._gate.traffic.count(ELSEWHERE, exc.status_code)
        is_method = exc.status_code == 405
        failure = Failure(
            status=exc.status_code,
            message=f"{request.method} is not for this path"
            if is_method
            else "there is no such path",
            code="method_not_allowed" if is_method else "not_found",
        )
        shape: Shape = "anthropic" if request.url.path.startswith("/v1/messages") else "openai"
        request_id = id_of(dict(request.scope["headers"]))
        fields = {
            "request_id": request_id,
            "method": request.method,
            "path": request.url.path,
            "status": exc.status_code,
        }
        _log.info("request", extra={"fields": fields})
        return Response(
            error_body(failure, shape, request_id),
            status_code=exc.status_code,
            headers={**(exc.headers or {}), "x-request-id": request_id},
            media_type="application/json",
        )

    async def _ask(self, visit: Visit, found: Found, asked: Asked) -> Sequence[Result]:
        """Return what the ladder finds, by choice."""
        engine = found.served.engine
        with self._asking(visit, found) as options:
            options = asked.options | options
            results: Sequence[Result]
            if asked.n == 1:
                results = (await engine.ask(asked.prompt, **options),)
            else:
                asks = each_choice(options, asked.n)
                results = await ask_choices(engine, asked.prompt, asks)
        _note(visit, results)
        return results

    async def _stream(
        self, visit: Visit, found: Found, asked: Asked, teller: Teller[Event]
    ) -> None:
        """Send the answer as it comes."""
        visit.told["stream"] = True
        engine = found.served.engine
        with self._asking(visit, found) as options:
            async with engine.stream(asked.prompt, **(asked.options | options)) as events:
                visit.told["ask_id"] = events.id
                results = await pass_on(events, visit.out, teller)
        _note(visit, results)

    async def _stream_choices(
        self, visit: Visit, found: Found, asked: Asked, teller: ChatChunks
    ) -> None:
        """Send several answers as they come."""
        visit.told["stream"] = True
        engine = found.served.engine
        with self._asking(visit, found) as options:
            asks = each_choice(asked.options | options, asked.n)
            async with stream_choices(engine, asked.prompt, asks) as events:
                visit.told["ask_id"] = events.id
                results = await pass_on(events, visit.out, teller)
        _note(visit, results)

    @contextmanager
    def _asking(self, visit: Visit, found: Found) -> Iterator[dict[str, Any]]:
        """Keep the ladder open, within the caller's trace; give the options that are not the caller's."""
        served, single = found
        options: dict[str, Any] = {"tenant": visit.caller.tenant}
        if single is not None:
            options |= {"policy": single, "cache": "off"}
        visit.told["ladder"] = served.name
        tracer = served.engine.tracer
        parent = _NO_PARENT if tracer is None else tracer.parent(visit.headers)
        with served.in_use(), parent:
            yield options

    def _labelled(self, ladder: str | None, visit: Visit) -> Served:
        """Return the ladder that feedback is about; the only one need not be named."""
        if ladder is None:
            allowed = visit.caller.ladders
            mine = [s for s in self._ladders.all() if not allowed or s.name in allowed]
            if len(mine) == 1:
                return mine[0]
            raise RequestError("ladder: missing; allowed: the model that was asked, cascade/<name>")
        return self._find(PREFIX + ladder.removeprefix(PREFIX), visit).served

    def _find(self, model: str, visit: Visit) -> Found:
        found = self._ladders.find(model, visit.caller.ladders, rungs=self._rungs)
        if found is None:
            raise self._unknown(model, visit)
        return found

    def _unknown(self, model: str, visit: Visit) -> Refused:
        names = ", ".join(entry["id"] for entry in self._entries(visit)[:20]) or "none"
        return Refused(
            404,
            "model_not_found",
            f"model: {model!r:.80} is not served, or not to you; allowed: {names}",
            param="model",
        )

    def _entries(self, visit: Visit) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        allowed = visit.caller.ladders
        for served in self._ladders.all():
            if allowed and served.name not in allowed:
                continue
            names = [f"{PREFIX}{served.name}", *(served.single if self._rungs else ())]
            for name in names:
                entries.setdefault(name, _entry(name, served.created))
        return list(entries.values())

    def _may_see_details(self, visit: Visit) -> bool:
        keys = self._gate.keys
        if keys is None:
            return True
        try:
            identify(visit.headers, keys)
        except Refused:
            return False
        return True

    def _now(self) -> int:
        return int(datetime.fromisoformat(self._gate.clock.now_iso()).timestamp())


def _note(visit: Visit, results: Sequence[Result]) -> None:
    """Say in the log what an ask has come to; of several choices the first one's id, and all costs."""
    first = results[0]
    visit.told |= {
        "ask_id": first.id,
        "model": first.model,
        "cost_usd": add_costs(*(result.cost_usd for result in results)),
        "cache": None if first.cache is None else first.cache.kind,
    }
    if len(results) > 1:
        visit.told["choices"] = len(results)


def _entry(name: str, created: int) -> dict[str, Any]:
    since = datetime.fromtimestamp(created, UTC).isoformat()
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "cascade",
        "type": "model",
        "display_name": name,
        "created_at": since,
    }
