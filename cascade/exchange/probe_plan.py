"""Which prompts of a log are asked both plain and compressed: variants, kinds of task, the sample, the calls.

The order of the sample depends on the prompts and the seed alone, so a larger sample holds a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..compress.clusters import TaskClusters
from ..compress.pipeline import Pipeline, Stage
from ..errors import ConfigError, LogError, RequestError
from ..fingerprint import digest, request_digest
from ..intake import make_request
from ..ladder import Rung
from ..records import TrafficRow
from ..tokens import TokenCounter
from ..traffic_log import TrafficLog
from ..types import Compression, ModelCall, Request
from .skips import Skips

__all__ = [
    "PLAIN",
    "WHOLE",
    "Asked",
    "Candidate",
    "Purchase",
    "Variant",
    "read_candidates",
    "sample",
    "split_for_fitting",
    "variant_model",
    "variants_of",
]

PLAIN = "plain"
WHOLE = "compressed"
FITTING_SHARE = 0.3
"""Share of the prompts that kinds of task are fitted on; none of them is asked."""
MOST_FITTED = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to compress prompts.

    Attributes:
        name: ``compressed`` for all stages of the ladder, or the name of a lossy stage, which then runs
            alone with the lossless ones.
        stages: What runs, in order.
    """

    name: str
    stages: tuple[Stage, ...]

    @property
    def lossy(self) -> tuple[Stage, ...]:
        """Its lossy stages."""
        return tuple(stage for stage in self.stages if stage.lossy)


def variants_of(stages: Sequence[Stage], names: Sequence[str], model: str) -> tuple[Variant, ...]:
    """Return the variants of these names for a model, without ``plain``, which must be among them.

    Args:
        stages: What its prompts go through, in order.
        names: ``plain``, ``compressed``, or lossy stages.
        model: The model, for errors.

    Raises:
        ConfigError: A name means nothing here, ``plain`` is missing, or nothing is lossy.
    """
    lossy = [stage.name for stage in stages if stage.lossy]
    allowed = f"{PLAIN}, {WHOLE}" + "".join(f", {name}" for name in lossy)
    if not lossy:
        raise ConfigError(
            f"compress: prompts for {model} go through no lossy stage; what is lossless needs no proof"
        )
    unknown = [name for name in names if name not in (PLAIN, WHOLE, *lossy)]
    if unknown:
        raise ConfigError(f"--variants: {unknown[0]!r:.40} given; allowed: {allowed}")
    if PLAIN not in names or len(set(names)) < 2:
        raise ConfigError(f"--variants: give {PLAIN} and at least one other of: {allowed}")
    return tuple(
        Variant(
            name=name,
            stages=tuple(s for s in stages if name == WHOLE or not s.lossy or s.name == name),
        )
        for name in dict.fromkeys(names)
        if name != PLAIN
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A prompt of the log that may be asked.

    Attributes:
        id: Its id in the log, or the digest of what was asked.
        row: The row.
        request: What was asked.
        position: Where it falls in [0, 1), always the same.
        order: What its place in the sample is sorted by.
    """

    id: str
    row: TrafficRow
    request: Request
    position: float
    order: str


def read_candidates(paths: Sequence[Path], skips: Skips, *, seed: int) -> list[Candidate]:
    """Return every prompt of the logs that can be asked, each once, in the order of the sample.

    Raises:
        LogError: A log cannot be read, or none of its prompts can be asked.
    """
    found: dict[str, Candidate] = {}
    names: set[str] = set()
    log = TrafficLog(paths=list(paths))
    for row in log:
        place = f"id {row.id}" if row.id else "a row without an id"
        if not row.prompt and not row.messages:
            skips.add("the log keeps no text", place)
            continue
        try:
            request = make_request(row.messages or row.prompt)
        except RequestError as exc:
            skips.add("a chat that cannot be sent", place, str(exc))
            continue
        asked = request_digest(request)
        if asked in found:
            continue
        name = row.id if row.id and row.id not in names else asked[:16]
        names.add(name)
        found[asked] = Candidate(
            id=name,
            row=row,
            request=request,
            position=int(asked[:12], 16) / 16.0**12,
            order=digest([seed, asked]),
        )
    for reason, count in log.skipped.items():
        skips.counts[reason] += count
        skips.first.setdefault(reason, log.first_skipped[reason])
    if not found:
        raise LogError(
            f"{', '.join(map(str, paths))}: no prompt that can be asked; a decision log needs "
            "`log: {text: true}`"
        )
    return sorted(found.values(), key=lambda candidate: candidate.order)


def split_for_fitting(
    candidates: Sequence[Candidate],
) -> tuple[list[Candidate], list[Candidate]]:
    """Return those to fit kinds of task on, and those that may be asked: by what is asked alone."""
    fitting = [c for c in candidates if c.position < FITTING_SHARE]
    return fitting[:MOST_FITTED], [c for c in candidates if c.position >= FITTING_SHARE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One call to make.

    Attributes:
        key: Digest of all that can change the answer; two variants that send the same are one call.
        call: The call.
        provider: Name of the provider.
        tokens: Input tokens, counted beforehand.
    """

    key: str
    call: ModelCall
    provider: str
    tokens: int


@dataclass(slots=True, kw_only=True)
class Asked:
    """A prompt of the sample, with what is sent for it.

    Attributes:
        candidate: The prompt.
        cluster: Its kind of task.
        purchases: Model as the log names it → the call: ``MODEL`` plain, ``MODEL#VARIANT`` compressed.
            A variant that leaves the prompt as it is is not there.
    """

    candidate: Candidate
    cluster: str
    purchases: dict[str, Purchase] = field(default_factory=dict)


def variant_model(model: str, variant: str) -> str:
    """Return the name under which a variant's answers stand in a log.

    >>> variant_model("small", "plain"), variant_model("small", "extract")
    ('small', 'small#extract')
    """
    return model if variant == PLAIN else f"{model}#{variant}"


def sample(
    candidates: Sequence[Candidate],
    clusters: TaskClusters,
    variants: Mapping[int, Sequence[Variant]],
    rungs: Mapping[int, Rung],
    count: int,
    *,
    counter: TokenCounter,
    pays: Callable[[int, Compression], bool] = lambda rung, done: True,
    temperature: float | None = None,
) -> list[Asked]:
    """Return at most `count` prompts that some variant changes, kinds of task in turn.

    Prompts that no lossy stage changes are not bought, nor those that the engine would not send
    shorter, as it saves too little: of them there is nothing to prove.

    Args:
        candidates: In the order of the sample.
        clusters: Their kinds of task.
        variants: Ways to compress, by rung.
        rungs: The models to ask, by their place in the ladder.
        count: Prompts wanted, >= 1.
        counter: Counts tokens.
        pays: (rung, what was done) → whether the engine would send the shorter prompt.
        temperature: Sampling temperature to ask with; None: the provider's own.
    """
    by_cluster: dict[str, list[Candidate]] = {name: [] for name in clusters.names}
    for candidate in candidates:
        by_cluster[clusters.of(candidate.request)].append(candidate)
    pipelines = {
        index: {variant.name: Pipeline(variant.stages, counter) for variant in variants[index]}
        for index in rungs
    }
    streams = {
        name: _changed(name, members, pipelines, rungs, counter, pays, temperature)
        for name, members in by_cluster.items()
    }
    found: list[Asked] = []
    while streams and len(found) < count:
        for name in list(streams):
            asked = next(streams[name], None)
            if asked is None:
                del streams[name]
            elif len(found) < count:
                found.append(asked)
    return found


def _changed(
    cluster: str,
    candidates: Sequence[Candidate],
    pipelines: Mapping[int, Mapping[str, Pipeline]],
    rungs: Mapping[int, Rung],
    counter: TokenCounter,
    pays: Callable[[int, Compression], bool],
    temperature: float | None,
) -> Iterator[Asked]:
    """Yield the prompts that some variant changes, with the calls for them."""
    for candidate in candidates:
        request = msgspec.structs.replace(candidate.request, temperature=temperature)
        asked = Asked(candidate=candidate, cluster=cluster)
        for index, rung in rungs.items():
            changed = {}
            for name, pipeline in pipelines[index].items():
                try:
                    done = pipeline.compress(request, model=rung.model)
                except RequestError:  # a stage that is set to refuse what it cannot shorten
                    continue
                lossy = any(stage.lossy and stage.removed for stage in done.stages)
                if lossy and pays(index, done.compression):
                    changed[name] = done.request
            if changed:
                for name, sent in {PLAIN: request, **changed}.items():
                    purchase = _purchase(index, rung, sent, counter)
                    asked.purchases[variant_model(rung.model, name)] = purchase
        if asked.purchases:
            yield asked


def _purchase(index: int, rung: Rung, request: Request, counter: TokenCounter) -> Purchase:
    call = ModelCall(
        model=rung.model,
        request=request,
        max_tokens=rung.max_tokens,
        logprobs=False,
        top_logprobs=0,
        extra=rung.extra,
        rung=index,
    )
    content = [rung.provider, rung.model, request_digest(request), rung.max_tokens, rung.extra]
    texts = [text for message in request.messages for text in _texts(message.content)]
    return Purchase(
        key=digest(content),
        call=call,
        provider=rung.provider,
        tokens=sum(counter.count(text, rung.model) + _MESSAGE_TOKENS for text in texts),
    )


_MESSAGE_TOKENS = 4
"""Tokens that a message costs beside its text, about."""


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [p["text"] for p in content or () if isinstance(p.get("text"), str)]
