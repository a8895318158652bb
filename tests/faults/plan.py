"""What goes wrong, with which request, and what a right answer is: known to both sides.

The upstream and the harness draw from the same seed, so that each can check the other's account.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "FAULTS",
    "FILLER",
    "PRICES",
    "Fault",
    "Faulty",
    "Plan",
    "answer_text",
    "cost_usd",
    "is_intact",
    "is_sure",
    "prompt",
    "unit",
    "usage",
]

PRICES: Mapping[str, tuple[float, float]] = {
    "small": (0.15, 0.6),
    "medium": (1.0, 4.0),
    "large": (2.5, 10.0),
}
"""Model → US dollars per million tokens of input and of output."""

FILLER = "x" * 10_000_000
"""What follows the text of an answer that is 10 MB long."""

SURE_SHARE = 0.7
"""Share of the answers of a model whose log-probabilities say that it is sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which an upstream fails.

    Attributes:
        answers: Whether the answer is whole and right all the same.
        hangs: Whether only a timeout ends it.
        error: Class of the error that one such call must end with, or None when it answers.
        address: Whether it is the address that is bad, so that no upstream is reached at all.
    """

    error: str | None
    answers: bool = False
    hangs: bool = False
    address: bool = False


FAULTS: Mapping[str, Fault] = {
    "500": Fault(error="ServerFailed"),
    "502-html": Fault(error="ServerFailed"),
    "429": Fault(error="RateLimited"),
    "429-seconds": Fault(error="RateLimited"),
    "429-date": Fault(error="RateLimited"),
    "skewed-dates": Fault(error="RateLimited"),
    "401": Fault(error="Unauthorized"),
    "400": Fault(error="RequestRefused"),
    "reset": Fault(error="ConnectFailed"),
    "cut-in-body": Fault(error="ConnectFailed"),
    "cut-in-stream": Fault(error="ConnectFailed"),
    "truncated-chunks": Fault(error="ConnectFailed"),
    "hang": Fault(error="ProviderTimeout", hangs=True),
    "hang-in-body": Fault(error="ProviderTimeout", hangs=True),
    "byte-a-second": Fault(error="ProviderTimeout", hangs=True),
    "bad-json": Fault(error="BadResponse"),
    "bad-utf8": Fault(error="BadResponse"),
    "wrong-type": Fault(error=None, answers=True),
    "10-mb": Fault(error=None, answers=True),
    "refused": Fault(error="ConnectFailed", address=True),
    "bad-certificate": Fault(error="ConnectFailed", address=True),
    "no-such-host": Fault(error="ConnectFailed", address=True),
}
"""Every fault by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """How a model misbehaves: a share of its requests, in [0, 1], with one of these faults each."""

    share: float
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the upstream does until it is given another plan.

    Attributes:
        seed: Of every draw.
        faulty: Model → how it misbehaves; a model that is absent is healthy.
        delay_s: Least and most seconds that an answer takes.
        retry_after_s: What `Retry-After` says; a date says it in whole seconds.
    """

    seed: int = 7
    faulty: Mapping[str, Faulty] = field(default_factory=dict)
    delay_s: tuple[float, float] = (0.0, 0.01)
    retry_after_s: float = 1.0

    def fault(self, model: str, ask: int, number: int) -> str | None:
        """Return the fault of a model's request number `number` (from 0) for an ask, or None."""
        faulty = self.faulty.get(model)
        if faulty is None or not faulty.faults:
            return None
        drawn = unit(self.seed, "fault", model, ask, number)
        if drawn >= faulty.share:
            return None
        return faulty.faults[int(drawn / faulty.share * len(faulty.faults))]

    def delay(self, model: str, ask: int, number: int) -> float:
        """Return the seconds that this request takes."""
        least, most = self.delay_s
        return least + (most - least) * unit(self.seed, "delay", model, ask, number)

    def to_json(self) -> bytes:
        """Return the plan as it is sent to the upstream."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Plan:
        """Return the plan that was sent."""
        fields: dict[str, Any] = json.loads(body)
        fields["faulty"] = {
            model: Faulty(share=faulty["share"], faults=tuple(faulty["faults"]))
            for model, faulty in fields["faulty"].items()
        }
        return cls(**fields | {"delay_s": tuple(fields["delay_s"])})


def unit(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


def prompt(ask: int) -> str:
    """Return the prompt of an ask; it begins with the ask's number."""
    return f"{ask} is the number of this question. What is its checksum?"


def answer_text(model: str, ask: int) -> str:
    """Return the only right answer of a model to an ask: it holds a checksum of both."""
    return f"{model} says {hashlib.sha256(f'{model}/{ask}'.encode()).hexdigest()}"


def is_intact(text: str, model: str, ask: int) -> bool:
    """Return whether a text is the whole right answer, long or short."""
    right = answer_text(model, ask)
    return text == right or text == right + FILLER


def is_sure(model: str, ask: int) -> bool:
    """Return whether a model is sure of its answer to an ask."""
    return unit("sure", model, ask) < SURE_SHARE


def usage(model: str, ask: int) -> tuple[int, int]:
    """Return the tokens that an answer is billed for: prompt, completion."""
    return 20 + int(200 * unit("prompt", ask)), 1 + int(100 * unit("completion", model, ask))


def cost_usd(model: str, ask: int) -> float:
    """Return what the upstream bills for one answer, US dollars."""
    tokens, price = usage(model, ask), PRICES[model]
    return (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6
