"""The server's end of a connection: uvicorn's, with bounds on heads of requests and on slow clients.

uvicorn itself waits for ever for the rest of a head, keeps one of any size, and holds an answer for a
client that does not read it.
"""

from __future__ import annotations

import logging
from asyncio.events import TimerHandle  # noqa: TID251 - the type of what uvicorn's loop returns
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .bodies import DEPARTURE, Departure
from .failures import Failure, error_body
from .joined import JoinedWrites
from .traffic import ELSEWHERE, Traffic

__all__ = ["GuardedProtocol", "HeadLimits", "guarded"]

_log = logging.getLogger("cascade.server")


class HeadLimits:
    """How large the head of a request may be, and how slow a client.

    Args:
        max_bytes: Most bytes of request line and headers.
        max_headers: Most headers.
        timeout_s: Seconds until a head is complete, from its first byte, and a new connection's from
            its beginning.
        write_timeout_s: Seconds for which a client may read nothing of an answer.
    """

    def __init__(
        self,
        max_bytes: int = 65_536,
        max_headers: int = 200,
        timeout_s: float = 10.0,
        write_timeout_s: float = 30.0,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_headers = max_headers
        self.timeout_s = timeout_s
        self.write_timeout_s = write_timeout_s


class _TooLarge(Exception):
    """The head is larger than it may be."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Made by uvicorn; `guarded` sets its limits."""

    limits: HeadLimits
    traffic: Traffic

    def connection_made(self, transport: Any) -> None:
        """Give the client its time to send a head."""
        joined: Any = JoinedWrites(transport, self.loop)
        super().connection_made(joined)
        self._departure = Departure()
        self._head_size = 0
        self._in_head = True
        self._heard = False
        self._too_large = False
        self._write_timer: TimerHandle | None = None
        self._head_timer: TimerHandle | None = self._begin_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is done for the client, and let go of the timers."""
        self._departure.happen()
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, as long as they are not too much of a head."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self._begin_head_timer()
        waiting = self._in_head
        self._heard = True
        super().data_received(data)
        if waiting and self._in_head and not self.transport.is_closing():
            self._head_size += len(data)  # of one header too, which is given to us when complete
            if self._head_size > self.limits.max_bytes:
                self._too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._departure.all_here = False
        self.scope[DEPARTURE] = self._departure  # type: ignore[literal-required]
        self._in_head = True
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= self.limits.max_headers:
            self._refuse_head()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has come in time."""
        self._in_head = False
        self._heard = False
        self._head_size = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has come."""
        self._departure.all_here = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Give the client its time to read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(
                self.limits.write_timeout_s, self.transport.abort
            )

    def resume_writing(self) -> None:
        """It has read."""
        self._stop_write_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; at once if its client has not even read the last answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or one whose head is too large, and close the connection."""
        if self.transport.is_closing():
            return
        if self._too_large:
            most = self.limits
            words = (
                f"the head is larger than {most.max_bytes:,} bytes or {most.max_headers} headers"
            )
            self._answer(Failure(status=431, message=words, code="head_too_large"))
        else:
            self._answer(Failure(status=400, message="not an HTTP request", code="bad_http"))

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.limits.max_bytes:
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._too_large = True
        raise _TooLarge  # ends the parsing; what has called it then calls send_400_response

    def _begin_head_timer(self) -> TimerHandle:
        return self.loop.call_later(self.limits.timeout_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_timer = self._begin_head_timer()  # an answer is under way: not now
            return
        if not self._heard:
            # Who has connected in advance would take a word from us for an answer to what comes next.
            self.transport.close()
            return
        words = f"the head was not complete within {self.limits.timeout_s:g} s"
        self._answer(Failure(status=408, message=words, code="head_timeout"))

    def _answer(self, failure: Failure) -> None:
        self.traffic.count(ELSEWHERE, failure.status)
        _log.info(
            "refused",
            extra={
                "fields": {"status": failure.status, "error": failure.code, "client": self.client}
            },
        )
        body = error_body(failure, "openai", "")
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[failure.status], len(body), body)
        )
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def guarded(limits: HeadLimits, traffic: Traffic) -> type[GuardedProtocol]:
    """Return the protocol with these limits, as uvicorn takes one: a class.

    Args:
        limits: Of heads.
        traffic: Where what never becomes a request is counted.
    """
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits, "traffic": traffic})
