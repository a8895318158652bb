"""Requests for the tests of prompt compression."""

from __future__ import annotations

from cascade.types import Message, Request

__all__ = ["chat", "content", "long_prompt"]


def chat(*turns: tuple[str, str]) -> Request:
    """A request out of (role, text)."""
    return Request(messages=tuple(Message(role=role, content=text) for role, text in turns))


def long_prompt(context: str, question: str = "Question: what is it?") -> Request:
    """A user message with a context long enough that the question is told apart from it."""
    return chat(
        ("user", f"{context}\n\n{' '.join(['Some filler so that it is long.'] * 13)}\n\n{question}")
    )


def content(request: Request, index: int = 0) -> str:
    """The text of a message."""
    found = request.messages[index].content
    assert isinstance(found, str)
    return found
