"""What does prompt compression save, how fast is it, and is the passage that is needed kept?

    python benchmarks/compression.py [--needles 1000] [--local [--questions 240]] [--calibrate] [--smoke]

Tokens saved and milliseconds a stage on shared prompts, long contexts made of shared answers, and JSON- and
code-heavy prompts of its own; needles kept at 2x and 4x, asked for in their words and in others; the speed bars. `--local` asks the demo's local
models plain and compressed; `--calibrate` prints the numbers of the token estimate anew.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks._shared import DATA, absent, write_result
from cascade.compress import Dedupe, Examples, Extract, Minify, Pipeline, Stage
from cascade.compress.protected import read_layout
from cascade.intake import make_request
from cascade.tokens import TokenCounter, estimate_tokens
from cascade.types import Message, Request

MODEL = "gpt-4o"
SHARED = ("confidence_sat", "confidence_sciq", "samples_date", "local_headlines")
ANSWERS = "alpacaeval2"
PLACES = ("Harlow", "Brindle", "Corvane", "Ostrel", "Tamsin", "Velloway", "Quarrick", "Dunmere")
THINGS = {
    "pumping station": "the place that lifts the water",
    "ferry landing": "the spot where boats put in",
    "signal tower": "the building that sends lights out to sea",
    "grain store": "the barn with the harvest",
    "tide mill": "the works that ebb and flow drive",
    "stone quarry": "the pit where rock is cut",
}
"""What a fact may be about, and the same in other words."""
KEEPERS = (
    "nine farmers",
    "two retired pilots",
    "a choir",
    "the widow of the miller",
    "a school class",
)
FACTS = (
    (
        "The maintenance contract for the {thing} is held by {keeper}.",
        "Who holds the maintenance contract for the {thing}?",
        "Who sees to repairs at {thing}?",
    ),
    (
        "It was {keeper} who paid for the new roof of the {thing}.",
        "Who paid for the roof of the {thing}?",
        "Who bore the expense of covering {thing}?",
    ),
    (
        "In {place} the {thing} is looked after by {keeper}, without pay.",
        "Who looks after the {thing} in {place}?",
        "Who minds {thing} as a volunteer?",
    ),
    (
        "When the {thing} burned down, {keeper} rebuilt it within a year.",
        "Who rebuilt the {thing} after the fire?",
        "Who put {thing} up again following the blaze?",
    ),
    (
        "The keys of the {thing} have been with {keeper} since the flood.",
        "Where are the keys of the {thing} kept?",
        "Who is able to unlock {thing}?",
    ),
)
"""A fact, a question in its words, and one in other words."""

ASKED = ("in the fact's words", "all but the thing in other words", "all in other words")


def shared_prompts(name: str, most: int) -> list[Request]:
    """Return prompts of a shared log, with the chat where there is one."""
    found = []
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found.append(make_request(row.get("messages") or row["prompt"]))
            if len(found) == most:
                break
    return found


def passages() -> list[str]:
    """Return paragraphs of the shared answers; without the shared data, made-up ones."""
    if absent():
        return [
            f"The {i}th bench was painted by {k}, and the {t} was shut."
            for i in range(400)
            for k in KEEPERS
            for t in THINGS
        ]
    found = []
    with gzip.open(DATA / f"{ANSWERS}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            for response in json.loads(line)["responses"]:
                text = response["text"] or ""
                if "```" not in text:
                    found += [p for p in text.split("\n\n") if 120 < len(p) < 900]
    return sorted(set(found))


def long_context(
    rng: random.Random, pool: Sequence[str], tokens: int, asked: str = ASKED[0]
) -> tuple[Request, str, str, float]:
    """Return a prompt with a planted fact, the fact, the question and where the fact is, in [0, 1]."""
    fact, question, otherwise = rng.choice(FACTS)
    named = {
        "place": rng.choice(PLACES),
        "thing": rng.choice(list(THINGS)),
        "keeper": rng.choice(KEEPERS),
    }
    fact, question = fact.format(**named), question.format(**named)
    if asked == ASKED[1]:
        question = otherwise.format(thing=f"the {named['thing']}")
    elif asked == ASKED[2]:
        question = otherwise.format(thing=THINGS[named["thing"]])
    context, size = [], 0
    while size < tokens * 4.6:
        context.append(rng.choice(pool))
        size += len(context[-1])
    place = rng.randrange(len(context) + 1)
    context.insert(place, fact)
    text = "\n\n".join([*context, f"Question: {question}"])
    request = Request(messages=(Message(role="user", content=text),))
    return request, fact, question, place / len(context)


def json_prompt(rng: random.Random) -> Request:
    """Return a prompt with a record of orders, pretty-printed, and a padded pipe table."""
    orders = [
        {
            "id": f"A-{rng.randrange(10**6)}",
            "customer": {"name": rng.choice(PLACES), "since": rng.randrange(1990, 2024)},
            "lines": [
                {
                    "sku": rng.choice(list(THINGS)),
                    "count": rng.randrange(9),
                    "usd": round(rng.random() * 90, 2),
                }
                for _ in range(4)
            ],
        }
        for _ in range(20)
    ]
    rows = [f"| {rng.choice(PLACES):<20} | {rng.randrange(10**5):>12} |" for _ in range(20)]
    table = "\n".join([f"| {'town':<20} | {'people':>12} |", f"|{'-' * 22}|{'-' * 13}:|", *rows])
    text = f"Orders:\n\n{json.dumps(orders, indent=2)}\n\n{table}\n\nQuestion: Which order is the dearest?"
    return Request(messages=(Message(role="user", content=text),))


def code_prompt(rng: random.Random) -> Request:
    """Return a prompt with files of this package in fences, and remarks around them."""
    files = sorted(Path(__file__).parent.parent.glob("cascade/*.py"))
    parts = [
        f"This is  {f.name}:   \n\n\n\n```python\n{f.read_text()}\n```"
        for f in rng.sample(files, 3)
    ]
    text = "\n\n".join([*parts, "Question: What is the difference between them?"])
    return Request(messages=(Message(role="user", content=text),))


def timed(run: Callable[[], Any], times: int) -> list[float]:
    """Return the milliseconds of processor time of several runs: others may use the machine too."""
    run()
    found = []
    for _ in range(times):
        started = time.thread_time()
        run()
        found.append(1e3 * (time.thread_time() - started))
    return found


def check(request: Request, shorter: Request) -> None:
    """Make sure that everything protected is still there, byte for byte."""
    after = "\x00".join(m.content for m in shorter.messages if isinstance(m.content, str))
    for message in request.messages[-1:]:
        if isinstance(message.content, str):
            for begin, end in read_layout(message.content).atoms:
                assert message.content[begin:end] in after


def by_stage(corpora: dict[str, list[Request]], counter: TokenCounter) -> list[dict[str, Any]]:
    """Return tokens saved and milliseconds, by corpus and stage."""
    rows: list[dict[str, Any]] = []
    print("\ncorpus              n  tokens  stage              saved     ms: median    p90    p99")
    for name, requests in corpora.items():
        total = sum(_tokens(counter, r) for r in requests)
        half = total // len(requests) // 2
        stages: list[tuple[str, Stage]] = [
            ("minify", Minify()),
            ("dedupe", Dedupe()),
            ("dedupe, near", Dedupe(near=True)),
        ]
        stages += [
            ("examples, 4", Examples(keep=4, whole=True)),
            ("extract, half", Extract(max(half, 1))),
        ]
        for label, stage in stages:
            pipeline = Pipeline([stage], counter)
            pipeline.compress(requests[0], model=MODEL)
            after, took = 0, []
            for request in requests:
                started = time.thread_time()
                done = pipeline.compress(request, model=MODEL)
                took.append(1e3 * (time.thread_time() - started))
                after += _tokens(counter, done.request)
                if not isinstance(stage, Examples):
                    check(request, done.request)
            median, p90, p99 = np.quantile(took, [0.5, 0.9, 0.99])
            row = {
                "corpus": name,
                "n": len(requests),
                "tokens": total // len(requests),
                "stage": label,
            }
            rows.append({**row, "saved": 1 - after / total, "ms": [median, p90, p99]})
            print(
                f"{name:17s} {len(requests):4d} {total // len(requests):6d}  {label:14s} {1 - after / total:9.1%} {median:14.2f} {p90:6.2f} {p99:6.2f}",
                flush=True,
            )
    return rows


def needles(
    pool: Sequence[str], n: int, counter: TokenCounter, tokens: int
) -> list[dict[str, Any]]:
    """Return how often the planted fact is kept, by how it is asked for and by ratio."""
    rows = []
    print(f"\nneedles in contexts of {tokens:,} tokens: kept, by ratio wanted; tokens left")
    for asked, ratio in product(ASKED, (2, 4)):
        rng = random.Random(7)
        kept, left, missed = 0, [], 0
        for _ in range(n):
            request, fact, _, _ = long_context(rng, pool, tokens, asked)
            before = _tokens(counter, request)
            pipeline = Pipeline([Extract(before // ratio, when_over="closest")], counter)
            done = pipeline.compress(request, model=MODEL).request
            kept += fact in str(done.messages[0].content)
            left.append(_tokens(counter, done) / before)
            missed += left[-1] > 1 / ratio
            check(request, done)
        share = kept / n
        low, high = _wilson(kept, n)
        rows.append(
            {
                "asked": asked,
                "ratio": ratio,
                "n": n,
                "kept": share,
                "kept_ci": [low, high],
                "left": float(np.mean(left)),
                "over_budget": missed,
            }
        )
        print(
            f"  {asked:34s} {ratio}x: {share:7.2%} [{low:.1%}, {high:.1%}] of {n}; "
            f"{np.mean(left):.1%} of the tokens left; over budget: {missed}",
            flush=True,
        )
    return rows


def _wilson(kept: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): with all of n kept it is no point."""
    z2 = 1.96**2
    share = kept / n
    middle, half = share + z2 / (2 * n), (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def speed(pool: Sequence[str], counter: TokenCounter, times: int) -> dict[str, Any]:
    """Return what the speed bars ask for: MB/s lossless, ms of a 20,000-token extraction, µs of nothing to do."""
    rng = random.Random(3)
    padded = "\n\n\n\n".join(
        p.replace(". ", ".  ") + "   " for p in (rng.choice(pool) for _ in range(6_000))
    )
    big = Request(
        messages=(Message(role="user", content=padded), Message(role="user", content="Why?"))
    )
    found: dict[str, Any] = {"megabytes": len(padded.encode()) / 1e6}
    for label, stage in (("minify", Minify()), ("dedupe", Dedupe())):
        alone = timed(lambda stage=stage: _apply(stage, big, counter), max(3, times // 10))  # type: ignore[misc]
        fresh = timed(
            lambda stage=stage: Pipeline([stage], TokenCounterLike(counter)).compress(
                big, model=MODEL
            ),
            max(3, times // 10),
        )  # type: ignore[misc]
        found[f"{label}_mb_s"] = found["megabytes"] / (min(alone) / 1e3)
        found[f"{label}_with_counting_mb_s"] = found["megabytes"] / (min(fresh) / 1e3)
    request, _, _, _ = long_context(rng, pool, 21_600)  # 20,000 tokens at least
    found["context_tokens"] = _tokens(counter, request)
    for ratio in (2, 4):
        budget = found["context_tokens"] // ratio
        stage = Extract(budget, when_over="closest")
        warm = timed(
            lambda stage=stage: Pipeline([stage], counter).compress(request, model=MODEL), times
        )  # type: ignore[misc]
        cold = timed(
            lambda stage=stage: Pipeline([stage], TokenCounterLike(counter)).compress(
                request, model=MODEL
            ),
            times,
        )  # type: ignore[misc]
        found[f"extract_{ratio}x_ms"] = list(np.quantile(warm, [0.0, 0.5, 0.9]))
        found[f"extract_{ratio}x_counting_all_ms"] = list(np.quantile(cold, [0.0, 0.5, 0.9]))
    short = make_request("Which is heavier, a mole of iron or a mole of lead? " * 30)
    lossless = Pipeline([Minify(), Dedupe(), Extract(2_000)], counter)
    nothing = timed(lambda: lossless.compress(short, model=MODEL), times * 20)
    found["nothing_to_do_us"] = [1e3 * x for x in np.quantile(nothing, [0.5, 0.9, 0.99])]
    print("\nspeed, in processor time (least, median, p90)")
    for name, value in found.items():
        shown = ", ".join(f"{v:.1f}" for v in value) if isinstance(value, list) else f"{value:,.1f}"
        print(f"  {name:28s} {shown}")
    return found


class TokenCounterLike(TokenCounter):
    """The same encoders without anything remembered: every text is counted anew."""

    def __init__(self, other: TokenCounter) -> None:
        super().__init__(most_kept=1)
        self._encoders = other._encoders


def calibrate() -> None:
    """Print the coefficients of the token estimate, fitted to shared prompts and answers."""
    from cascade.tokens import offline_encoder
    from cascade.tokens.estimate import BEYOND, DIGIT, LETTER, SIGN, SPACE

    encode = offline_encoder("o200k_base")
    if encode is None or absent():
        print("needs the extra `tokens` and the shared data")
        return
    texts = []
    for file in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for i, line in enumerate(lines):
                row = json.loads(line)
                if i == 300 or "prompt" not in row:
                    break
                texts += [
                    row["prompt"],
                    *(r["text"] for r in row["responses"][:2] if r.get("text")),
                ]
    texts = [text for text in texts if len(text) > 200]
    true = np.array([encode(text) for text in texts], float)
    ratio = np.array([estimate_tokens(text) for text in texts]) / true
    print(
        f"{len(texts):,} texts; in use: letter {LETTER}, digit {DIGIT}, sign {SIGN}, space {SPACE}, byte beyond ASCII {BEYOND}"
    )
    print("estimate / true, 5 %, median, 95 %:", np.quantile(ratio, [0.05, 0.5, 0.95]).round(3))


def _apply(stage: Stage, request: Request, counter: TokenCounter) -> None:
    from cascade.compress import Draft

    stage.apply(Draft(request, question=None, count=lambda text: counter.count(text, MODEL)))


def _tokens(counter: TokenCounter, request: Request) -> int:
    return sum(
        counter.count(m.content, MODEL) for m in request.messages if isinstance(m.content, str)
    )


def main() -> int:
    """Measure, print the tables, write out/compression.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--needles", type=int, default=1_000)
    options.add_argument("--local", action="store_true")
    options.add_argument("--questions", type=int, default=240)
    options.add_argument("--models", default="qwen2.5-coder-0.5b,smollm2-135m")
    options.add_argument(
        "--threads", type=int, help="threads of the local model; a core each if absent"
    )
    options.add_argument("--calibrate", action="store_true")
    options.add_argument("--smoke", action="store_true")
    chosen = options.parse_args()
    if chosen.calibrate:
        calibrate()
        return 0
    if chosen.local:
        from benchmarks._compression_local import run

        ways = run(chosen.questions, chosen.models.split(","), chosen.threads)
        write_result("compression_local", {"ways": ways})
        return 0
    counter, rng, pool = TokenCounter(), random.Random(1), passages()
    most = 5 if chosen.smoke else 200
    corpora = {}
    if not absent():
        corpora = {name: shared_prompts(name, most) for name in SHARED}
    else:
        print(absent())
    corpora["long contexts"] = [long_context(rng, pool, 4_000)[0] for _ in range(most)]
    corpora["JSON and tables"] = [json_prompt(rng) for _ in range(most)]
    corpora["code"] = [code_prompt(rng) for _ in range(min(most, 50))]
    rows = by_stage(corpora, counter)
    found = needles(
        pool, 10 if chosen.smoke else chosen.needles, counter, 1_000 if chosen.smoke else 4_000
    )
    bars = speed(pool, counter, 3 if chosen.smoke else 60)
    write_result(
        "compression",
        {"counted": counter.how(MODEL), "stages": rows, "needles": found, "speed": bars},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
