"""Compression in front of real models: the demo's local models answer a shared log plain and compressed.

Every answer is on disk (`out/compression_local.jsonl`) before the next is asked for: a run that is stopped goes
on, and a prompt that a way leaves as it is is not asked twice.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from benchmarks._shared import DATA, OUT
from cascade import ModelCall, Request
from cascade.build import cache_folder, ladder_settings
from cascade.build_clients import provider_clients
from cascade.compress import Examples, Extract, Minify, Pipeline
from cascade.compress.learning import Logged, learn
from cascade.fingerprint import digest
from cascade.intake import make_request
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve
from cascade.ports import Client
from cascade.records import TrafficRow
from cascade.traffic_log import TrafficLog
from cascade.types import Message

__all__ = ["run"]

LOG = "local_headlines"
MAX_TOKENS = 8
BOOTSTRAPS = 10_000
CACHED_PRICE = 0.5
"""Price of cached input as a share of the full one, as for gpt-4o; local models have none."""

AS_CHAT, AS_TEXT = "22 examples as turns", "the same examples as one text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to send all questions.

    Attributes:
        form: In which form the examples stand; ways of one form are compared.
        name: What the table calls it.
        shorten: Makes a prompt shorter; None: it is sent as it is.
    """

    form: str
    name: str
    shorten: Callable[[Request], Request] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What one way gave for all questions, from one model.

    Attributes:
        model: Who was asked.
        form: Form of the prompts.
        way: How they were shortened.
        changed: Prompts that this changed.
        right: For each question whether the answer was.
        prompt_tokens: Input tokens a question, as the model's server counts them.
        cached_tokens: Of these what the server had in its prompt cache; None when it does not say.
        usd_per_1000: Of 1,000 questions, every input token at full price.
        usd_per_1000_cached: The same with cached input at `CACHED_PRICE`; None when not known.
        seconds: Wall seconds a question, on a machine with other work.
    """

    model: str
    form: str
    way: str
    changed: int
    right: tuple[bool, ...]
    prompt_tokens: float
    cached_tokens: float | None
    usd_per_1000: float
    usd_per_1000_cached: float | None
    seconds: float


def run(questions: int, names: Sequence[str], threads: int | None) -> list[dict[str, Any]]:
    """Ask; print a table; return the rows."""
    log = list(TrafficLog(paths=[DATA / f"{LOG}.jsonl.gz"]))
    rows = [row for row in log if row.split == "test"][:questions]
    ways = _ways([row for row in log if row.split == "train"])
    print(f"\n{LOG}: {len(rows)} questions of the test split")
    print(
        "model                form                           way          changed   right  "
        "difference [95 %]      tokens  cached  $/1,000   saved  saved if cached is half price  s each"
    )
    found: list[Sent] = []
    for name in names:
        model = next(m for m in MODELS if m.name.startswith(name))
        found += anyio.run(_ask_model, model, rows, ways, threads)
    return [asdict(sent) for sent in found]


def _ways(train: Sequence[TrafficRow]) -> list[Way]:
    """Return the ways to send a question; what is learned is learned from other questions."""
    prompts = [Logged(messages=make_request(r.messages or r.prompt).messages) for r in train]
    ways = [
        Way(form=AS_CHAT, name="plain"),
        Way(form=AS_CHAT, name="minify", shorten=_by(Minify())),
    ]
    for keep in (8, 4):
        nearest = Examples(keep=keep, whole=True)
        learned = Examples(keep=keep, whole=True, learned=learn(prompts, keep=keep))
        ways += [
            Way(form=AS_CHAT, name=f"{keep} nearest", shorten=_by(nearest)),
            Way(form=AS_CHAT, name=f"{keep} learned", shorten=_by(learned)),
        ]
    return [
        *ways,
        Way(form=AS_TEXT, name="plain"),
        Way(form=AS_TEXT, name="extract, half", shorten=_to_half),
    ]


def _by(stage: Any) -> Callable[[Request], Request]:
    pipeline = Pipeline([stage])
    return lambda request: pipeline.compress(request).request


def _to_half(request: Request) -> Request:
    """Return a prompt whose texts have half the tokens at most."""
    pipeline = Pipeline([Extract()])
    whole = sum(pipeline.counter.count(str(m.content)) for m in request.messages)
    return pipeline.compress(request, budget=whole // 2).request


def _request(row: TrafficRow, form: str) -> Request:
    assert row.messages is not None
    request = make_request(row.messages, temperature=0.0, max_tokens=MAX_TOKENS)
    if form == AS_CHAT:
        return request
    first, *turns, last = request.messages
    solved = [
        f"- {asked.content} -> {said.content}"
        for asked, said in zip(turns[::2], turns[1::2], strict=True)
    ]
    asks = f"Question: Which one word is the answer to this headline? {last.content}"
    text = "\n".join(["Headlines and their answers:", "", *solved, "", asks])
    return make_request(
        [first, Message(role="user", content=text)], temperature=0.0, max_tokens=MAX_TOKENS
    )


async def _ask_model(
    model: LocalModel, rows: Sequence[TrafficRow], ways: Sequence[Way], threads: int | None
) -> list[Sent]:
    await install(missing([RUNTIME]))
    file = await model_file(model, cache_folder())
    found: list[Sent] = []
    async with serve(file, name=model.name, context_tokens=4096, threads=threads) as server:
        with tempfile.TemporaryDirectory() as folder:
            ladder = Path(folder) / "ladder.yaml"
            await anyio.Path(ladder).write_text(
                f"version: 1\nproviders: {{p: {{kind: openai, base_url: '{server.base_url}'}}}}\n"
                f"ladder: [{{model: '{model.name}', provider: p}}]\n"
            )
            client = provider_clients(ladder_settings(ladder))["p"]
        try:
            bought = _Bought(OUT / "compression_local.jsonl", model, client)
            for way in ways:
                found.append(await _send(model, bought, rows, way))
                plain = next(sent for sent in found if sent.form == way.form)
                print(_line(found[-1], plain), flush=True)
        finally:
            await client.aclose()
    return found


class _Bought:
    """Answers of one model, kept on disk by what was asked.

    Args:
        path: JSON lines, appended to.
        model: Who is asked.
        client: Asks it.
    """

    def __init__(self, path: Path, model: LocalModel, client: Client) -> None:
        self._path = path
        self._model = model
        self._client = client
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._known[row["key"]] = row

    async def answer(self, request: Request) -> dict[str, Any]:
        """Return text, tokens and seconds of the answer to a request; it is asked once."""
        asked = [[m.role, m.content] for m in request.messages]
        key = digest([self._model.name, MAX_TOKENS, asked])
        if key not in self._known:
            started = time.perf_counter()
            call = ModelCall(model=self._model.name, request=request, logprobs=False)
            answer = await self._client.complete(call)
            usage = answer.usage
            self._known[key] = {
                "key": key,
                "text": answer.text,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "seconds": time.perf_counter() - started,
            }
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._known[key]) + "\n")
        return self._known[key]


async def _send(model: LocalModel, bought: _Bought, rows: Sequence[TrafficRow], way: Way) -> Sent:
    answers, changed = [], 0
    for row in rows:
        request = _request(row, way.form)
        shorter = request if way.shorten is None else way.shorten(request)
        changed += shorter is not request
        answers.append(await bought.answer(shorter))
    tokens = np.array([answer["prompt_tokens"] for answer in answers], float)
    output = np.array([answer["completion_tokens"] or 0 for answer in answers], float)
    said = [answer["cached_tokens"] for answer in answers]
    cached = None if None in said else np.array(said, float)
    usd = 1e3 * model.usd_per_million / 1e6
    return Sent(
        model=model.name,
        form=way.form,
        way=way.name,
        changed=changed,
        right=tuple(_is_right(a["text"], r.reference) for a, r in zip(answers, rows, strict=True)),
        prompt_tokens=float(tokens.mean()),
        cached_tokens=None if cached is None else float(cached.mean()),
        usd_per_1000=float(usd * (tokens + output).mean()),
        usd_per_1000_cached=None
        if cached is None
        else float(usd * (tokens - (1 - CACHED_PRICE) * cached + output).mean()),
        seconds=float(np.mean([answer["seconds"] for answer in answers])),
    )


def _is_right(text: str | None, reference: Any) -> bool:
    """Return whether the first word is the reference."""
    words = (text or "").strip().strip("\"'.").split()
    return bool(words) and words[0].strip(".,\"'").casefold() == str(reference).casefold()


def _line(sent: Sent, plain: Sent) -> str:
    paired = ""
    if sent is not plain:
        d = np.array(sent.right, float) - np.array(plain.right, float)
        draws = np.random.default_rng(0).integers(0, len(d), (BOOTSTRAPS, len(d)))
        low, high = np.quantile(d[draws].mean(axis=1), [0.025, 0.975])
        paired = f"{100 * d.mean():+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    cached = "?" if sent.cached_tokens is None else f"{sent.cached_tokens:.0f}"
    saved = "?"
    if sent.usd_per_1000_cached is not None and plain.usd_per_1000_cached is not None:
        saved = f"{1 - sent.usd_per_1000_cached / plain.usd_per_1000_cached:.1%}"
    return (
        f"{sent.model:20s} {sent.form:30s} {sent.way:13s} {sent.changed:6d} {np.mean(sent.right):7.1%} "
        f"{paired:>20s} {sent.prompt_tokens:9.0f} {cached:>7s} {sent.usd_per_1000:8.5f} "
        f"{1 - sent.usd_per_1000 / plain.usd_per_1000:7.1%} {saved:>30s} {sent.seconds:7.2f}"
    )
