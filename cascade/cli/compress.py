"""`cascade compress`: a prompt made shorter, on the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from cascade.errors import ConfigError, RequestError
from cascade.types import Compressed, Message, Request

__all__ = ["compress_command"]


def compress_command(
    file: Annotated[
        Path, typer.Argument(help="Plain text, or chat messages as JSON; - reads standard input.")
    ],
    question: Annotated[
        str | None,
        typer.Option(help="What is to be answered. Default: looked for in the last user message."),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Most tokens that may be left; chooses what to keep.")
    ] = None,
    when_over: Annotated[
        Literal["pass", "refuse", "closest"],
        typer.Option(
            help="When what must be kept is more than that: leave the prompt as it is, refuse it, or keep "
            "the closest of what shares a name or number with the question."
        ),
    ] = "pass",
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Only this stage; may be given more than once, in their order."),
    ] = None,
    model: Annotated[str, typer.Option(help="Model whose tokens are counted.")] = "gpt-4o",
    learned: Annotated[
        Path | None, typer.Option(help="What --learn wrote: known lines and examples.")
    ] = None,
    learn: Annotated[
        bool, typer.Option("--learn", help="FILE is a log: learn what its prompts share, into -o.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", help="Where --learn writes.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Examples to keep of a few-shot prompt.")] = 4,
    tenant: Annotated[str | None, typer.Option(help="Whose prompts these are.")] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print what was left out, struck through, instead.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Make a prompt shorter; the result goes to stdout, what was done to stderr.

    Code, quotations, URLs, numbers of tables, system messages and the question stay as they are.

    Example: cascade compress prompt.txt --question "Who pays for the return?" --budget 2000
    """
    from cascade.build import token_counter
    from cascade.compress.learned import read_learned
    from cascade.compress.stages import command_line_pipeline

    if learn:
        if output is None:
            raise ConfigError("--learn: give the file to write with -o FILE")
        from .compress_learn import learn_file

        print(learn_file(file, output, keep=keep, tenant=tenant), file=sys.stderr)
        return
    text = _read(file)
    chat = _chat(text, file)
    messages = None if chat is None else chat.messages
    pipeline = command_line_pipeline(
        stage,
        budget,
        token_counter(),
        learned=None if learned is None else read_learned(learned),
        keep=keep,
        when_over=when_over,
    )
    request = Request(messages=messages or (Message(role="user", content=text),))
    done = pipeline.compress(
        request,
        question=question,
        budget=budget,
        model=model,
        tenant=tenant,
        count_unchanged=True,
    )
    if show:
        from rich.console import Console

        from .compress_show import show as show_difference

        show_difference(request.messages, done.request.messages, Console())
        print(_told(done), file=sys.stderr)
        return
    if json:
        print(msgspec.json.format(msgspec.json.encode(_report(done, chat)), indent=2).decode())
        return
    print(_result(done, chat), end="" if chat is None else "\n")
    print(_told(done), file=sys.stderr)


def _read(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror or type(exc).__name__}") from exc
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: not UTF-8 at byte {exc.start}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chat:
    """A chat that was given as JSON.

    Attributes:
        messages: Its messages.
        body: What they stood in, such as the body of a request; None: they were all there was.
    """

    messages: tuple[Message, ...]
    body: dict[str, Any] | None


def _chat(text: str, file: Path) -> _Chat | None:
    """Return the chat that a text holds as JSON; None when it is anything else."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        given = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if file.suffix == ".json":
            print(f"{file}: no JSON ({exc}); taken as plain text", file=sys.stderr)
        return None
    body = given if isinstance(given, dict) else None
    found = given if body is None else body.get("messages")
    if not isinstance(found, list) or not found:
        return None
    if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in found):
        return None
    from cascade.intake import make_request

    try:
        return _Chat(messages=make_request(found).messages, body=body)
    except RequestError as exc:
        raise ConfigError(str(exc)) from exc


def _result(done: Compressed, chat: _Chat | None) -> str:
    if chat is None:
        content = done.request.messages[0].content
        assert isinstance(content, str)
        return content
    messages = _plain(done)
    whole = messages if chat.body is None else {**chat.body, "messages": messages}
    return msgspec.json.encode(whole).decode()


def _plain(done: Compressed) -> list[dict[str, Any]]:
    return [{"role": m.role, "content": m.content, **m.extra} for m in done.request.messages]


def _report(done: Compressed, chat: _Chat | None) -> dict[str, Any]:
    about = done.compression
    return {
        "tokens_before": about.tokens_before,
        "tokens_after": about.tokens_after,
        "counted": about.counted,
        "note": about.note,
        "stages": [msgspec.to_builtins(stage) for stage in about.stages],
        **({"text": _result(done, None)} if chat is None else {"messages": _plain(done)}),
    }


def _told(done: Compressed) -> str:
    from cascade.explain import explain_compression

    return explain_compression(done.compression)
