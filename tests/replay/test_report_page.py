"""The report page in a real browser: what it shows are the figures it holds, wherever the slider stands.

Chromium is driven through ChromeDriver, which speaks W3C WebDriver: JSON over HTTP on the loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cascade.replay.page import Text, page, texts_of
from cascade.replay.report import Figures, figures

from .tables import ladder_table
from .test_page import HOSTILE, about, data_of

pytestmark = pytest.mark.browser

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""What WebDriver calls a reference to an element (W3C WebDriver, section 12)."""

KEYS = {"end": "\ue010", "home": "\ue011", "left": "\ue012", "right": "\ue014"}

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, client: httpx.Client, folder: Path, chromium: str) -> None:
        arguments = [*QUIET, f"--user-data-dir={folder}"]
        wanted = {
            "goog:chromeOptions": {"args": arguments, "binary": chromium},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._client, self._session = client, ""
        started = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{started['sessionId']}"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, self._session + path, json=body).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def close(self) -> None:
        """End the browser."""
        self._send("DELETE", "")

    def open(self, path: Path) -> None:
        """Show a file; what was logged before is forgotten."""
        self.log("browser")
        self.log("performance")
        self._send("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script in the page returns; promises are waited for."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, identity: str, key: str) -> None:
        """Press a key on an element."""
        found = self._send("POST", "/element", {"using": "css selector", "value": f"#{identity}"})
        self._send("POST", f"/element/{found[ELEMENT]}/value", {"text": KEYS[key]})

    def tell(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        """Look at the page on a screen of this many pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", **size)

    def scheme(self, name: str) -> None:
        """Prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.tell("Emulation.setEmulatedMedia", features=[feature])

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Return what was logged since the last look."""
        found: list[dict[str, Any]] = self._send("POST", "/se/log", {"type": kind})
        return found

    def requested(self) -> list[str]:
        """Return the addresses asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of its own for this module."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "chromium and chromedriver are needed: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):  # noqa: TID251 - a missing browser must not pass unseen there
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("chromium")
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ports = (re.search(r"on port (\d+)\.$", line.strip()) for line in process.stdout)
            port = next(found.group(1) for found in ports if found)
            base = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=base, timeout=60, trust_env=False) as client:
                window = Browser(client, folder, chromium)
                yield window
                window.close()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def found() -> Figures:
    """Figures of a made-up ladder."""
    return figures(ladder_table(300, 0), ladder_table(300, 1))


@pytest.fixture(scope="module")
def report(found: Figures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with made-up prompts and answers."""
    models = ("small", "middle", "large")
    prompts = [f"What is asked in row {i}?" for i in range(found.n)]
    answers = [[f"{model} says {i}" for model in models] for i in range(found.n)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(found, about(), texts_of(found, models, prompts, answers)), "utf-8")
    return path


SHOWN = """
const text = (id) => document.getElementById(id).textContent;
const rows = (id) => Object.fromEntries([...document.querySelectorAll(`#${id} tbody tr`)]
  .map((row) => [row.dataset.model, row.querySelector("td").textContent]));
const widths = (id) => Object.fromEntries([...document.querySelectorAll(`#${id} tbody tr`)]
  .map((row) => [row.dataset.model, parseFloat(row.querySelector("i").style.width)]));
return {
  which: text("which"), name: text("policy-name"), words: text("words"), setting: text("setting"),
  saving: text("saving"), savingMore: text("saving-more"), quality: text("quality"),
  qualityMore: text("quality-more"), cost: text("cost"), latency: text("latency"),
  calls: rows("calls"), money: rows("money"), widths: widths("calls"), idle: text("idle"),
  mistakes: [...document.querySelectorAll("#mistakes-table tbody tr")].map((row) => row.textContent),
  mistakesLead: text("mistakes-lead"),
  valueText: document.getElementById("position").getAttribute("aria-valuetext"),
};
"""


def numbers(text: str) -> list[float]:
    """Return the numbers of a text, thousands and minus signs as people write them."""
    plain = text.replace(",", "").replace("\u2212", "-")
    return [float(n) for n in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?", plain)]


def near(*values: float) -> Any:
    """Percentages shown with one decimal."""
    return pytest.approx([100 * value for value in values], abs=0.0501)


def check(shown: dict[str, Any], data: dict[str, Any], at: int) -> None:
    """Hold what the page shows against the position of the JSON that it holds."""
    figures_, position = data["figures"], data["figures"]["frontier"][at]
    assert shown["which"] == f"Policy {at + 1} of {len(figures_['frontier'])}"
    assert shown["name"] == position["name"]
    assert shown["words"] == "".join(position["words"])
    assert (position["setting"] or "neither").lower() in shown["setting"].lower()
    assert position["version"] in shown["setting"]
    assert numbers(shown["saving"]) == near(position["saving"])
    assert numbers(shown["savingMore"]) == near(*position["saving_ci"])
    quality = position["quality"]
    assert numbers(shown["quality"]) == near(quality["value"])
    assert numbers(shown["qualityMore"])[:2] == near(quality["low"], quality["high"])
    assert numbers(shown["cost"]) == pytest.approx([1_000 * position["cost"]], rel=0.005)
    assert numbers(shown["latency"]) == pytest.approx([position["latency"][1]], abs=0.006)
    called = {bar["model"]: bar["called"] for bar in position["bars"]}
    assert set(called) == set(shown["calls"]) | set(re.findall(r"\w+", shown["idle"])) & set(called)
    for model, text in shown["calls"].items():
        assert numbers(text)[:1] == near(called[model])
        assert shown["widths"][model] == pytest.approx(100 * called[model], abs=0.01)
    for bar in position["bars"]:
        if bar["model"] in shown["money"]:
            assert numbers(shown["money"][bar["model"]])[:1] == near(bar["money"] + bar["left"])
    mistakes = position["mistakes"]
    assert len(shown["mistakes"]) == min(6, len(mistakes["worst"]))
    for row, mistake in zip(shown["mistakes"], mistakes["worst"], strict=False):
        text = data["texts"][str(mistake["row"])]
        assert text["prompt"] in row
        assert mistake["id"] in row
        assert text["answers"][mistake["kept"]] in row
        assert text["answers"][figures_["strongest"]] in row
        assert f"{mistake['confidence']:.1%}" in row
    if mistakes["others"]:
        counts = numbers(shown["mistakesLead"])
        assert counts[0] == figures_["n"]
        assert counts[1] == mistakes["others"]
        assert f"{mistakes['wrong']} of them" in shown["mistakesLead"]


def test_the_slider_moves_what_is_shown(browser: Browser, report: Path) -> None:
    """At every position saving, quality, calls, money and mistakes are those of the JSON in the page."""
    browser.open(report)
    data = data_of(report.read_text("utf-8"))
    check(browser.run(SHOWN), data, data["figures"]["start"])
    browser.press("position", "home")
    seen = []
    for at in range(len(data["figures"]["frontier"])):
        shown = browser.run(SHOWN)
        check(shown, data, at)
        seen.append(shown)
        browser.press("position", "right")
    for field in ("saving", "quality", "cost", "calls", "mistakes", "mistakesLead", "valueText"):
        assert len({json.dumps(shown[field]) for shown in seen}) > 3, field
    browser.press("position", "end")
    assert browser.run(SHOWN) == seen[-1]


def test_the_slider_obeys_a_pointer(browser: Browser, report: Path) -> None:
    """A value set by dragging has the same effect as a key."""
    browser.open(report)
    script = """
    const slider = document.getElementById("position");
    slider.value = arguments[0];
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    """
    browser.run(script, 1)
    check(browser.run(SHOWN), data_of(report.read_text("utf-8")), 1)


def test_a_headline_leads_to_its_policy(browser: Browser, report: Path) -> None:
    """Savings and intervals are those of the levels; a level's button moves the slider."""
    browser.open(report)
    data = data_of(report.read_text("utf-8"))
    for i, level in enumerate(data["figures"]["levels"]):
        tile = browser.run(
            "const tile = document.querySelectorAll('.level')[arguments[0]];"
            "tile.querySelector('button').click();"
            "return [...tile.children].map((part) => part.textContent).join(' ');",
            i,
        )
        saved = level["saved"]
        told = [100 * x for x in (level["share"], saved["value"], saved["low"], saved["high"])]
        shown = numbers(tile.replace("95% interval", ""))
        assert shown == pytest.approx(told, abs=0.0501)
        check(browser.run(SHOWN), data, level["picked"])


def test_all_listed_mistakes_can_be_read(browser: Browser, report: Path) -> None:
    """A button shows the rest of them, and takes them away."""
    browser.open(report)
    browser.press("position", "home")
    worst = data_of(report.read_text("utf-8"))["figures"]["frontier"][0]["mistakes"]["worst"]
    assert len(worst) > 6
    for many in (len(worst), 6):
        browser.run("document.getElementById('more').click()")
        rows = browser.run(SHOWN)["mistakes"]
        assert len(rows) == many
        assert all(m["id"] in row for m, row in zip(worst, rows, strict=False))


def test_the_chart_shows_every_policy_with_its_interval(browser: Browser, report: Path) -> None:
    """Each curve, model and bound has its marks, its whiskers or band, and a label for who cannot see it."""
    browser.open(report)
    data = data_of(report.read_text("utf-8"))["figures"]
    expected = {line["key"]: line["spots"] for line in data["lines"] if line["key"] != "mix"}
    expected |= {"singles": data["singles"], "judges": data["judges"]}
    shown = browser.run("""
    return Object.fromEntries([...document.querySelectorAll("#plot .series")].map((series) => [
      series.dataset.key, {
        labels: [...series.querySelectorAll(".spot")].map((spot) => spot.getAttribute("aria-label")),
        curves: series.querySelectorAll(".curve").length,
        intervals: series.querySelectorAll(".whisker, .band").length,
      }]));
    """)
    assert set(shown) == {*expected, "mix"}
    assert shown["mix"]["curves"] == shown["ours"]["curves"] == 1
    for key, spots in expected.items():
        assert shown[key]["intervals"] == (1 if key == "ours" else len(spots))
        for label, spot in zip(shown[key]["labels"], spots, strict=True):
            assert spot["name"] in label
            assert f"{spot['quality']['value']:.1%}"[:3] in label


def test_marks_are_read_with_the_keyboard(browser: Browser, report: Path) -> None:
    """Arrow keys walk along a curve; the label says what the mark is; Enter chooses it."""
    browser.open(report)
    key = """
    const mark = document.activeElement;
    mark.dispatchEvent(new KeyboardEvent("keydown", { key: arguments[0], bubbles: true }));
    return [document.querySelector(".tip").hidden, document.querySelector(".tip b").textContent];
    """
    browser.run("document.querySelector('.k-ours .spot[tabindex=\"0\"]').focus()")
    data = data_of(report.read_text("utf-8"))
    hidden, name = browser.run(key, "ArrowRight")
    assert not hidden
    assert name == data["figures"]["frontier"][1]["name"]
    browser.run(key, "Enter")
    check(browser.run(SHOWN), data, 1)


def test_a_curve_can_be_taken_away(browser: Browser, report: Path) -> None:
    """And brought back; the legend's buttons say which are there."""
    browser.open(report)
    click = """
    const button = document.querySelector("#legend .k-chain");
    button.click();
    const series = document.querySelector("#plot .k-chain");
    return [button.getAttribute("aria-pressed"), getComputedStyle(series).display];
    """
    assert browser.run(click) == ["false", "none"]
    assert browser.run(click) == ["true", "inline"]


def test_the_cost_axis_is_logarithmic_or_linear(browser: Browser, report: Path) -> None:
    """A wide range of costs starts logarithmic; either is one choice away and says so."""
    browser.open(report)
    script = """
    const choice = document.querySelector("#scale input:checked").value;
    const said = [...document.querySelectorAll("#plot text")].map((t) => t.textContent)
      .find((t) => t.startsWith("US dollars"));
    document.querySelector("#scale input:not(:checked)").click();
    return [choice, said];
    """
    assert browser.run(script) == ["log", "US dollars per 1,000 requests, logarithmic"]
    assert browser.run(script) == ["linear", "US dollars per 1,000 requests"]


def test_reliability_is_drawn_for_every_model(browser: Browser, report: Path) -> None:
    """One dot a bin, and the same as numbers."""
    browser.open(report)
    data = data_of(report.read_text("utf-8"))["figures"]["reliability"]
    shown = browser.run("""
    return [...document.querySelectorAll("#multiples figure")].map((figure) => [
      figure.querySelector("h3").textContent, figure.querySelectorAll("circle").length]);
    """)
    assert shown == [[one["model"], len(one["bins"])] for one in data]
    rows = browser.run("return document.querySelectorAll('#bins tbody tr').length")
    assert rows == sum(len(one["bins"]) for one in data)


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(
    browser: Browser, report: Path
) -> None:
    """The page asks for itself alone, the console stays empty, and its policy stops what would fetch."""
    browser.open(report)
    for key in ("home", "right", "end"):
        browser.press("position", key)
    assert browser.log("browser") == []
    assert {url for url in browser.requested() if not url.startswith("data:")} == {report.as_uri()}
    stopped = "return fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'stopped')"
    assert browser.run(stopped) == "stopped"
    assert "Content Security Policy" in browser.log("browser")[0]["message"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_light_or_dark(browser: Browser, report: Path, scheme: str) -> None:
    """As the reader's system prefers."""
    browser.scheme(scheme)
    browser.open(report)
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    bright = [int(n) for n in re.findall(r"\d+", ground)]
    assert (min(bright) > 200) is (scheme == "light")
    assert (max(bright) < 60) is (scheme == "dark")


def test_hostile_text_is_shown_and_never_run(
    browser: Browser, found: Figures, tmp_path: Path
) -> None:
    """Markup in prompts, answers and names is read as it was written."""
    worst = found.frontier[0].mistakes.worst
    texts = {m.row: Text(prompt=HOSTILE, answers={"small": HOSTILE}) for m in worst}
    path = tmp_path / "report.html"
    changed = msgspec.structs.replace(found, strongest=HOSTILE)
    path.write_text(page(changed, about(title=HOSTILE, notes=[HOSTILE]), texts), "utf-8")
    browser.open(path)
    browser.press("position", "home")
    assert all(row.count(HOSTILE) >= 2 for row in browser.run(SHOWN)["mistakes"])
    assert browser.run("return document.title") == HOSTILE
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert browser.run("return document.scripts.length") == 2
    assert browser.log("browser") == []


def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, report: Path, found: Figures, tmp_path: Path
) -> None:
    """At 360 pixels, with plain names and with long names and texts that nothing breaks."""
    long = "a-model-whose-name-never-ends" * 6
    renamed = json.dumps(msgspec.to_builtins(found)).replace('"large"', f'"{long}"')
    texts = {
        m.row: Text(prompt="x" * 300, answers={m.kept: "y" * 300, long: "z" * 300})
        for position in found.frontier
        for m in position.mistakes.worst
    }
    wide = tmp_path / "wide.html"
    changed = msgspec.convert(json.loads(renamed), Figures)
    wide.write_text(page(changed, about(logs=[long], notes=[long]), texts), "utf-8")
    try:
        browser.resize(360, 800)
        for path in (report, wide):
            browser.open(path)
            for key in ("home", "end"):
                browser.press("position", key)
                width = browser.run("return document.documentElement.scrollWidth")
                assert width <= 360, path.name
            sized = browser.run("return document.getElementById('position').clientHeight")
            assert sized >= 24  # a target for a finger (WCAG 2.2, 2.5.8)
    finally:
        browser.tell("Emulation.clearDeviceMetricsOverride")


def test_without_texts_and_scorer_the_page_still_stands(browser: Browser, tmp_path: Path) -> None:
    """Mistakes show ids and scores only, and the missing confidence is said."""
    tables = [ladder_table(120, seed) for seed in (0, 1)]
    without = [type(t)(**{f: getattr(t, f) for f in t.__slots__} | {"q": None}) for t in tables]
    found = figures(*without)
    path = tmp_path / "report.html"
    path.write_text(page(found, about(), None), "utf-8")
    browser.open(path)
    browser.press("position", "home")
    shown = browser.run(SHOWN)
    assert shown["mistakes"]
    assert "unknown" in shown["mistakes"][0]
    assert "No scorer was given" in browser.run(
        "return document.getElementById('reliability-lead').textContent"
    )
    assert browser.log("browser") == []


def test_free_models_have_no_saving(browser: Browser, tmp_path: Path) -> None:
    """Where nothing costs anything, savings are unknown and nothing breaks."""
    tables = [ladder_table(120, seed) for seed in (0, 1)]
    free = [
        type(t)(**{f: getattr(t, f) for f in t.__slots__} | {"cost": t.cost * 0}) for t in tables
    ]
    path = tmp_path / "report.html"
    path.write_text(page(figures(*free), about(), None), "utf-8")
    browser.open(path)
    shown = browser.run(SHOWN)
    assert shown["saving"] == "unknown"
    assert shown["cost"] == "$0"
    assert browser.log("browser") == []
