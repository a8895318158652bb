"""The report page as text: nothing of the data becomes markup, and all that was found is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from cascade.replay import page as page_module
from cascade.replay.mistakes import Mistake, Mistakes
from cascade.replay.page import About, Text, excerpt, page, texts_of
from cascade.replay.reliability import Bin, Reliability
from cascade.replay.report import Bar, Figures, Level, Line, Position, Range, Spot, figures

from .tables import ladder_table

HOSTILE = '</script><img src=x onerror="alert(1)"><!-- %DATA% %SCRIPT% & \u2028'
TEMPLATE = files("cascade.replay").joinpath("page.html").read_text(encoding="utf-8")
HOLDERS = ("%SCRIPT%", "%STYLE%", "%TITLE%", "%SUMMARY%", "%DATA%")


def about(**changed: Any) -> About:
    """Where made-up figures come from."""
    given: dict[str, Any] = {
        "title": "Cascade report: log.jsonl",
        "made": "2026-01-01T00:00:00Z",
        "program": "cascade 0",
        "logs": ["log.jsonl"],
        "digest": "d",
        "scorer": None,
        "measured_on": "split test",
        "chosen_on": "split train",
        "notes": ["a note"],
        "seed": 0,
    }
    return About(**(given | changed))


@pytest.fixture(scope="module")
def found() -> Figures:
    """Figures of a made-up ladder."""
    return figures(ladder_table(300, 0), ladder_table(300, 1))


def data_of(made: str) -> Any:
    """Return the JSON that a page holds."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', made, re.DOTALL)
    assert block is not None
    return json.loads(block.group(1))


def script() -> str:
    """Return the template's script."""
    block = re.search(r"<script>(.*?)</script>", TEMPLATE, re.DOTALL)
    assert block is not None
    return block.group(1)


def test_the_page_holds_every_figure(found: Figures) -> None:
    """What the JSON block says is what was found, unknown numbers as null."""
    unknown = Range(value=float("nan"), low=float("nan"), high=float("nan"))
    changed = msgspec.structs.replace(found, strongest_quality=unknown)
    data = data_of(page(changed, about(), None))
    assert data["figures"] == json.loads(msgspec.json.encode(changed))
    assert data["figures"]["strongest_quality"] == {"value": None, "low": None, "high": None}
    assert data["about"]["notes"] == ["a note"]
    assert data["texts"] is None


def test_hostile_text_stays_text(found: Figures) -> None:
    """Prompts, answers, names of models and files neither close the JSON block nor open an element."""
    changed = msgspec.structs.replace(found, strongest=HOSTILE)
    texts = {3: Text(prompt=HOSTILE, answers={HOSTILE: HOSTILE})}
    made = page(changed, about(title=HOSTILE, logs=[HOSTILE], notes=[HOSTILE]), texts)
    for mark in ("<script", "</script", "<img", "<!--"):
        assert made.count(mark) == TEMPLATE.count(mark), mark
    data = data_of(made)
    assert data["texts"] == {"3": {"prompt": HOSTILE, "answers": {HOSTILE: HOSTILE}}}
    assert data["about"]["title"] == data["figures"]["strongest"] == HOSTILE


def test_place_holders_are_filled_once(found: Figures) -> None:
    """None is left in the page, and what looks like one in a title is not filled."""
    made = page(found, about(), None)
    for holder in HOLDERS:
        assert holder in TEMPLATE
        assert holder not in made
    assert "<title>%DATA% &lt;b&gt;</title>" in page(found, about(title="%DATA% <b>"), None)


def test_the_policy_admits_the_pages_own_script_and_style_only(found: Figures) -> None:
    """Their digests stand in it, and nothing else may be loaded, run or sent."""
    made = page(found, about(), None)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.group(1).split("; "))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"


def test_the_page_names_no_address() -> None:
    """It needs no network: no address but the name of the SVG language, no link, no source."""
    assert set(re.findall(r"https?://[^\"'\s]+", TEMPLATE)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r'(?:src|href)="([^"]*)"', TEMPLATE) == ["data:,"]
    assert re.findall(r"url\(|@import|@font-face|\bfetch\(|XMLHttpRequest", TEMPLATE) == []


def test_the_script_writes_text_and_no_markup() -> None:
    """Strings enter the page as text nodes and attributes alone."""
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    )
    assert re.findall(banned, script()) == []


@pytest.mark.parametrize(
    "struct",
    [Figures, Position, Bar, Level, Line, Spot, Range, Mistakes, Mistake, Reliability, Bin, About],
    ids=lambda struct: struct.__name__,
)
def test_every_figure_is_shown(struct: type[msgspec.Struct]) -> None:
    """The script reads every field there is; a title stands in the head."""
    unread = [
        name
        for name in struct.__struct_fields__
        if not re.search(rf"\.{name}\b", script()) and (struct, name) != (About, "title")
    ]
    assert unread == []


def test_listed_mistakes_have_texts(found: Figures) -> None:
    """Of each the prompt, and the answers of the model that was kept and of the strongest one only."""
    models = ("small", "middle", "large")
    prompts = [f"prompt {i}" for i in range(found.n)]
    answers = [[f"{model} {i}" for model in models] for i in range(found.n)]
    texts = texts_of(found, models, prompts, answers)
    listed = [m for position in found.frontier for m in position.mistakes.worst]
    assert listed
    assert set(texts) == {m.row for m in listed}
    for mistake in listed:
        text = texts[mistake.row]
        assert text.prompt == f"prompt {mistake.row}"
        assert text.answers[mistake.kept] == f"{mistake.kept} {mistake.row}"
        assert text.answers["large"] == f"large {mistake.row}"
    kept = {(m.row, m.kept) for m in listed}
    for row, text in texts.items():
        assert all(model == "large" or (row, model) in kept for model in text.answers)


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    """Both matter in questions and answers."""
    cut = excerpt("beginning " + "x" * 5_000 + " end", 100)
    assert cut.startswith("beginning")
    assert cut.endswith("end")
    assert len(cut) <= 103


def test_half_a_surrogate_pair_is_replaced(found: Figures) -> None:
    """A file whose name is no UTF-8 does not keep the page from being written."""
    made = page(found, about(title="\udcff", logs=["\udcff.jsonl"]), None)
    assert made.encode()
    assert data_of(made)["about"]["logs"] == ["?.jsonl"]


def test_data_of_no_known_kind_is_refused() -> None:
    """Nothing enters the page by its repr."""
    with pytest.raises(TypeError, match="object has no place in the page"):
        page_module.embedded(object())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    """Every colour of text has a contrast of at least 4.5 on every ground it stands on (WCAG 2.2, 1.4.3)."""
    blocks = re.findall(r":root \{(.*?)\}", TEMPLATE, re.DOTALL)[:2]
    colours: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    pairs = [(text, ground) for text in ("ink", "soft", "ours") for ground in ("page", "surface")]
    pairs += [("bad", "surface"), ("warn", "warn-page"), ("ink", "warn-page"), ("ink", "sunk")]
    low = [
        (text, ground, round(contrast(colours[text], colours[ground]), 2))
        for text, ground in pairs
        if contrast(colours[text], colours[ground]) < 4.5
    ]
    assert low == []


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
