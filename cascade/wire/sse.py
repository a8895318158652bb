"""Server-sent events: bytes as they come, to the data of each event. Pure.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream". Names of events, ids and comments
are left out: the APIs repeat in the data what they name.
"""

from __future__ import annotations

__all__ = ["MAX_EVENT_BYTES", "EventReader", "EventTooLarge"]

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Largest event taken; a chunk of an answer has some hundred bytes, with log-probabilities some thousand."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event passes the size that is taken."""


class EventReader:
    r"""Takes the bytes of one stream in pieces of any size; O(1) a byte, however small they are.

    >>> reader = EventReader()
    >>> reader.feed(b": ping\n\ndata: {\"a\"")
    []
    >>> reader.feed(b": 1}\r\n\r\ndata: two\ndata: lines\n\n")
    [b'{"a": 1}', b'two\nlines']
    """

    __slots__ = ("_data", "_most", "_size", "_tail")

    def __init__(self, most: int = MAX_EVENT_BYTES) -> None:
        self._most = most
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that are complete with this piece.

        Raises:
            EventTooLarge: One passes `most` bytes.
        """
        self._size += len(piece)
        events: list[bytes] = []
        if b"\n" not in piece and b"\r" not in piece:
            self._tail.append(piece)
        else:
            if self._tail:
                self._tail.append(piece)
                piece = b"".join(self._tail)
            lines = piece.splitlines(keepends=True)
            # What ends in CR may go on with LF: they are one end of a line.
            self._tail = [] if lines[-1].endswith(b"\n") else [lines.pop()]
            for line in lines:
                self._take(line.rstrip(b"\r\n"), events)
            if events:
                self._size = sum(map(len, self._tail)) + sum(map(len, self._data))
        if self._size > self._most or any(len(event) > self._most for event in events):
            raise EventTooLarge
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line:
            if self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        elif line.startswith(_BYTE_ORDER_MARK):  # allowed before the first line
            self._take(line.removeprefix(_BYTE_ORDER_MARK), events)
