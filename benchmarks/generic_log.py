"""Make the log that the generic prior is fitted on: local models answer questions made from templates.

    python benchmarks/generic_log.py scorers/data/generic/log.jsonl.gz
    python benchmarks/generic_log.py --smoke        # the questions alone

The demo's models run on this machine at temperature 0 and with log-probabilities; the questions and
their right answers come from `_generic_tasks`. The same seed asks the same questions. It takes half an
hour on a core of which a quarter is free.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import httpx
import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._generic_tasks import TASKS, Asked, is_right, make_questions  # noqa: E402
from cascade.build import cache_folder  # noqa: E402
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel  # noqa: E402
from cascade.local.models import model_file  # noqa: E402
from cascade.local.packages import install, missing  # noqa: E402
from cascade.local.server import serve  # noqa: E402
from cascade.records import Response, TrafficRow  # noqa: E402

__all__ = ["main"]

NAMES = ("smollm2-135m", "qwen2.5-coder-0.5b")
MAX_TOKENS = 100
ALTERNATIVES = 2
SLOTS = 6
PART = 50
"""Questions after which the log is written anew."""
_DECIMALS = 3


def main() -> None:
    """Ask every model every question and write one row a question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", type=Path, nargs="?", help="the log, .jsonl.gz")
    parser.add_argument("--each", type=int, default=20, help="questions a task")
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="ask no model")
    given = parser.parse_args()
    questions = make_questions(given.each)
    print(f"{len(questions)} questions of {len(TASKS)} tasks")
    for asked in questions:  # the checks are checked first
        said = asked.right if asked.field is None else json.dumps({asked.field: asked.right})
        if not is_right(asked, said) or is_right(asked, ""):
            raise RuntimeError(f"{asked.id}: {asked.right!r} is not what its check accepts")
    if given.smoke:
        return
    if given.output is None:
        parser.error("give the log's path, or --smoke")
    answers: dict[str, dict[str, Response]] = {asked.id: {} for asked in questions}
    for name in given.models.split(","):
        model = next(m for m in MODELS if m.name == name)
        anyio.run(_ask_all, model, questions, given, answers)


async def _ask_all(
    model: LocalModel,
    questions: Sequence[Asked],
    given: argparse.Namespace,
    answers: dict[str, dict[str, Response]],
) -> None:
    await install(missing([RUNTIME]))
    file = await model_file(model, cache_folder())
    slots = anyio.CapacityLimiter(SLOTS)
    async with (
        serve(
            file, name=model.name, context_tokens=1024, parallel=SLOTS, threads=given.threads
        ) as server,
        httpx.AsyncClient(base_url=server.base_url, timeout=600.0) as client,
    ):

        async def one(asked: Asked) -> None:
            async with slots:
                answers[asked.id][model.name] = await _ask(client, model.name, asked)

        begin = time.perf_counter()
        for at in range(0, len(questions), PART):
            part = questions[at : at + PART]
            async with anyio.create_task_group() as group:
                # Chats that begin alike one after the other: what they share is read once.
                for asked in sorted(part, key=lambda a: (str(a.system), str(a.example))):
                    group.start_soon(one, asked)
            _write(given.output, questions, answers)
            told = [a[model.name] for a in answers.values() if model.name in a]
            right = sum(response.score or 0.0 for response in told) / len(told)
            seconds = time.perf_counter() - begin
            print(f"{model.name}: {len(told)} answers, {right:.1%} right, {seconds:.0f} s")


async def _ask(client: httpx.AsyncClient, model: str, asked: Asked) -> Response:
    reply = await client.post(
        "/chat/completions",
        json={
            "model": model,
            "messages": asked.messages(),
            "temperature": 0.0,
            "max_tokens": MAX_TOKENS,
            "logprobs": True,
            "top_logprobs": ALTERNATIVES,
        },
    )
    reply.raise_for_status()
    body = reply.json()
    choice = body["choices"][0]
    text = choice["message"]["content"] or ""
    tokens = (choice["logprobs"] or {}).get("content") or []
    return Response(
        model=model,
        text=text,
        score=float(is_right(asked, text)),
        prompt_tokens=body["usage"]["prompt_tokens"],
        completion_tokens=body["usage"]["completion_tokens"],
        logprobs=[round(t["logprob"], _DECIMALS) for t in tokens],
        top_logprobs=[
            sorted((round(a["logprob"], _DECIMALS) for a in t["top_logprobs"]), reverse=True)
            for t in tokens
        ],
        finish_reason=choice["finish_reason"],
    )


def _write(
    output: Path, questions: Sequence[Asked], answers: dict[str, dict[str, Response]]
) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    with output.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as out:
        for asked in questions:
            messages = asked.messages()
            if not answers[asked.id]:
                continue
            row = TrafficRow(
                id=asked.id,
                task=asked.task,
                split="train",
                prompt=asked.prompt,
                messages=messages if len(messages) > 1 else None,
                reference=asked.right,
                responses=list(answers[asked.id].values()),
            )
            out.write(encode(row) + b"\n")


if __name__ == "__main__":
    main()
