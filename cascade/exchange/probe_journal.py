"""What a probe has bought, on disk as it comes: nothing is paid for twice, whatever stops the program.

Two kinds of lines: a prompt with the keys of the calls for it, and an answer under its key. The log that
tools read is made from it whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from ..errors import LogError
from ..log_lines import numbered_lines
from ..pricing import Price, cost_usd
from ..records import Response, TrafficRow
from ..types import Answer
from .probe_plan import Asked

__all__ = ["Bought", "Journal"]


class Bought(msgspec.Struct, kw_only=True):
    """One answer that was paid for."""

    text: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    cost_usd: float | None = None

    @classmethod
    def of(cls, answer: Answer, price: Price | None, latency_s: float) -> Bought:
        """Return an answer as it is kept; what it cost by the source, else by the price."""
        paid = cost_usd(answer.usage, price) if answer.cost_usd is None else answer.cost_usd
        return cls(
            text=answer.text,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            finish_reason=answer.finish_reason,
            latency_s=round(latency_s, 6),
            cost_usd=paid,
        )


class _Prompt(msgspec.Struct, kw_only=True):
    id: str
    cluster: str
    prompt: str
    messages: list[dict[str, Any]] | None = None
    reference: Any = None
    best: str | None = None
    keys: dict[str, str]


class _Line(msgspec.Struct, kw_only=True):
    prompt: _Prompt | None = None
    key: str | None = None
    answer: Bought | None = None


class Journal:
    """The file of what was bought; a context manager.

    Args:
        path: The file; made with the first line.

    Attributes:
        answers: Key of a call → its answer.

    Raises:
        LogError: It holds something else, or cannot be read; names file and line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Bought] = {}
        self._prompts: dict[str, _Prompt] = {}
        self._file: IO[bytes] | None = None
        self._encoder = msgspec.json.Encoder()
        if path.exists():
            self._read()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(_Line)
        whole = 0
        for number, line in numbered_lines(self.path):
            try:
                entry = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                if not line.endswith(b"\n"):  # torn off when the program was killed
                    break
                raise LogError(f"{self.path}:{number}: no line of a probe's journal") from exc
            whole += len(line)
            if entry.prompt is not None:
                self._prompts[entry.prompt.id] = entry.prompt
            elif entry.key is not None and entry.answer is not None:
                self.answers[entry.key] = entry.answer
        with contextlib.suppress(OSError):
            if self.path.stat().st_size > whole:
                os.truncate(self.path, whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with file, contextlib.suppress(OSError):
                os.fsync(file.fileno())

    def note_prompt(self, asked: Asked, best: str | None) -> None:
        """Keep a prompt with the calls for it, beside those of an earlier run.

        Args:
            asked: The prompt.
            best: The best answer the log has to it, or None.
        """
        row = asked.candidate.row
        before = self._prompts.get(asked.candidate.id)
        prompt = _Prompt(
            id=asked.candidate.id,
            cluster=asked.cluster,
            prompt=row.prompt,
            messages=row.messages,
            reference=row.reference,
            best=best,
            keys=({} if before is None else before.keys)
            | {model: purchase.key for model, purchase in asked.purchases.items()},
        )
        if before != prompt:
            self._write(_Line(prompt=prompt))
            self._prompts[prompt.id] = prompt

    def note_answer(self, key: str, answer: Bought) -> None:
        """Keep an answer."""
        self._write(_Line(key=key, answer=answer))
        self.answers[key] = answer

    def rows(self) -> Iterator[tuple[TrafficRow, str | None]]:
        """Yield every prompt that an answer was bought for, in the order of the sample, and its best answer."""
        for prompt in self._prompts.values():
            responses = [
                _response(model, self.answers[key])
                for model, key in prompt.keys.items()
                if key in self.answers
            ]
            if responses:
                yield (
                    TrafficRow(
                        id=prompt.id,
                        task=prompt.cluster,
                        prompt=prompt.prompt,
                        messages=prompt.messages,
                        reference=prompt.reference,
                        responses=responses,
                    ),
                    prompt.best,
                )

    def _write(self, line: _Line) -> None:
        encoded = self._encoder.encode(_bare(line)) + b"\n"
        whole = 0
        try:
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            whole = self._file.tell()
            if self._file.write(encoded) < len(encoded):
                raise OSError(0, "the disk is full")
        except OSError as exc:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.truncate(whole)
            raise LogError(f"{self.path}: cannot be written ({exc.strerror})") from exc


def _bare(line: _Line) -> Mapping[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(line)
    return {name: value for name, value in built.items() if value is not None}


def _response(model: str, bought: Bought) -> Response:
    return Response(
        model=model,
        text=bought.text,
        prompt_tokens=bought.prompt_tokens,
        completion_tokens=bought.completion_tokens,
        finish_reason=bought.finish_reason,
        latency_s=bought.latency_s,
        cost_usd=bought.cost_usd,
    )
