"""How fast is a trained scorer? One answer live, one row through LightGBM, rows in a batch, and training.

    python benchmarks/scoring.py             # all of it, some twenty minutes, most of them training
    python benchmarks/scoring.py --no-train  # without the training of 100,000 rows by 9 models
    python benchmarks/scoring.py --smoke     # the same paths in seconds, numbers worth nothing

Live is what the engine calls: `TrainedScorer.score_nowait` on a request that it has not seen and an
answer of 200 tokens with five alternatives each, decoded from a provider's body just before, as in the
engine (that is not timed). Scorers are trained on made-up logs of two and of three models and, where
the shared logs are there, on two of them. Median, p90 and p99 are wall time on one core; beside them
stands the median of the best of some rounds over the same answers, which other work on the machine
disturbs least. Decoding leaves it to the first reader to put the alternatives in order: that is done
before, and stands in a row of its own. Raw samples go to out/scoring.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MAY_HAVE_THREADS = "--threads-child"
if MAY_HAVE_THREADS not in sys.argv:
    os.environ.update(dict.fromkeys(THREADS, "1"))  # before numpy and LightGBM are loaded

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lightgbm as lgb  # noqa: E402
import msgspec  # noqa: E402
import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks._shared import DATA, OUT, write_result  # noqa: E402
from cascade.errors import ScorerError  # noqa: E402
from cascade.records import Response, TrafficRow  # noqa: E402
from cascade.traffic_log import TrafficLog  # noqa: E402
from cascade.types import Answer, Attempt, Message, Request  # noqa: E402
from cascade.wire.openai import decode_response  # noqa: E402
from scorers import native  # noqa: E402
from scorers.artifact import Artifact, load  # noqa: E402
from scorers.blend import Blend  # noqa: E402
from scorers.dataset import collect, read_dataset  # noqa: E402
from scorers.fast_booster import FastBooster  # noqa: E402
from scorers.features import read, read_prompt  # noqa: E402
from scorers.scorer import TrainedScorer  # noqa: E402
from scorers.single import Heard, SingleScorer, Turn  # noqa: E402
from scorers.training import train  # noqa: E402

TOKENS = 200
SHARED = ("routellm_gsm8k", "local_headlines")
LIVE_US, TREES_US, ROWS_A_SECOND, TRAIN_MINUTES, TRAIN_GB = 500.0, 60.0, 100_000.0, 10.0, 4.0
"""What was promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        train_rows: Rows of a made-up log that a scorer is trained on.
        answers: Different requests that are scored live.
        rounds: Times each of them is scored.
        calls: Calls of each way through LightGBM.
        batch: Rows scored together.
        big_rows: Rows of the log that `cascade train` is timed on.
        big_models: Its models.
    """

    train_rows: int
    answers: int
    rounds: int
    calls: int
    batch: int
    big_rows: int
    big_models: int


FULL = Scale(
    train_rows=1_200,
    answers=400,
    rounds=5,
    calls=5_000,
    batch=100_000,
    big_rows=100_000,
    big_models=9,
)
SMOKE = Scale(train_rows=60, answers=20, rounds=2, calls=50, batch=2_000, big_rows=60, big_models=3)


# Made-up logs: word problems and what models answer to them, right or wrong.

PEOPLE = ("Maria", "Tom", "Aisha", "Wei", "Lena", "Omar", "Priya", "Jonas", "Kofi", "Elif")
THINGS = ("pencils", "apples", "tickets", "bricks", "stamps", "bottles", "roses", "chairs", "books")
PLACES = ("the market", "a small shop", "the school", "the harbour", "her brother", "a farm")
ASIDES = (
    "First it helps to write down what is known.",
    "Let me work this out step by step.",
    "This is the part that is easy to get wrong, because the order matters.",
    "Nothing else changes in the meantime, so the count stays the same.",
    "We may be asked for the money and not for the number, so let me check that again.",
    "However, the price is given for each one and not for the whole box.",
    "That seems about right, since the numbers are small.",
    "Not all of them are sold, but the question is only about the ones that are.",
    "I think the last step is the one that counts here.",
    "Therefore the amount does not depend on the day of the week.",
)
MISJUDGED = 0.12
"""Share of the answers whose score is wrong: what can be told from an answer has an end."""
SKILL = (0.55, 0.7, 0.85, 0.93)


def problem(rng: random.Random) -> tuple[str, tuple[int, int, int, int]]:
    """Return a word problem and its four numbers."""
    a, b, c, d = rng.randint(4, 90), rng.randint(2, 30), rng.randint(2, 12), rng.randint(1, 40)
    who, other = rng.sample(PEOPLE, 2)
    things, place = rng.choice(THINGS), rng.choice(PLACES)
    text = (
        f"{who} buys {a} boxes of {things} at {place} and {b} more from {other}. Each box holds {c} "
        f"{things}. {other} then takes back {d} of them because they are broken. How many {things} "
        f"does {who} have left in the end, and how much are they worth at $3 each?"
    )
    return text, (a, b, c, d)


def solution(rng: random.Random, numbers: tuple[int, int, int, int], right: bool) -> str:
    """Return a solution in words, with a slip in it if it is not right."""
    a, b, c, d = numbers
    slip = 0 if right else rng.choice((-10, -1, 1, 2, 10))
    boxes = a + b
    whole = boxes * c + slip
    left = whole - d
    steps = [
        f"There are {a} + {b} = {boxes} boxes altogether.",
        f"Each holds {c}, so that makes {boxes} x {c} = {whole} of them.",
        f"Since {d} are taken back, {whole} - {d} = {left} are left.",
        f"At $3 each they are worth {left} * 3 = ${left * 3}.",
    ]
    told = []
    for step in steps:
        if rng.random() < 0.8:
            told.append(rng.choice(ASIDES))
        told.append(step)
    return " ".join([*told, f"\n#### {left * 3}"])


_TOKEN = re.compile(r"\s?[A-Za-z]{1,6}|\s?\d{1,3}|\s?[^\w\s]|\s|\w")


def to_tokens(text: str) -> list[str]:
    """Return pieces that make up the text, some four characters each."""
    return _TOKEN.findall(text)


def sure(rng: random.Random, count: int, right: bool) -> tuple[list[float], list[list[float]]]:
    """Return log-probabilities of tokens and of the five best alternatives, best first.

    Wrong answers are less sure on average, but one answer's doubt says little.
    """
    doubt = (0.2 if right else 0.3) * math.exp(rng.gauss(0.0, 0.6))
    chosen, top = [], []
    for _ in range(count):
        logprob = -round(rng.expovariate(1 / doubt), 4)
        others = sorted((-round(rng.expovariate(0.3) + 0.7, 4) for _ in range(4)), reverse=True)
        chosen.append(logprob)
        top.append(sorted((logprob, *others), reverse=True))
    return chosen, top


def made_log(count: int, models: int, seed: int = 0) -> list[TrafficRow]:
    """Return rows of a made-up log; better models cost more and are right more often."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        text, numbers = problem(rng)
        hard = rng.random()
        responses = []
        for j in range(models):
            right = rng.random() < min(0.98, SKILL[j] + 0.3 * (0.5 - hard))
            answer = solution(rng, numbers, right != (rng.random() < MISJUDGED))
            chosen, top = sure(rng, len(to_tokens(answer)), right)
            responses.append(
                Response(
                    model=f"m{j}",
                    text=answer,
                    score=float(right),
                    prompt_tokens=len(to_tokens(text)),
                    completion_tokens=len(chosen),
                    logprobs=chosen,
                    top_logprobs=top,
                    finish_reason="stop",
                    cost_usd=1e-5 * 4.0**j,
                )
            )
        rows.append(TrafficRow(id=f"made-{seed}-{i}", prompt=text, responses=responses))
    return rows


# Scorers, and the requests they are asked about.


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it comes to the scorer.

    Attributes:
        prompt: The question.
        bodies: The first two models' responses, as a provider sends them.
    """

    prompt: str
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A trained scorer, requests, and the log they come from."""

    name: str
    artifact: Artifact
    asked: list[Asked]
    rows: list[TrafficRow]


def body_of(rng: random.Random, model: str, tokens: list[str]) -> bytes:
    """Return a chat completion of these tokens, with made-up log-probabilities."""
    chosen, top = sure(rng, len(tokens), rng.random() < 0.7)
    content = [
        {
            "token": token,
            "logprob": logprob,
            "bytes": None,
            "top_logprobs": [{"token": "x", "logprob": value} for value in best],
        }
        for token, logprob, best in zip(tokens, chosen, top, strict=True)
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(tokens)},
        "logprobs": {"content": content},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 90, "completion_tokens": len(tokens)}
    return msgspec.json.encode({"model": model, "choices": [choice], "usage": usage})


def ask_about(rows: Sequence[TrafficRow], models: Sequence[str], count: int) -> list[Asked]:
    """Return requests with answers of exactly `TOKENS` tokens: the log's own, joined and cut."""
    rng = random.Random(1)
    said = {
        m: [r.text for row in rows for r in row.responses if r.model == m and r.text]
        for m in models
    }
    asked = []
    for i in range(count):
        row = rows[i % len(rows)]
        own = {response.model: response.text or "" for response in row.responses}
        bodies = []
        for model in models[:2]:
            tokens = to_tokens(own[model])
            while len(tokens) < TOKENS:
                tokens += to_tokens(" " + rng.choice(said[model]))
            bodies.append(body_of(rng, model, tokens[:TOKENS]))
        # A prompt that comes again is another request: nothing of it is remembered.
        asked.append(Asked(prompt=row.prompt, bodies=tuple(bodies)))
    return asked


def subjects(scale: Scale, smoke: bool, folder: Path) -> Iterator[Subject]:
    """Train or load the scorers, one after another; made-up ones are kept in `folder`."""
    for models in (2, 3):
        rows = made_log(scale.train_rows, models)
        found = collect(rows)
        trained = train(found, found.models, seeds=1 if smoke else 2)
        trained.save(folder / f"made-up-{models}", created="2026-01-01T00:00:00Z")
        artifact = load(folder / f"made-up-{models}")
        fresh = made_log(scale.answers, models, seed=7)
        yield Subject(
            name=f"made-up log, {models} models",
            artifact=artifact,
            asked=ask_about(fresh, artifact.models, scale.answers),
            rows=fresh,
        )
    for name in () if smoke or not DATA.is_dir() else SHARED:
        log = DATA / f"{name}.jsonl.gz"
        artifact = of_shared_log(name, log)
        rows = [row for row in TrafficLog(paths=[log]) if row.split == "test"]
        asked = ask_about(rows, artifact.models, scale.answers)
        count = len(artifact.models)
        yield Subject(name=f"{name}, {count} models", artifact=artifact, asked=asked, rows=rows)


def of_shared_log(name: str, log: Path) -> Artifact:
    """Return a shared log's scorer; it is kept, and trained anew if this code cannot read it."""
    kept = OUT / "scorers" / name
    try:
        return load(kept)
    except ScorerError:
        train_by_command(log, kept, "--prices", str(DATA / "prices.json"))
        return load(kept)


def train_by_command(log: Path, folder: Path, *options: str) -> str:
    """Run `cascade train` and return what it printed."""
    command = [sys.executable, "-m", "cascade", "train", str(log), "-o", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return done.stdout


# Live.


def attempt(rung: int, model: str, answer: Answer) -> Attempt:
    """Return an attempt as the engine has it when it asks the scorer."""
    return Attempt(
        rung=rung, model=model, provider="p", verdict="escalated", reason="", answer=answer
    )


def decoded(asked: Asked, models: Sequence[str], rung: int) -> Attempt:
    """Return the attempt that a rung's response makes, its alternatives put in order."""
    answer = decode_response(asked.bodies[rung], provider="p", model=models[rung])
    order(answer)
    return attempt(rung, models[rung], answer)


def order(answer: Answer) -> None:
    """Have the alternatives put in order, which decoding leaves to who reads them first."""
    if answer.logprobs is not None and answer.logprobs.top:
        answer.logprobs.top[0]


def ordering(subject: Subject, rounds: int) -> list[list[float]]:
    """Return microseconds of what decoding leaves to the first reader."""
    found: list[list[float]] = [[] for _ in subject.asked]
    for _ in range(rounds):
        for one, asked in zip(found, subject.asked, strict=True):
            answer = decode_response(asked.bodies[0], provider="p", model="m")
            start = time.perf_counter()
            order(answer)
            one.append((time.perf_counter() - start) * 1e6)
    return found


def live(subject: Subject, rounds: int) -> dict[str, list[list[float]]]:
    """Return microseconds by what is timed, by request, by round.

    The engine scores the first rung's answer, and then the second's with the first's beside it. With
    a policy that wants a forecast it scores the prompt alone before: the second pass.
    """
    scorer = TrainedScorer(subject.artifact, subject.artifact.models)
    names = (
        ("first rung", "second rung, one earlier answer"),
        ("prompt alone (forecast)", "first rung after a forecast"),
    )
    found = {name: [[] for _ in subject.asked] for pair in names for name in pair}
    for forecast, pair in enumerate(names):
        for number in range(-1, rounds):  # one round before compiles what each state needs
            for i, asked in enumerate(subject.asked):
                took = timed_ask(scorer, asked, subject.artifact.models, bool(forecast))
                if number >= 0:
                    for name, seconds in zip(pair, took, strict=True):
                        found[name][i].append(seconds * 1e6)
    return found


def timed_ask(
    scorer: TrainedScorer, asked: Asked, models: Sequence[str], forecast: bool
) -> tuple[float, float]:
    """Return the seconds of two scores of one request that is new to the scorer."""
    clock = time.perf_counter
    request = Request(messages=(Message(role="user", content=asked.prompt),))
    attempts = [] if forecast else [decoded(asked, models, 0)]
    t0 = clock()
    scorer.score_nowait(request, attempts)
    t1 = clock()
    attempts = [*attempts, decoded(asked, models, len(attempts))]
    t2 = clock()
    scorer.score_nowait(request, attempts)
    return t1 - t0, clock() - t2


def parts(subject: Subject, rounds: int) -> dict[str, list[list[float]]]:
    """Return the first rung's microseconds in parts: features, heads, and of these all but the texts."""
    models = subject.artifact.models
    single = SingleScorer(subject.artifact.model)
    found: dict[str, list[list[float]]] = {
        name: [[] for _ in subject.asked]
        for name in ("features", "heads", "of these, numbers and trees")
    }
    clock = time.perf_counter
    with timed_blends() as blends:
        for turn in range(-1, rounds):
            for i, asked in enumerate(subject.asked):
                answer = decoded(asked, models, 0).answer
                assert answer is not None
                assert answer.logprobs is not None
                blends[0] = 0.0
                t0 = clock()
                prompt = read_prompt(asked.prompt)
                told = read(
                    prompt,
                    answer.text,
                    logprobs=answer.logprobs.logprobs,
                    top_logprobs=answer.logprobs.top,
                    finish_reason=answer.finish_reason,
                    completion_tokens=answer.usage.completion_tokens,
                    prompt_tokens=answer.usage.prompt_tokens,
                )
                t1 = clock()
                assert told is not None
                heard = {0: Heard.of(told, answer.text or "")}
                single.probabilities(Turn(prompt, asked.prompt), heard)
                t2 = clock()
                if turn >= 0:
                    for one, took in zip(
                        found.values(), (t1 - t0, t2 - t1, blends[0]), strict=True
                    ):
                        one[i].append(took * 1e6)
    return found


@contextmanager
def timed_blends() -> Iterator[list[float]]:
    """Add up the seconds that are spent in heads on numbers, trees and the blending of all."""
    spent = [0.0]
    plain = Blend.one

    def timed(self: Blend, x: np.ndarray, texts: np.ndarray | None = None) -> np.ndarray:
        start = time.perf_counter()
        found = plain(self, x, texts)
        spent[0] += time.perf_counter() - start
        return found

    Blend.one = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Blend.one = plain  # type: ignore[method-assign]


def check_live(subject: Subject) -> None:
    """Live scores are those of a batch, in the states that are timed."""
    artifact = subject.artifact
    models = artifact.models
    rows, states = [], []
    scorer = TrainedScorer(artifact, models)
    expected = []
    for i, asked in enumerate(subject.asked[:20]):
        request = Request(messages=(Message(role="user", content=asked.prompt),))
        given = [decoded(asked, models, rung) for rung in range(2)]
        rows.append(
            TrafficRow(
                id=str(i),
                prompt=asked.prompt,
                responses=[as_response(a) for a in given]
                + [Response(model=m, text="") for m in models[2:]],
            )
        )
        states.append([scorer.score_nowait(request, given[:n]).forecast for n in range(3)])
    data = read_dataset(rows, models, need_score=False)
    expected = artifact.model.probabilities(data, np.arange(len(rows)), [0, 1, 3])
    for i, each in enumerate(states):
        for state, forecast in zip((0, 1, 3), each, strict=True):
            told = [forecast[j] for j in range(len(models))]
            np.testing.assert_allclose(told, expected[state, i], rtol=0, atol=1e-9)


def as_response(one: Attempt) -> Response:
    """Return an attempt's answer as a log holds it."""
    answer = one.answer
    assert answer is not None
    assert answer.logprobs is not None
    return Response(
        model=one.model,
        text=answer.text,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        logprobs=list(answer.logprobs.logprobs),
        top_logprobs=[list(top) for top in answer.logprobs.top or ()],
        finish_reason=answer.finish_reason,
    )


# One row through LightGBM.


def big_model() -> tuple[lgb.Booster, lgb.LGBMClassifier, np.ndarray]:
    """Return a model of 200 trees of 31 leaves, as a booster and as scikit-learn's, and rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 60))
    x[rng.random(x.shape) < 0.1] = np.nan
    y = (np.nansum(x[:, :8], axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    wrapped = lgb.LGBMClassifier(n_estimators=200, num_leaves=31, verbosity=-1)
    wrapped.fit(x, y)
    return wrapped.booster_, wrapped, x[:2_000]


def one_row(calls: int) -> dict[str, list[float]]:
    """Return microseconds of a row through the same model by each way; checks that they agree."""
    booster, wrapped, x = big_model()
    fast = FastBooster(booster)
    expected = booster.predict(x[:200])
    assert all(
        abs(fast.predict_one(row) - p) < 1e-12 for row, p in zip(x[:200], expected, strict=True)
    )
    np.testing.assert_allclose(wrapped.predict_proba(x[:200])[:, 1], expected, atol=1e-12)
    ways: dict[str, tuple[Callable[[np.ndarray], Any], int]] = {
        "single-row call (FastBooster)": (fast.predict_one, calls),
        "Booster.predict": (lambda row: booster.predict(row[None]), max(20, calls // 10)),
        "Booster.predict, one thread": (
            lambda row: booster.predict(row[None], num_threads=1),
            max(20, calls // 10),
        ),
        "LGBMClassifier.predict_proba": (
            lambda row: wrapped.predict_proba(row[None]),
            max(20, calls // 10),
        ),
    }
    found = {}
    for name, (way, count) in ways.items():
        samples = []
        for i in range(-10, count):
            row = x[i % len(x)]
            start = time.perf_counter()
            way(row)
            took = time.perf_counter() - start
            if i >= 0:
                samples.append(took * 1e6)
        found[name] = samples
    return found


def threads_child(folder: str) -> dict[str, float]:
    """Return the share of CPU time that other threads took, by what was called; all cores are free to use."""
    booster, wrapped, x = big_model()
    fast = FastBooster(booster)
    artifact = load(folder)
    scorer = TrainedScorer(artifact, artifact.models)
    asked = ask_about(made_log(40, len(artifact.models), seed=9), artifact.models, 40)
    pairs = [
        (
            Request(messages=(Message(role="user", content=a.prompt),)),
            decoded(a, artifact.models, 0),
        )
        for a in asked
    ]
    for request, given in pairs[:3]:
        scorer.score_nowait(request, (given,))

    def lives() -> None:
        for request, given in pairs:
            scorer.score_nowait(request, (given,))
            scorer.score_nowait(Request(messages=request.messages), (given,))

    ways = {
        "live score": lives,
        "single-row call (FastBooster)": lambda: [fast.predict_one(row) for row in x],
        "Booster.predict": lambda: [booster.predict(row[None]) for row in x[:100]],
        "LGBMClassifier.predict_proba": lambda: [wrapped.predict_proba(r[None]) for r in x[:50]],
    }
    found = {}
    for name, way in ways.items():
        way()
        time.sleep(0.5)  # a pool that has been woken spins for a while
        own, every = time.thread_time(), time.process_time()
        for _ in range(3):
            way()
        own, every = time.thread_time() - own, time.process_time() - every
        found[name] = max(0.0, every - own) / every
    return found


# A batch.


def batch(subject: Subject, count: int) -> dict[str, dict[str, float]]:
    """Return rows a second by state: who has answered. Features, of texts too, are there before.

    The log's rows come again until there are enough; their texts are read once, and so are
    timed on their own.
    """
    artifact = subject.artifact
    model = artifact.model
    m = len(artifact.models)
    rows = [
        TrafficRow(id=row.id, prompt=row.prompt, responses=row.responses) for row in subject.rows
    ]
    data = read_dataset(rows, artifact.models, need_score=False)
    part = np.arange(min(count, 20_000)) % len(data)
    read_texts: dict[Any, Any] = {}
    found = {}
    states = {"prompt alone": [0], "first answered": [1], "two answered": [3], "every state": None}
    for name, asked in states.items():
        start = time.perf_counter()
        first = model.probabilities(data, part, asked, read_texts)
        with_texts = time.perf_counter() - start
        took = []
        done = 0
        while done < count:
            start = time.perf_counter()
            again = model.probabilities(data, part, asked, read_texts)
            took.append(time.perf_counter() - start)
            done += len(part)
        np.testing.assert_array_equal(first, again)
        rate = len(part) / statistics.median(took)
        found[name] = {
            "rows_a_second": rate,
            "answers_a_second": rate * m * (len(asked) if asked else 1 << m),
            "first_call_rows_a_second": len(part) / with_texts,
        }
    return found


# Training.


BIG_TOKENS = 100
"""Tokens of an answer of the big log: some 4 KB of log-probabilities."""


def write_big_log(path: Path, rows: int, models: int) -> None:
    """Write a log of many rows: problems are new ones, answers' log-probabilities come again."""
    rng = random.Random(3)
    known = []
    for i in range(2_000):
        right = i % 2 == 0
        chosen, top = sure(rng, BIG_TOKENS, right)
        known.append((msgspec.json.encode(chosen), msgspec.json.encode(top)))
    skill = np.linspace(0.4, 0.92, models).tolist()
    with path.open("wb") as file:
        for i in range(rows):
            text, numbers = problem(rng)
            hard = rng.random()
            responses = []
            for j in range(models):
                right = rng.random() < min(0.98, skill[j] + 0.3 * (0.5 - hard))
                chosen, top = known[2 * rng.randrange(1_000) + (not right)]
                responses.append(
                    {
                        "model": f"m{j}",
                        "text": solution(rng, numbers, right != (rng.random() < MISJUDGED)),
                        "score": float(right),
                        "prompt_tokens": 90,
                        "completion_tokens": BIG_TOKENS,
                        "logprobs": msgspec.Raw(chosen),
                        "top_logprobs": msgspec.Raw(top),
                        "finish_reason": "stop",
                        "cost_usd": 1e-5 * 2.0**j,
                    }
                )
            row = {"id": str(i), "prompt": text, "responses": responses}
            file.write(msgspec.json.encode(row) + b"\n")


def training(rows: int, models: int) -> dict[str, float]:
    """Return minutes and memory of `cascade train`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        write_big_log(log, rows, models)
        size = log.stat().st_size
        start = time.perf_counter()
        train_by_command(log, Path(folder, "scorer"))
        took = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        fitted = load(Path(folder, "scorer"))
    return {
        "rows": rows,
        "models_in_log": models,
        "models_fitted": len(fitted.models),
        "rows_fitted": fitted.model.n,
        "log_gb": size / 1e9,
        "minutes": took / 60,
        "peak_gb": peak / 1e6,
    }


# Report.


def quantiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return median, p90 and p99."""
    cuts = statistics.quantiles(samples, n=100)
    return statistics.median(samples), cuts[89], cuts[98]


def verdict(good: bool) -> str:
    """Return whether a bar was met, in a word."""
    return "met" if good else "missed"


def add(table: Table, name: str, by_request: list[list[float]], bar: float | None = None) -> float:
    """Add a line of microseconds and return the median."""
    every = [took for rounds in by_request for took in rounds]
    median, p90, p99 = quantiles(every)
    best = statistics.median(min(rounds) for rounds in by_request)
    told = "" if bar is None else f"≤ {bar:,.0f}: {verdict(median <= bar)}"
    table.add_row(name, *(f"{x:,.0f}" for x in (median, p90, p99, best)), told)
    return median


def pin() -> None:
    """Stay on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def unpin(cores: set[int] | None) -> None:
    """Go back to all cores."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


def run_threads_child(folder: Path) -> dict[str, float]:
    """Look at threads in a fresh process that may use every core."""
    free = {k: v for k, v in os.environ.items() if k not in THREADS}
    command = [sys.executable, __file__, MAY_HAVE_THREADS, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=free)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Check answers, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run everything in seconds")
    parser.add_argument("--no-train", action="store_true", help="leave the big training out")
    parser.add_argument(MAY_HAVE_THREADS, dest="child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(threads_child(args.child)))
        return
    scale = SMOKE if args.smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        result = measure(scale, args.smoke, Path(folder))
    if not args.no_train:
        result["training"] = training(scale.big_rows, scale.big_models)
        tell_training(result["training"])
    if not args.smoke:
        write_result("scoring", result)


def measure(scale: Scale, smoke: bool, folder: Path) -> dict[str, Any]:
    """Measure all but the training, print the tables and return the samples."""
    console = Console(width=118)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    result: dict[str, Any] = {"live_us": {}, "parts_us": {}, "batch": {}}
    table = Table("µs", "median", "p90", "p99", "best of rounds", "bar")
    rates = Table("rows a second, one core", "texts read before", "with reading them", "bar")
    for subject in subjects(scale, smoke, folder):
        pin()
        check_live(subject)
        gc.collect()
        gc.freeze()  # the rows of the log are no work of the scorer
        table.add_section()
        timed = live(subject, scale.rounds)
        for name, samples in timed.items():
            add(table, f"{subject.name}: {name}", samples, None if "alone" in name else LIVE_US)
        split = parts(subject, scale.rounds)
        split["before, alternatives put in order"] = ordering(subject, scale.rounds)
        for name, samples in split.items():
            add(table, f"  first rung: {name}", samples)
        result["live_us"][subject.name], result["parts_us"][subject.name] = timed, split
        found = batch(subject, scale.batch)
        result["batch"][subject.name] = found
        for state, rate in found.items():
            told = verdict(rate["rows_a_second"] >= ROWS_A_SECOND)
            rates.add_row(
                f"{subject.name}: {state}",
                f"{rate['rows_a_second']:,.0f}",
                f"{rate['first_call_rows_a_second']:,.0f}",
                f"≥ {ROWS_A_SECOND:,.0f}: {told}" if state == "first answered" else "",
            )
        unpin(cores)
    pin()
    ways = one_row(scale.calls)
    unpin(cores)
    result["one_row_us"] = ways
    table.add_section()
    for name, samples in ways.items():
        bar = TREES_US if name.startswith("single") else None
        add(table, f"200 trees x 31 leaves: {name}", [[x] for x in samples], bar)
    console.print(table)
    built = native.BlendRow is not None
    console.print(f"the compiled loops of scoring are {'in use' if built else 'not built'}")
    console.print(rates)
    result["other_threads"] = run_threads_child(folder / "made-up-2")
    threads = Table("all cores free: CPU time of other threads", "share")
    for name, share in result["other_threads"].items():
        threads.add_row(name, f"{share:.1%}")
    console.print(threads)
    result["scale"] = {name: getattr(scale, name) for name in scale.__slots__}
    return result


def tell_training(found: dict[str, float]) -> None:
    """Print what a big training took."""
    print(
        f"cascade train, {found['rows']:,} rows x {found['models_in_log']} models "
        f"({found['log_gb']:.1f} GB): {found['minutes']:.1f} minutes, peak {found['peak_gb']:.2f} GB "
        f"(bar: ≤ {TRAIN_MINUTES:.0f} minutes {verdict(found['minutes'] <= TRAIN_MINUTES)}, "
        f"≤ {TRAIN_GB:.0f} GB {verdict(found['peak_gb'] <= TRAIN_GB)}); "
        f"fitted {found['models_fitted']} models on {found['rows_fitted']:,} rows"
    )


if __name__ == "__main__":
    main()
