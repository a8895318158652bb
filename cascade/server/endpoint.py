"""One path of the server: who calls, what they send, what they get, and one line in the log about it.

Works on the bare ASGI messages: Starlette's request and response objects would cost as much as all the
rest of it.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import msgspec
from starlette.types import Receive, Scope, Send

from ..errors import CascadeError
from ..ports import Clock
from .bodies import DEPARTURE, BodyLimits, ClientGone, Departure, read_body
from .callers import ANYBODY, Caller, identify
from .failures import Refused, Shape, error_body, failure_of, retry_headers
from .keys import KeyRing
from .replies import Outflow, Reply, send_reply
from .streams import error_event
from .traffic import Traffic

__all__ = ["Answering", "Endpoint", "Gate", "Visit", "id_of"]

_log = logging.getLogger("cascade.server")

CLIENT_CLOSED = 499
"""What the log says of a request whose client went away, as nginx does."""

_CLOSE = (b"connection", b"close")
_MOST_ID = 128


class Visit(msgspec.Struct, kw_only=True):
    """One request, as the path's own function sees it.

    Attributes:
        id: Of the request: the caller's `x-request-id`, or a new one.
        headers: Names in lower case; of equal ones the last.
        caller: Who calls.
        body: What they sent.
        scope: The ASGI scope.
        out: Where an answer in pieces goes.
        told: What the log is to say beside what it always says.
    """

    id: str
    headers: Mapping[bytes, bytes]
    scope: Scope
    out: Outflow
    caller: Caller = ANYBODY
    body: bytes = b""
    told: dict[str, Any] = {}


Answering = Callable[[Visit], Awaitable[Reply | None]]
"""Makes the answer to a visit, or sends it in pieces and returns None."""


class Gate:
    """What all paths have in common: keys and bounds. The keys may be replaced at any time.

    Args:
        keys: Those that are known; None: none are needed.
        limits: Of bodies.
        clock: Time source.
        log_requests: Whether each request gets a line in the log.

    Attributes:
        traffic: What comes in.
    """

    def __init__(
        self, keys: KeyRing | None, limits: BodyLimits, clock: Clock, *, log_requests: bool = True
    ) -> None:
        self.keys = keys
        self.limits = limits
        self.clock = clock
        self.log_requests = log_requests
        self.traffic = Traffic()


class Endpoint:
    """An ASGI application for one path.

    Args:
        path: Its name in metrics.
        gate: What it has in common with the others.
        answer: Makes the answer. It is cancelled when the client goes away.
        shape: How errors are told.
        takes_body: Whether there is a body to read.
        needs_key: Whether a caller has to show a key, where there are any.
    """

    def __init__(
        self,
        path: str,
        gate: Gate,
        answer: Answering,
        *,
        shape: Shape = "openai",
        takes_body: bool = False,
        needs_key: bool = True,
    ) -> None:
        self._path = path
        self._gate = gate
        self._answer = answer
        self._shape = shape
        self._takes_body = takes_body
        self._needs_key = needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        in_flight = self._gate.traffic.in_flight
        in_flight[self._path] += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            in_flight[self._path] -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self._gate
        began = gate.clock.monotonic()
        headers = dict(scope["headers"])
        id = id_of(headers)
        visit = Visit(id=id, headers=headers, scope=scope, out=Outflow(send, id), told={})
        try:
            if self._needs_key:
                visit.caller = identify(headers, gate.keys)
            if self._takes_body:
                departure = scope.get(DEPARTURE)
                visit.body = await read_body(receive, headers, gate.limits, departure)
                if departure is None:
                    reply = await self._answer_listening(visit, receive)
                else:
                    reply = await self._answer_until(departure, visit)
            else:
                reply = await self._answer(visit)
        except ClientGone:
            self._tell(visit, CLIENT_CLOSED, began)
            return
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets an answer without it
            reply = self._failed(visit, exc)
            if visit.out.begun:  # its status has left; the error is the last event
                await visit.out.end(error_event(reply.body, self._shape))
                reply = None
        if reply is None:
            self._tell(visit, 200, began)
            return
        await send_reply(reply, visit.id, send)
        self._tell(visit, reply.status, began)

    async def _answer_until(self, departure: Departure, visit: Visit) -> Reply | None:
        """Answer; should the client go away meanwhile, everything done for it is cancelled.

        Raises:
            ClientGone: It did.
        """
        with anyio.CancelScope() as scope:
            departure.cancel = scope.cancel
            try:
                if not departure.gone:
                    return await self._answer(visit)
            finally:
                departure.cancel = None
        raise ClientGone

    async def _answer_listening(self, visit: Visit, receive: Receive) -> Reply | None:
        """The same where the protocol says nothing: a task listens, for 80 µs.

        Raises:
            ClientGone: It did.
        """
        reply: Reply | None = None
        answered = False
        raised: Exception | None = None
        async with anyio.create_task_group() as tasks:
            scope = tasks.cancel_scope
            tasks.start_soon(_cancel_when_gone, receive, scope)
            try:
                reply = await self._answer(visit)
                answered = True
            except Exception as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
                raised = exc
            scope.cancel()
        if raised is not None:
            raise raised
        if not answered:
            raise ClientGone
        return reply

    def _failed(self, visit: Visit, error: Exception) -> Reply:
        failure = failure_of(error)
        visit.told["error"] = failure.code
        if failure.status == 500:
            _log_internal(visit, error)
        headers = retry_headers(failure)
        ask = failure.error
        if ask is not None and ask.ask_id is not None:
            visit.told["ask_id"] = ask.ask_id
            headers.append((b"x-cascade-id", ask.ask_id.encode("ascii", "backslashreplace")))
            headers.append((b"x-cascade-attempts", b"%d" % len(ask.attempts)))
            if ask.cost_usd is not None:
                headers.append((b"x-cascade-cost-usd", b"%.9g" % ask.cost_usd))
        if failure.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if isinstance(error, Refused) and error.close:
            headers.append(_CLOSE)
        body = error_body(failure, self._shape, visit.id)
        return Reply(status=failure.status, body=body, headers=headers)

    def _tell(self, visit: Visit, status: int, began: float) -> None:
        self._gate.traffic.count(self._path, status, left=status == CLIENT_CLOSED)
        if not self._gate.log_requests:
            return
        fields = {
            "request_id": visit.id,
            "method": visit.scope["method"],
            "path": visit.scope["path"],
            "status": status,
            "ms": round((self._gate.clock.monotonic() - began) * 1e3, 3),
            "key": visit.caller.key,
            "tenant": visit.caller.tenant,
            **visit.told,
        }
        _log.info("request", extra={"fields": fields})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def id_of(headers: Mapping[bytes, bytes]) -> str:
    """Return the id of a request: the one its caller gave it, or a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and 0 < len(given) <= _MOST_ID:
        text = given.decode("latin-1")
        if text.isascii() and text.isprintable():
            return text
    return uuid.uuid4().hex


def _log_internal(visit: Visit, error: Exception) -> None:
    """Say what was raised and where, without its words: they may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    fields = {
        "request_id": visit.id,
        "raised": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
    if isinstance(error, CascadeError):
        fields["message"] = str(error)
    _log.error("internal error", extra={"fields": fields})
