"""Tell the whole story on this machine: install models, ask them checkable questions, count.

`run_demo` is the body of `cascade demo`.  Every process that it starts is gone when it returns,
however it ends.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from ..engine import Cascade
from ..errors import CascadeError
from ..local.catalogue import MODELS, RUNTIME, LocalModel
from ..local.models import model_file
from ..local.packages import LocalModelError, OnProgress, install, missing
from ..local.packages import Progress as Step
from ..local.server import LocalServer, serve
from ..types import Result
from .learn import Fitted, TrainOn, collect, learn
from .questions import DEMO
from .report import Asked, RungAnswer, before_and_after, keep_lines, question_lines, summary
from .tasks import MAX_TOKENS, Question, messages, response_format

__all__ = ["ACCEPT", "ladder_yaml", "run_demo"]

ACCEPT = {"smollm2-135m": 0.70, "qwen2.5-coder-0.5b": 0.85}
"""Accept thresholds by model, in [0, 1].  Picked on `questions.TUNING`, see
docs/local-models.md; the demo asks other questions."""


async def run_demo(
    console: Console,
    cache_dir: Path,
    *,
    keep: bool = False,
    questions: Sequence[Question] = DEMO,
    models: Sequence[LocalModel] = MODELS,
    train: TrainOn | None = None,
    lessons: Sequence[Question] = (),
) -> int:
    """Run the demo and print it to `console`.

    Args:
        console: Where to print.
        cache_dir: Where the model files are kept for the next time, 1.7 GB.
        keep: Leave the servers running at the end, and print how to ask them, until Ctrl-C.
        questions: What to ask.
        models: The ladder, cheapest first.
        train: Trains a scorer on a labelled log; None: the demo ends without training.
        lessons: Questions to train on, other than `questions`.

    Returns:
        Exit code: 0 when the whole ladder was asked, 1 when there was no ladder to ask.
    """
    try:
        ready = await _prepare(console, cache_dir, models)
        if len(ready) < 2:
            console.print("[bold red]A ladder needs two models at least, so there is no demo.[/]")
            return 1
        async with AsyncExitStack() as running:
            servers = [
                await _start(console, running, model, file, cache_dir) for model, file in ready
            ]
            folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
            there = [model for model, _ in ready]
            yaml = ladder_yaml(there, servers)
            asked = await _ask_all(console, folder, yaml, there, servers, questions)
            for part in summary(asked, there):
                console.print(part, highlight=False)
            if train is not None:
                fitted = await _learn(console, folder, there, servers, lessons, train)
                yaml = ladder_yaml(there, servers, scorer=fitted.folder, policy=fitted.policy)
                again = await _ask_all(console, folder, yaml, there, servers, questions, quiet=True)
                console.print(before_and_after(asked, again), highlight=False)
            if keep:
                for line in keep_lines(folder / "ladder.yaml", servers):
                    console.print(line, soft_wrap=True, highlight=False, markup=False)
                await anyio.sleep_forever()
    except CascadeError as exc:
        console.print(f"[bold red]error:[/] {escape(str(exc))}")
        return 1
    return 0


def ladder_yaml(
    models: Sequence[LocalModel],
    servers: Sequence[LocalServer],
    *,
    accept: Mapping[str, float] = ACCEPT,
    scorer: Path | None = None,
    policy: Path | None = None,
    log: Path | None = None,
) -> str:
    """Return the ladder file for running servers, cheapest first.

    Args:
        models: The rungs.
        servers: Their servers.
        accept: Threshold by model, in [0, 1]; the last rung needs none, nor any with a policy.
        scorer: Folder of a trained scorer, or None for untrained confidence.
        policy: File of a tuned policy, or None for the thresholds.
        log: Folder of a decision log with text, or None for no log.
    """
    providers = [
        f"  {_key(model)}: {{kind: openai, base_url: {json.dumps(server.base_url)}}}"
        for model, server in zip(models, servers, strict=True)
    ]
    rungs = [
        f"  - {{model: {json.dumps(model.name)}, provider: {_key(model)}, "
        f"{'' if policy or model is models[-1] else f'accept: {accept[model.name]:.3f}, '}"
        f"max_tokens: {MAX_TOKENS}, "
        f"price: {{input: {model.usd_per_million}, output: {model.usd_per_million}}}}}"
        for model in models
    ]
    return "\n".join(
        [
            "version: 1",
            "name: demo",
            "providers:",
            *providers,
            "ladder: # cheapest first; prices in USD per million tokens, what providers ask for",
            "  # models of this size",
            *rungs,
            "scorer: {kind: logprob, measure: mean}"
            if scorer is None
            else f"scorer: {{kind: trained, path: {json.dumps(str(scorer))}}}",
            *([] if policy is None else [f"policy: {json.dumps(str(policy))}"]),
            *([] if log is None else [f"log: {{path: {json.dumps(str(log))}, text: true}}"]),
            "",
        ]
    )


def _key(model: LocalModel) -> str:
    return "m" + "".join(c if c.isalnum() else "_" for c in model.name)


async def _prepare(
    console: Console, cache_dir: Path, models: Sequence[LocalModel]
) -> list[tuple[LocalModel, Path]]:
    """Return the models that are there, installing what is not; say what cannot be had."""
    ready = []
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        task = bars.add_task(f"{RUNTIME.name}: installing", total=RUNTIME.size)
        await install(missing([RUNTIME]), on_progress=_follow(bars, task))
        bars.update(task, description=f"{RUNTIME.name}: installed", completed=RUNTIME.size)
        for model in models:
            task = bars.add_task(f"{model.title}: looking for it", total=model.size)
            try:
                file = await model_file(model, cache_dir, on_progress=_follow(bars, task))
            except LocalModelError as exc:
                bars.update(task, description=f"[red]{model.title}: not to be had")
                bars.stop_task(task)
                console.print(f"[bold yellow]going on without {model.name}:[/] {escape(str(exc))}")
                continue
            bars.update(
                task,
                description=f"{model.title}: verified",
                total=model.size,
                completed=model.size,
            )
            bars.stop_task(task)
            ready.append((model, file))
    return ready


def _follow(bars: Progress, task: TaskID) -> OnProgress:
    def update(step: Step) -> None:
        verb = "installing" if step.step == "install" else "assembling"
        bars.update(task, description=f"{step.item}: {verb}", completed=step.done, total=step.total)

    return update


async def _start(
    console: Console, running: AsyncExitStack, model: LocalModel, file: Path, cache_dir: Path
) -> LocalServer:
    with console.status(f"{model.name}: loading"):
        log = cache_dir / "logs" / f"{model.name}.log"
        server = await running.enter_async_context(serve(file, name=model.name, log=log))
    console.print(
        f"{model.name} answers at {server.base_url} after {server.start_s:.1f} s", highlight=False
    )
    return server


async def _learn(
    console: Console,
    folder: Path,
    models: Sequence[LocalModel],
    servers: Sequence[LocalServer],
    lessons: Sequence[Question],
    train: TrainOn,
) -> Fitted:
    log = folder / "log"
    file = folder / "collect.yaml"
    await anyio.Path(file).write_text(ladder_yaml(models, servers, log=log), "utf-8")
    async with Cascade.from_yaml(file) as engine:
        await collect(console, engine, lessons)
        ladder = engine.ladder
    # Closed first: then the whole log is on disk.
    return await learn(console, log, lessons, [r.model for r in ladder.rungs], folder, train)


async def _ask_all(
    console: Console,
    folder: Path,
    yaml: str,
    models: Sequence[LocalModel],
    servers: Sequence[LocalServer],
    questions: Sequence[Question],
    *,
    quiet: bool = False,
) -> list[Asked]:
    """Ask the ladder everything, then each rung that it did not need, for the comparison.

    The path of a question is printed, unless `quiet`, as soon as the ladder has answered it; a status
    line tells what is being asked meanwhile. At temperature 0 a rung says the same again, so what
    the ladder heard is not asked twice.
    """
    async with AsyncExitStack() as engines:

        async def engine(name: str, text: str) -> Cascade:
            file = folder / f"{name}.yaml"
            await anyio.Path(file).write_text(text, "utf-8")
            return await engines.enter_async_context(Cascade.from_yaml(file))

        ladder = await engine("ladder", yaml)
        alone = [
            await engine(f"only-{i}", ladder_yaml([model], [server]))
            for i, (model, server) in enumerate(zip(models, servers, strict=True))
        ]
        asked = []
        status = engines.enter_context(console.status(""))
        for n, question in enumerate(questions, start=1):
            status.update(f"question {n} of {len(questions)}: asking the ladder")
            result = await _put(ladder, question)
            if not quiet:
                for line in question_lines(question, result, number=n, of=len(questions)):
                    console.print(line, highlight=False, soft_wrap=True)
            heard = {attempt.rung: attempt for attempt in result.attempts}
            for rung, only in enumerate(alone):
                if rung not in heard:
                    status.update(
                        f"question {n} of {len(questions)}: "
                        f"asking {models[rung].name} too, for the comparison"
                    )
                    heard[rung] = (await _put(only, question)).attempts[0]
            asked.append(
                Asked(
                    question=question,
                    result=result,
                    rungs=tuple(RungAnswer.of(question, heard[i]) for i in range(len(models))),
                )
            )
        return asked


async def _put(engine: Cascade, question: Question) -> Result:
    return await engine.ask(
        messages(question), response_format=response_format(question), temperature=0.0
    )
