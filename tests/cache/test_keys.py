"""Keys of requests: the same for the same in every process, another for whatever changes the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cascade.fingerprint import cache_keys
from cascade.types import Message, Request

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
objects = st.dictionaries(st.text(max_size=4), json_values, max_size=3)
contents = st.none() | st.text(max_size=6) | st.lists(objects, max_size=2)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=contents,
    extra=objects,
)
requests = st.builds(
    Request,
    messages=st.lists(messages, min_size=1, max_size=3).map(tuple),
    tools=st.none() | st.lists(objects, max_size=2),
    response_format=st.none() | objects,
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9),
    stop=st.none() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2),
    seed=st.none() | st.integers(0, 9),
    extra=objects,
)
names = st.text(max_size=4)
askers = st.tuples(requests, names, st.none() | names)


def keys(asker: tuple[Request, str, str | None]) -> tuple[str, str]:
    request, ladder, tenant = asker
    return cache_keys(request, ladder=ladder, tenant=tenant)


def content(value: Any) -> Any:
    """A request as plain JSON values, with no order in objects and every number as what it is."""
    return json.loads(msgspec.json.encode(value))


def turned(value: Any) -> Any:
    """The same value, its objects in the opposite order and its tuples as lists."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    if isinstance(value, list | tuple):
        return [turned(item) for item in value]
    return value


def rewritten(request: Request) -> Request:
    """An equal request, made of objects in another order."""
    return Request(
        messages=tuple(
            Message(role=m.role, content=turned(m.content), extra=turned(m.extra))
            for m in request.messages
        ),
        tools=turned(request.tools),
        response_format=turned(request.response_format),
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        stop=turned(request.stop),
        seed=request.seed,
        extra=turned(request.extra),
    )


@given(askers)
def test_the_order_of_objects_does_not_matter(asker: tuple[Request, str, str | None]) -> None:
    """Nor whether a list is a tuple."""
    request, ladder, tenant = asker
    assert keys(asker) == keys((rewritten(request), ladder, tenant))


def same(a: Any, b: Any) -> bool:
    """Equality of JSON, where 1, 1.0 and true are three things."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


@given(askers, askers)
def test_different_requests_have_different_keys(
    one: tuple[Request, str, str | None], other: tuple[Request, str, str | None]
) -> None:
    """Of two requests made independently, whatever they differ in."""
    alike = same(content(one[0]), content(other[0])) and one[1:] == other[1:]
    assert (keys(one)[0] == keys(other)[0]) == alike


CHANGES = {
    "messages": st.lists(messages, min_size=1, max_size=3).map(tuple),
    "tools": st.none() | st.lists(objects, max_size=2),
    "response_format": st.none() | objects,
    "temperature": st.none() | st.floats(0, 2),
    "max_tokens": st.none() | st.integers(1, 9),
    "stop": st.none() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2),
    "seed": st.none() | st.integers(0, 9),
    "extra": objects,
}


@pytest.mark.parametrize("field", CHANGES)
@settings(max_examples=40)
@given(asker=askers, data=st.data())
def test_any_one_field_changes_the_key(
    field: str, asker: tuple[Request, str, str | None], data: st.DataObject
) -> None:
    """And, but for the last user's text, the scope."""
    request, ladder, tenant = asker
    other = msgspec.structs.replace(request, **{field: data.draw(CHANGES[field])})
    assume(not same(content(request), content(other)))
    (key, scope), (other_key, other_scope) = keys(asker), keys((other, ladder, tenant))
    assert key != other_key
    if field != "messages":
        assert scope != other_scope


def test_every_field_of_a_request_is_in_the_key() -> None:
    """A field that is added to requests has to be added here, and to the key."""
    assert set(CHANGES) == set(Request.__struct_fields__)
    assert Message.__struct_fields__ == ("role", "content", "extra")


@given(askers, names, st.none() | names)
def test_ladders_and_tenants_never_share(
    asker: tuple[Request, str, str | None], ladder: str, tenant: str | None
) -> None:
    """Neither a key nor a scope; no tenant is not a tenant named None."""
    assume((ladder, tenant) != asker[1:])
    assert not set(keys(asker)) & set(keys((asker[0], ladder, tenant)))
    assert keys((asker[0], "l", None)) != keys((asker[0], "l", "None"))
    assert keys((asker[0], "l", None)) != keys((asker[0], "l", ""))


@given(askers, st.text(max_size=6))
def test_the_last_users_text_is_all_that_a_scope_leaves_out(
    asker: tuple[Request, str, str | None], text: str
) -> None:
    """Requests of one scope differ in it, and in nothing else."""
    request, ladder, tenant = asker
    last = request.messages[-1]
    other = msgspec.structs.replace(
        request, messages=(*request.messages[:-1], msgspec.structs.replace(last, content=text))
    )
    near = keys(asker)[1] == keys((other, ladder, tenant))[1]
    plain = last.role == "user" and isinstance(last.content, str)
    assert near == (plain or last.content == text)


@given(askers, askers)
def test_a_scope_joins_only_what_differs_in_the_last_users_text(
    one: tuple[Request, str, str | None], other: tuple[Request, str, str | None]
) -> None:
    """Whatever else two requests differ in keeps them apart."""
    if keys(one)[1] != keys(other)[1]:
        return

    def rest(request: Request) -> Any:
        last = request.messages[-1]
        if last.role == "user" and isinstance(last.content, str):
            emptied = msgspec.structs.replace(last, content="")
            return content(
                msgspec.structs.replace(request, messages=(*request.messages[:-1], emptied))
            )
        return content(request)

    assert same(rest(one[0]), rest(other[0]))
    assert one[1:] == other[1:]


ELSEWHERE = """
import json, sys, msgspec
from cascade.fingerprint import cache_keys
from cascade.types import Request
for line in sys.stdin:
    request, ladder, tenant = json.loads(line)
    request = msgspec.convert(request, Request)
    print(*cache_keys(request, ladder=ladder, tenant=tenant))
"""


def test_other_processes_make_the_same_keys() -> None:
    """Whatever seed their hashes have."""
    made = [
        Request(messages=(Message(role="user", content=f"{i}", extra={"b": [i], "a": {}}),), seed=i)
        for i in range(20)
    ]
    lines = "".join(json.dumps([content(request), "l", None]) + "\n" for request in made)
    here = [" ".join(keys((request, "l", None))) for request in made]
    for seed in ("0", "1", "4711"):
        there = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            input=lines,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        assert there.stdout.split("\n")[:-1] == here


def test_the_keys_are_those_of_the_files_already_written() -> None:
    """A change of how keys are made empties every cache there is: it must not happen unseen."""
    request = Request(messages=(Message(role="user", content="What is 6 times 7?"),), seed=1)
    assert cache_keys(request, ladder="l1", tenant="acme") == (
        "0ac2cc11aeff1d6aace366932104f130",
        "5852faef25ca0a7dd813d406bbfe9915",
    )
