"""`cascade compress --learn`: what the prompts of a log share, and the examples worth keeping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cascade.compress.learned import write_learned
from cascade.compress.learning import Logged, learn
from cascade.errors import ConfigError, RequestError
from cascade.intake import Prompt, make_request
from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog, is_decision_log

__all__ = ["learn_file"]


def learn_file(log: Path, output: Path, *, keep: int, tenant: str | None) -> str:
    """Write what a log teaches; return in words what that is.

    Args:
        log: Decision log or traffic log.
        output: File to write.
        keep: Examples to keep.
        tenant: Whose prompts these are; None: as a decision log says, and of a traffic log everybody's.

    Raises:
        ConfigError: The log holds no prompt.
        LogError: It cannot be read.
    """
    learned = learn(_prompts(log, tenant), keep=keep)
    if learned.prompts == 0:
        raise ConfigError(
            f"{log}: no prompt in it; a decision log keeps them with `log: {{text: true}}`"
        )
    write_learned(output, learned)
    lines = sum(len(found) for found in learned.boilerplate.values())
    return (
        f"{output}: {lines:,} lines that most of {learned.prompts:,} prompts have, "
        f"{len(learned.examples):,} examples to keep"
    )


def _prompts(log: Path, tenant: str | None) -> Iterator[Logged]:
    if log.is_dir() or is_decision_log(log):
        for record in LogReader(path=log):
            whose = record.get("tenant")
            if record.get("messages") and (tenant is None or whose == tenant):
                yield from _logged(record["messages"], whose, None)
        return
    for row in TrafficLog(paths=[log]):
        scores = [r.score for r in row.responses if r.score is not None]
        wrong = 1.0 - sum(scores) / len(scores) if scores else None
        yield from _logged(row.messages or row.prompt, tenant, wrong)


def _logged(prompt: Prompt, tenant: str | None, wrong: float | None) -> Iterator[Logged]:
    try:
        messages = make_request(prompt).messages
    except RequestError:  # empty, or a provider's own kind of message: nothing is learned from it
        return
    yield Logged(messages=messages, tenant=tenant, wrong=wrong)
