"""What early accept and early reject save on recorded streams: real answers told token by token.

The log's train rows are cut in two: scorers are fitted on one half, thresholds picked on the other. What
is reported is of test rows. The speed of the models is stated, not measured: the clock is moved on by it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from benchmarks._shared import DATA
from cascade import Cascade, Ladder, Price, StreamRule, TextDelta
from cascade.cli.prices import read_prices
from cascade.clients.recorded import RecordedClient
from cascade.ladder import Rung
from cascade.records import TrafficRow
from cascade.testing import FakeClock
from cascade.traffic_log import TrafficLog
from scorers.artifact import load
from scorers.dataset import collect
from scorers.prefix_scorer import TrainedPrefixScorer
from scorers.scorer import TrainedScorer
from scorers.training import train

__all__ = ["CASES", "Case", "Picked", "Run", "Speed", "measure_case"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a model is said to be.

    Attributes:
        first_s: Seconds to the first token.
        token_s: Seconds for each further one.
    """

    first_s: float
    token_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A log, two of its models, and where the first one's drafts are judged."""

    log: str
    models: tuple[str, str]
    checkpoints: tuple[int, ...]


CASES = (
    Case(
        log="zeroeval_gsm8k",
        models=("llama-3.1-8b-instruct", "llama-3.1-405b-instruct"),
        checkpoints=(16, 32, 64, 96),
    ),
    Case(
        log="mmlupro",
        models=("llama-3.1-8b-instruct", "gemini-1.5-pro-002"),
        checkpoints=(16, 32, 64),
    ),
    Case(
        log="local_headlines",
        models=("qwen2.5-coder-0.5b-instruct-q4_k_m", "qwen2.5-coder-1.5b-instruct-q4_k_m"),
        checkpoints=(1,),
    ),
)
SPEEDS = (Speed(first_s=0.2, token_s=0.010), Speed(first_s=0.5, token_s=0.020))
"""100 and 50 tokens a second: usual for a small model and for a large one."""

GIVEN_UP = 0.02
"""Quality below that of always asking the dearer model at which whole answers may be accepted, on the rows
the thresholds are picked on: without it the cheap model is hardly used where it is much the worse one."""

KEPT = 0.005
"""Quality that deciding to accept early may cost on the rows it is picked on."""

SENT_ON = 0.02
"""Share of asks that deciding to reject early may send to the dearer model although the whole answer
would have been accepted, on the rows it is picked on."""
_GRID = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Thresholds, picked on rows that no scorer was fitted on.

    Attributes:
        hold: P(right) from which whole answers of the first model are accepted.
        accept: P(right) of a beginning from which it is passed on; None: none is worth it.
        reject: P(right) of a beginning below which it is ended; None: none is worth it.
    """

    hold: float
    accept: float | None
    reject: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way of answering all test rows. Arrays have shape (n,).

    Attributes:
        name: Which way.
        first_s: Seconds to the first byte that the reader gets.
        total_s: Seconds to the end.
        quality: Score of the answer given, in [0, 1].
        draft_tokens: Tokens of the first model's answer or draft that were paid for.
        cost_usd: US dollars.
        modes: Asks by what was done with the first model's draft.
    """

    name: str
    first_s: np.ndarray
    total_s: np.ndarray
    quality: np.ndarray
    draft_tokens: np.ndarray
    cost_usd: np.ndarray
    modes: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of one row when nothing is decided early. NaN marks what is absent."""

    judged: tuple[tuple[int, float | None], ...]
    confidence: float
    scores: tuple[float, float]


async def measure_case(case: Case, *, rows: int | None = None) -> tuple[Picked, list[Run]]:
    """Fit, pick and measure; `rows` are used of each split at most."""
    names = case.models
    read = [row for row in TrafficLog(paths=[DATA / f"{case.log}.jsonl.gz"]) if _usable(row, names)]
    splits = {
        split: _distinct([row for row in read if row.split == split])[:rows]
        for split in ("train", "test")
    }
    fit, tune, test = splits["train"][::2], splits["train"][1::2], splits["test"]
    with tempfile.TemporaryDirectory() as folder:
        found = collect(fit, models=names, checkpoints=case.checkpoints)
        trained = train(found, names, seeds=1, checkpoints=case.checkpoints)
        trained.save(Path(folder) / "scorer", created="2026-01-01T00:00:00Z")
        bench = _Bench(case, Path(folder))
        picked = _pick([await bench.look(row) for row in tune])
        return picked, await bench.runs(test, picked)


class _Bench:
    """Engines over one log's answers, on a clock that moves by the models' speeds."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        artifact = load(folder / "scorer", case.models)
        self._scorer = TrainedScorer(artifact, case.models)
        self._prefixes = TrainedPrefixScorer(artifact, case.models, self._scorer)
        self._prices = read_prices(DATA / "prices.json").table(case.models)

    async def look(self, row: TrafficRow) -> _Seen:
        """Return what the scorers say of a row, at every checkpoint and of the whole."""
        rule = StreamRule(mode="early", checkpoints=self._case.checkpoints)
        engine = self._engine([row], None, rule, FakeClock())
        async with engine, engine.stream(_prompt(row)) as events:
            async for _ in events:
                pass
        first = events.result.attempts[0]
        assert first.streamed is not None
        confidence = float("nan") if first.confidence is None else first.confidence
        scores = _scores(row, self._case.models)
        return _Seen(first.streamed.judged, confidence, scores)

    async def runs(self, rows: Sequence[TrafficRow], picked: Picked) -> list[Run]:
        """Return plain asks, held streams, and early ones."""
        early = StreamRule(mode="early", checkpoints=self._case.checkpoints)
        ways = {
            "ask": None,
            "hold": StreamRule(),
            "early accept": replace(early, accept=picked.accept),
            "early reject": replace(early, reject=picked.reject),
            "both": replace(early, accept=picked.accept, reject=picked.reject),
        }
        return [await self._run(name, rows, picked.hold, rule) for name, rule in ways.items()]

    async def _run(
        self, name: str, rows: Sequence[TrafficRow], accept: float, rule: StreamRule | None
    ) -> Run:
        found: list[tuple[float, float, float, float, float]] = []
        modes: dict[str, int] = {}
        clock = FakeClock()
        async with self._engine(rows, accept, rule, clock) as engine:
            for row in rows:
                began = clock.seconds
                first_s = None
                if rule is None:
                    result = await engine.ask(_prompt(row))
                else:
                    async with engine.stream(_prompt(row)) as events:
                        async for event in events:
                            if isinstance(event, TextDelta) and first_s is None:
                                first_s = clock.seconds - began
                    result = events.result
                total_s = clock.seconds - began
                attempt = result.attempts[0]
                streamed = attempt.streamed
                mode = "ask" if streamed is None else streamed.mode
                modes[mode] = modes.get(mode, 0) + 1
                usage = attempt.answer.usage if attempt.answer is not None else None
                if usage is None and streamed is not None:
                    usage = streamed.usage
                found.append(
                    (
                        total_s if first_s is None else first_s,
                        total_s,
                        _scores(row, self._case.models)[result.rung],
                        float(usage.completion_tokens or 0) if usage is not None else 0.0,
                        float("nan") if result.cost_usd is None else result.cost_usd,
                    )
                )
        columns = np.array(found).T
        return Run(
            name=name,
            first_s=columns[0],
            total_s=columns[1],
            quality=columns[2],
            draft_tokens=columns[3],
            cost_usd=columns[4],
            modes=modes,
        )

    def _engine(
        self,
        rows: Sequence[TrafficRow],
        accept: float | None,
        rule: StreamRule | None,
        clock: FakeClock,
    ) -> Cascade:
        path = self._folder / "rows.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        rungs, clients = [], {}
        for i, (model, speed) in enumerate(zip(self._case.models, SPEEDS, strict=True)):
            price = self._prices.get(model)
            rungs.append(
                Rung(
                    model=model,
                    provider=f"p{i}",
                    accept=accept if i == 0 else None,
                    price=None if price is None else Price(**price),
                )
            )
            clients[f"p{i}"] = RecordedClient(
                f"p{i}", path, first_token_s=speed.first_s, token_s=speed.token_s, clock=clock
            )
        return Cascade(
            Ladder(name="recorded", rungs=tuple(rungs)),
            clients,
            scorer=self._scorer,
            prefix_scorer=self._prefixes,
            gates=(),
            keep="last",
            stream_rules=[rule or StreamRule(), StreamRule()],
            clock=clock,
            deadline_s=None,
        )


def _pick(seen: Sequence[_Seen]) -> Picked:
    """Pick the thresholds that call the dearer model least, and then decide most drafts early.

    `hold`: the lowest threshold whose quality is within `GIVEN_UP` of the dearer model's. `accept`: the
    lowest within `KEPT` of the quality of holding. `reject`: the highest that sends no more than
    `SENT_ON` of the asks on in vain.
    """
    first = np.array([row.scores[0] for row in seen])
    second = np.array([row.scores[1] for row in seen])
    confidence = np.nan_to_num(np.array([row.confidence for row in seen]), nan=-1.0)
    by_hold = {t: float(np.where(confidence >= t, first, second).mean()) for t in _GRID.tolist()}
    least = float(second.mean()) - GIVEN_UP
    hold = min((t for t, quality in by_hold.items() if quality >= least), default=1.0)
    held = np.where(confidence >= hold, first, second)
    floor = float(held.mean()) - KEPT
    highest = np.array([_extreme(row, max) for row in seen])
    lowest = np.array([_extreme(row, min) for row in seen])
    judged = ~np.isnan(highest)
    accepts = [
        t
        for t in _GRID.tolist()
        if judged.any() and np.where(highest >= t, first, held).mean() >= floor
    ]
    rejects = [
        t
        for t in _GRID.tolist()
        if judged.any() and ((lowest < t) & (confidence >= hold)).mean() <= SENT_ON
    ]
    accept = min(accepts, default=None)
    reject = max((t for t in rejects if accept is None or t < accept), default=None)
    return Picked(hold=hold, accept=accept, reject=reject)


def _extreme(row: _Seen, of: type[max] | type[min]) -> float:  # type: ignore[valid-type]
    known = [p for _, p in row.judged if p is not None]
    return float(of(known)) if known else float("nan")


def _usable(row: TrafficRow, models: Sequence[str]) -> bool:
    kept = {response.model: response for response in row.responses}
    return all(
        model in kept and kept[model].text and kept[model].score is not None for model in models
    )


def _distinct(rows: Sequence[TrafficRow]) -> list[TrafficRow]:
    return list({repr(_prompt(row)): row for row in rows}.values())


def _prompt(row: TrafficRow) -> object:
    return row.messages or row.prompt


def _scores(row: TrafficRow, models: Sequence[str]) -> tuple[float, float]:
    scores = {response.model: response.score for response in row.responses}
    first, second = (scores[model] for model in models)
    assert first is not None
    assert second is not None
    return first, second
