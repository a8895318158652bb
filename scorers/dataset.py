"""Logs as training data: rows are streamed, sampled when there are too many, and read into arrays.

Token log-probabilities become some thirty numbers as soon as a row arrives, and whatever falls out
of the sample is forgotten, so a log of 10 GB needs the memory of the sample alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from cascade.errors import ScorerError
from cascade.records import Response, TrafficRow

from .claims import same_claim
from .features import OWN_NAMES, PROMPT_NAMES, ReadAnswer, overlap, read_prompt
from .features.answer import read_answer
from .features.logprob import logprob_features
from .heads import Blocks

__all__ = [
    "SAMPLE_ROWS",
    "Collected",
    "Dataset",
    "Kept",
    "PriceOf",
    "TooFewLabels",
    "TrainingFailed",
    "collect",
    "read_dataset",
    "row_key",
]

SAMPLE_ROWS = 120_000
"""Rows kept of a longer log."""
CLAIM_CHARS = 40

PriceOf = Callable[[str, int, int], float | None]
"""(model, prompt tokens, completion tokens) → US dollars, or None when the price is unknown."""


class TrainingFailed(ScorerError):
    """Nothing can be learned from these rows; the message says what is missing."""


class TooFewLabels(TrainingFailed):
    """Rows there are, but too few labels.

    Attributes:
        labels: Labelled answers of the model that has the fewest.
    """

    def __init__(self, message: str, labels: int) -> None:
        self.labels = labels
        super().__init__(message)


class Kept(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of one response; a struct because there is one for each answer of a log.

    Attributes:
        text: The answer, or None where the log holds none.
        score: In [0, 1], NaN when unknown.
        cost_usd: NaN when unknown.
        latency_s: NaN when unknown.
        confidence: What the engine said at the time, NaN when unknown.
        p_true: NaN when unknown.
        prompt_tokens: Or None.
        completion_tokens: Or None.
        finish_reason: Or None.
        signals: `features.logprob.LOGPROB_NAMES`, or None without log-probabilities.
        tokens: Tokens of the answer, or None.
        prefix_signals: The same of its first tokens, for each checkpoint that was asked for; None where
            the answer is shorter or has no log-probabilities.
    """

    text: str | None
    score: float
    cost_usd: float
    latency_s: float
    confidence: float
    p_true: float
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    signals: tuple[float, ...] | None
    tokens: int | None = None
    prefix_signals: tuple[tuple[float, ...] | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """n rows and k models as arrays.

    Attributes:
        models: The columns.
        ids: Id of each row, "" where the log has none. Length n.
        keys: A digest of id and prompt, 16 hexadecimal digits. Shape (n,), dtype S16.
        splits: ``train``, ``test``, … or "". Length n.
        cost: US dollars of each answer, NaN unknown. Shape (n, k).
        latency_s: Shape (n, k), NaN unknown.
        confidence: What the engine said when the answer was given, NaN unknown. Shape (n, k).
        blocks: Prompts, texts, features, claims and scores, as the heads read them.
        digest: SHA-256 over ids, scores and texts, whatever the order of the rows.
        seen: Rows that could have been used, sampled or not.
        left_out: Reason → rows that could not be used.
        p_true: Whether the logged `p_true` is among the features.
    """

    models: tuple[str, ...]
    ids: tuple[str, ...]
    keys: np.ndarray
    splits: tuple[str, ...]
    cost: np.ndarray
    latency_s: np.ndarray
    confidence: np.ndarray
    blocks: Blocks
    digest: str
    seen: int
    left_out: Mapping[str, int]
    p_true: bool

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return self.blocks.prompts

    @property
    def score(self) -> np.ndarray:
        """Quality in [0, 1], NaN unknown. Shape (n, k)."""
        return self.blocks.score

    @property
    def answered(self) -> np.ndarray:
        """Whether the log holds an answer that can be read. Shape (n, k), bool."""
        return np.array([[t is not None for t in row] for row in self.blocks.texts], bool).reshape(
            len(self), len(self.models)
        )

    def of_split(self, split: str) -> np.ndarray:
        """Return the rows of one split, ascending."""
        return np.flatnonzero(np.array([s == split for s in self.splits], bool))

    def only(self, models: Sequence[str]) -> Dataset:
        """Return the same rows with these models as columns, in this order.

        Raises:
            ScorerError: A model is not among the columns.
        """
        if tuple(models) == self.models:
            return self
        missing = [m for m in models if m not in self.models]
        if missing:
            raise ScorerError(
                f"not in the log: {', '.join(missing)}; it has {', '.join(self.models)}"
            )
        at = np.array([self.models.index(m) for m in models])
        b = self.blocks
        square = np.ix_(np.arange(len(self)), at, at)
        return Dataset(
            models=tuple(models),
            ids=self.ids,
            keys=self.keys,
            splits=self.splits,
            cost=self.cost[:, at],
            latency_s=self.latency_s[:, at],
            confidence=self.confidence[:, at],
            blocks=Blocks(
                prompts=b.prompts,
                texts=[[row[j] for j in at.tolist()] for row in b.texts],
                prompt=b.prompt,
                own=b.own[:, at],
                same=b.same[square],
                similar=b.similar[square],
                logprob=b.logprob[:, at],
                claims=b.claims[:, at],
                score=b.score[:, at],
            ),
            digest=self.digest,
            seen=self.seen,
            left_out=self.left_out,
            p_true=self.p_true,
        )


@dataclass(slots=True, kw_only=True)
class Collected:
    """A sample of a log, not yet read for features: enough to choose the models by.

    Attributes:
        ids: Id of each row.
        prompts: Prompt of each row.
        splits: Split of each row.
        kept: Model → what it answered, for each row.
        models: Every model of the sample, in the order they were met.
        seen: Rows that could have been used.
        left_out: Reason → rows that could not be used.
        known_splits: Split → rows, of all rows.
    """

    ids: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    kept: list[dict[str, Kept]] = field(default_factory=list)
    models: tuple[str, ...] = ()
    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    known_splits: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, models: Sequence[str]) -> list[list[str | None]]:
        """Return each row's answers by these models; None where the log holds none."""
        return [
            [None if (kept := row.get(model)) is None else kept.text for model in models]
            for row in self.kept
        ]

    def digest(self, models: Sequence[str]) -> str:
        """Return the SHA-256 over ids, prompts, scores and texts, whatever the order of the rows."""
        keys = [row_key(a, b) for a, b in zip(self.ids, self.prompts, strict=True)]
        score = self.column("score", models)
        return _digest(keys, self.prompts, self.texts(models), score, models)

    def column(self, name: str, models: Sequence[str]) -> np.ndarray:
        """Return one number of `Kept` for these models, NaN where there is no answer. Shape (n, k)."""
        out = np.full((len(self), len(models)), np.nan)
        for i, row in enumerate(self.kept):
            for j, model in enumerate(models):
                kept = row.get(model)
                if kept is not None:
                    out[i, j] = getattr(kept, name)
        return out

    def dataset(
        self,
        models: Sequence[str] | None = None,
        *,
        p_true: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Dataset:
        """Read prompts and answers into features.

        Args:
            models: The columns, in order; None for all.
            p_true: Whether the logged `p_true` is a feature. Only if live answers will have it too.
            progress: Told the number of rows read so far.

        Cost: about 0.3 ms an answer.
        """
        names = self.models if models is None else tuple(models)
        n, k = len(self), len(names)
        prompt = np.zeros((n, len(PROMPT_NAMES)), np.float32)
        own = np.full((n, k, len(OWN_NAMES)), np.nan, np.float32)
        same = np.full((n, k, k), np.nan, np.float32)
        similar = np.full((n, k, k), np.nan, np.float32)
        logprob = np.full((n, k), np.nan, np.float32)
        claims = np.full((n, k), "", dtype=f"U{CLAIM_CHARS}")
        for i in range(n):
            read = read_prompt(self.prompts[i])
            prompt[i] = read.values
            row = [self.kept[i].get(m) for m in names]
            answers = [None if x is None else _read(read, x, p_true) for x in row]
            for j, answer in enumerate(answers):
                if answer is None:
                    continue
                own[i, j] = answer.values
                claims[i, j] = answer.answer.claim.value[:CLAIM_CHARS]
                logprob[i, j] = answer.answer.mean_logprob
                for other in range(j):
                    earlier = answers[other]
                    if earlier is not None:
                        agree = same_claim(earlier.answer.claim, answer.answer.claim)
                        same[i, other, j] = same[i, j, other] = agree
                        shared = overlap(earlier.answer, answer.answer)
                        similar[i, other, j] = similar[i, j, other] = shared
            if progress is not None:
                progress(i + 1)
        texts = self.texts(names)
        score = self.column("score", names)
        keys = [row_key(a, b) for a, b in zip(self.ids, self.prompts, strict=True)]
        return Dataset(
            models=names,
            ids=tuple(self.ids),
            keys=np.array(keys, dtype="S16"),
            splits=tuple(self.splits),
            cost=self.column("cost_usd", names),
            latency_s=self.column("latency_s", names),
            confidence=self.column("confidence", names),
            blocks=Blocks(
                prompts=self.prompts,
                texts=texts,
                prompt=prompt,
                own=own,
                same=same,
                similar=similar,
                logprob=logprob,
                claims=claims,
                score=score,
            ),
            digest=_digest(keys, self.prompts, texts, score, names),
            seen=self.seen,
            left_out=dict(self.left_out),
            p_true=p_true,
        )


def collect(
    rows: Iterable[TrafficRow],
    *,
    split: str | None = None,
    models: Sequence[str] | None = None,
    price: PriceOf | None = None,
    limit: int = SAMPLE_ROWS,
    seed: int = 0,
    need_score: bool = True,
    signals: bool = True,
    others: bool = False,
    need_prompt: bool = True,
    checkpoints: Sequence[int] = (),
) -> Collected:
    """Stream rows and keep at most `limit` of them, each row of the log equally likely.

    Args:
        rows: The rows; read once.
        split: Keep rows of this split. None: rows of ``train`` and rows without a split.
        models: Keep the answers of these; None for all.
        price: What a call costs where the row does not say; None: unknown there.
        limit: Rows kept. Source: Vitter 1985, algorithm R.
        seed: Of the sampling.
        need_score: Whether rows without any score are left out.
        signals: Whether token log-probabilities are read; features need them.
        need_prompt: Whether rows without a prompt (decision logs without text) are left out.
        checkpoints: Tokens after which the beginnings of answers are to be read too.
        others: Keep the answers of models outside `models` too, where a row is kept for those.
    """
    found = Collected()
    names: dict[str, None] = {}
    wanted = None if models is None else set(models)
    rng = np.random.default_rng(seed)
    for row in rows:
        found.known_splits[row.split] += 1
        if row.split != split if split is not None else row.split not in ("train", ""):
            found.left_out[f"split {row.split!r}"] += 1
            continue
        for response in row.responses:
            names.setdefault(response.model)
        if need_prompt and not row.prompt:
            found.left_out["no prompt in the log"] += 1
            continue
        used = [r for r in row.responses if wanted is None or r.model in wanted]
        if need_score and all(r.score is None for r in used):
            found.left_out["no score"] += 1
            continue
        at = found.seen
        found.seen += 1
        if at >= limit:
            at = int(rng.integers(0, found.seen))
            if at >= limit:
                continue
        answers = row.responses if others else used
        kept = {r.model: _keep(r, price, signals, checkpoints) for r in answers}
        if at == len(found.ids):
            found.ids.append(row.id)
            found.prompts.append(row.prompt)
            found.splits.append(row.split)
            found.kept.append(kept)
        else:
            found.ids[at], found.prompts[at], found.splits[at] = row.id, row.prompt, row.split
            found.kept[at] = kept
    found.models = tuple(names)
    return found


def read_dataset(
    rows: Iterable[TrafficRow],
    models: Sequence[str] | None = None,
    *,
    split: str | None = None,
    price: PriceOf | None = None,
    limit: int = SAMPLE_ROWS,
    seed: int = 0,
    p_true: bool = False,
    need_score: bool = True,
) -> Dataset:
    """Stream rows into a dataset: `collect` and `Collected.dataset` in one."""
    found = collect(
        rows,
        split=split,
        models=models,
        price=price,
        limit=limit,
        seed=seed,
        need_score=need_score,
    )
    return found.dataset(models, p_true=p_true)


def row_key(id: str, prompt: str) -> bytes:
    """Return 16 hexadecimal digits that stand for a row: the same id and prompt, the same key."""
    text = f"{id}\0{prompt}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _keep(
    response: Response, price: PriceOf | None, with_signals: bool, checkpoints: Sequence[int]
) -> Kept:
    cost = response.cost_usd
    if cost is None and price is not None:
        tokens = response.prompt_tokens, response.completion_tokens
        if tokens[0] is not None and tokens[1] is not None:
            cost = price(response.model, tokens[0], tokens[1])
    signals = None
    if with_signals and response.logprobs:
        # As the providers do: alternatives that do not match the tokens are not alternatives.
        top = response.top_logprobs
        aligned = top if top and len(top) == len(response.logprobs) else None
        signals = logprob_features(response.logprobs, aligned)
    counted = len(response.logprobs) if response.logprobs else response.completion_tokens
    nan = math.nan
    return Kept(
        text=response.text,
        score=nan if response.score is None else response.score,
        cost_usd=nan if cost is None else cost,
        latency_s=nan if response.latency_s is None else response.latency_s,
        confidence=nan if response.confidence is None else response.confidence,
        p_true=nan if response.p_true is None else response.p_true,
        prompt_tokens=response.prompt_tokens,
        completion_tokens=response.completion_tokens,
        finish_reason=response.finish_reason,
        signals=signals,
        tokens=counted,
        prefix_signals=_prefix_signals(response, checkpoints) if signals is not None else (),
    )


def _prefix_signals(
    response: Response, checkpoints: Sequence[int]
) -> tuple[tuple[float, ...] | None, ...]:
    logprobs, top = response.logprobs or (), response.top_logprobs
    aligned = top if top and len(top) == len(logprobs) else None
    return tuple(
        logprob_features(logprobs[:tokens], None if aligned is None else aligned[:tokens])
        if len(logprobs) >= tokens
        else None
        for tokens in checkpoints
    )


_NO_SIGNALS = logprob_features(None, None)


def _read(prompt: object, kept: Kept, p_true: bool) -> ReadAnswer | None:
    """Read as `features.read` does, from log-probabilities that have been read already."""
    if kept.text is None:
        return None
    signals = _NO_SIGNALS if kept.signals is None else kept.signals
    answer = read_answer(
        kept.text,
        prompt,  # type: ignore[arg-type]
        finish_reason=kept.finish_reason,
        completion_tokens=kept.completion_tokens,
        prompt_tokens=kept.prompt_tokens,
        mean_logprob=signals[0],
    )
    return ReadAnswer((*answer.values, *signals, kept.p_true if p_true else math.nan), answer)


def _digest(
    keys: Sequence[bytes],
    prompts: Sequence[str],
    texts: Sequence[Sequence[str | None]],
    score: np.ndarray,
    models: Sequence[str],
) -> str:
    each = []
    for key, prompt, row, scores in zip(keys, prompts, texts, score, strict=True):
        h = hashlib.sha256(key)
        h.update(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest())
        for model, text, value in zip(models, row, scores, strict=True):
            said = b"" if text is None else text.encode("utf-8", "surrogatepass")
            h.update(f"{model}\0{value!r}\0{text is None}\0".encode())
            h.update(hashlib.sha256(said).digest())
        each.append(h.digest())
    whole = hashlib.sha256()
    for one in sorted(each):
        whole.update(one)
    return whole.hexdigest()
