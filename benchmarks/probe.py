"""Is the proof of compression to be trusted, and what does it take? Planted losses, and one real model.

First, made-up probes of three kinds of task at 95 % quality and 95 % confidence: how often is a kind called
harmless whose compressed prompts lose this share of the right answers? From 5 % on that breaks the
promise, and no more than 5 % of the probes may contain such a mistake in any of the kinds.

Then, on a local model, the whole way: a log of notes with a question about one of them, `cascade probe`,
`cascade tune --compress`, `cascade ask` with and without the evidence.

    python benchmarks/probe.py [--runs 500] [--prompts 130] [--people 1] [--smoke]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio
import msgspec
import numpy as np

from benchmarks._shared import write_result
from cascade.build import cache_folder
from cascade.exchange.traffic_file import encode_row
from cascade.local.catalogue import MODELS, RUNTIME
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve
from cascade.records import TrafficRow
from cascade.replay.compression import Case, decide

RATIO, CONFIDENCE, QUALITY = 0.95, 0.95, 0.85
LOSSES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)
PAIRS = (140, 300, 600)
KINDS = 3
MODEL = "qwen2.5-coder-0.5b"
BUDGET = 110


def planted(loss: float, pairs: int, runs: int) -> tuple[float, float]:
    """Return the share of kinds called harmless, and of probes with at least one such kind."""
    kinds = probes = 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, pairs, round(1_000 * loss)])
        cases = []
        for kind in range(KINDS):
            plain = rng.random(pairs) < QUALITY
            kept = plain & (rng.random(pairs) >= loss)
            case = Case(
                variant="compressed",
                model="m",
                cluster=str(kind),
                plain=plain.astype(float),
                compressed=kept.astype(float),
                saved=0.4,
            )
            cases.append(case)
        harmless = [v.harmless for v in decide(cases, ratio=RATIO, confidence=CONFIDENCE)]
        kinds += sum(harmless)
        probes += any(harmless)
    return kinds / (KINDS * runs), probes / runs


def promise(runs: int) -> list[dict[str, float]]:
    """Print the table of planted losses; check that the promise is kept."""
    print(
        f"{'lost':>6s} {'pairs a kind':>12s} {'kinds called harmless':>22s} {'probes with one':>16s}"
    )
    told = []
    for loss in LOSSES:
        for pairs in PAIRS:
            kinds, probes = planted(loss, pairs, runs)
            print(f"{loss:6.0%} {pairs:12d} {kinds:22.1%} {probes:16.1%}", flush=True)
            told.append({"lost": loss, "pairs": pairs, "kinds": kinds, "probes": probes})
            if loss >= 1 - RATIO:
                # Three standard errors of a share of 5 %.
                slack = 3 * (0.05 * 0.95 / runs) ** 0.5
                assert probes <= 1 - CONFIDENCE + slack, (loss, pairs, probes)
    return told


NAMES = [
    "Ada",
    "Bruno",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jonas",
    "Kira",
    "Luis",
]
ROOMS = ["kitchen", "library", "garage", "cellar", "attic", "office", "studio", "workshop"]
FILLER = (
    "The roof of the east wing is to be mended before the winter.",
    "Visitors are asked to leave umbrellas at the door.",
    "A new carpet was laid in the corridor last month.",
    "The lift is out of order on some evenings.",
    "Lunch is served in the hall from noon on.",
    "The windows facing the street were cleaned in spring.",
    "Parcels are handed out at the front desk.",
    "The heating makes a noise when it is switched on.",
    "The fence along the meadow was painted green.",
    "Bicycles are to be left in the yard.",
    "The clock above the stairs is ten minutes slow.",
    "Rubbish is collected on Tuesdays.",
    "The piano was tuned for the concert in June.",
)


def notes(count: int, people: int) -> list[TrafficRow]:
    """Return prompts: notes on who keeps the key where, among others, and a question about one of them."""
    rng = random.Random(7)
    rows = []
    for n in range(count):
        keepers = rng.sample(NAMES, people)
        facts = [f"{name} keeps the spare key in the {rng.choice(ROOMS)}." for name in keepers]
        lines = [*facts, *rng.sample(FILLER[:8] if people > 1 else FILLER, 8 if people > 1 else 13)]
        rng.shuffle(lines)
        who = rng.choice(keepers)
        place = next(f for f in facts if f.startswith(f"{who} ")).rpartition(" the ")[2].rstrip(".")
        prompt = (
            " ".join(lines)
            + f"\n\nIn which room does {who} keep the spare key? Answer with one word."
        )
        rows.append(TrafficRow(id=f"n{n}", prompt=prompt, reference=place, responses=[]))
    return rows


def cascade(folder: Path, *arguments: str) -> str:
    """Run a command as a user would; return what it says."""
    print(f"$ cascade {' '.join(a if len(a) < 60 else '…' for a in arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "cascade", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def whole_way(folder: Path, base_url: str, model: str, prompts: int, people: int) -> dict[str, Any]:
    """Probe, tune and ask against a server; return the verdict and what was asked."""
    rows = notes(prompts + 1, people)
    (folder / "notes.jsonl").write_bytes(b"\n".join(encode_row(row) for row in rows[:-1]) + b"\n")
    ladder = folder / "ladder.yaml"

    def write(evidence: str) -> None:
        ladder.write_text(
            f"providers: {{p: {{kind: openai, base_url: '{base_url}'}}}}\n"
            f"ladder:\n  - model: '{model}'\n    provider: p\n    max_tokens: 8\n    unknown: accept\n"
            "    price: {input: 0.02, output: 0.02}\n    request: {temperature: 0}\n"
            f"compress:\n  stages: [minify, {{extract: {{budget: {BUDGET}}}}}]\n  min_saving_usd: 0\n"
            f"{evidence}"
        )

    write("")
    probe = [
        "probe",
        "notes.jsonl",
        "--sample",
        str(prompts),
        "--clusters",
        "1",
        "-c",
        "ladder.yaml",
    ]
    probe += ["--score-by", "reference", "--at-once", "1", "-o", "probe.jsonl", "--yes"]
    print(cascade(folder, *probe))
    found: dict[str, Any] = json.loads(
        cascade(folder, "tune", "--compress", "probe.jsonl", "-o", "compress.yaml", "--json")
    )
    print("\n".join(found["told"]))
    asked = ["ask", rows[-1].prompt, "-c", "ladder.yaml", "--json"]
    off = msgspec.json.decode(cascade(folder, *asked))
    write("  evidence: compress.yaml\n")
    on = msgspec.json.decode(cascade(folder, *asked))
    print(f"without evidence: {off['text']!r}, {off['cost_usd']:.8f} USD")
    print(
        f"with it:          {on['text']!r}, {on['cost_usd']:.8f} USD (wanted: {rows[-1].reference})"
    )
    return {"tune": found, "off": off["text"], "on": on["text"], "wanted": rows[-1].reference}


async def local(prompts: int, people: int) -> dict[str, Any]:
    """Run the whole way on the local model."""
    model = next(m for m in MODELS if m.name == MODEL)
    await install(missing([RUNTIME]))
    file = await model_file(model, cache_folder())
    async with serve(file, name=model.name) as server:
        with tempfile.TemporaryDirectory() as folder:
            return await anyio.to_thread.run_sync(
                whole_way, Path(folder), server.base_url, model.name, prompts, people
            )


class _Reader(BaseHTTPRequestHandler):
    """A model that finds the room in the notes, for --smoke."""

    def do_POST(self) -> None:
        """Answer."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        who = prompt.rpartition("does ")[2].split()[0]
        found = prompt.partition(f"{who} keeps the spare key in the ")[2].partition(".")[0]
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 2}
        choice = {"index": 0, "message": {"content": found}, "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def reader() -> Iterator[str]:
    """Run it; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Reader)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()


def main(arguments: Sequence[str]) -> int:
    """Print both parts and write out/probe.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=130)
    parser.add_argument("--people", type=int, default=1, help="who keep keys, in one prompt")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    if given.smoke:
        promise(20)
        with reader() as address, tempfile.TemporaryDirectory() as folder:
            found = whole_way(Path(folder), address, "reader", 110, 7)
        assert found["tune"]["verdicts"][0]["allowed"], found
        assert found["on"] == found["off"] == found["wanted"], found
        return 0
    told = promise(given.runs)
    found = anyio.run(local, given.prompts, given.people)
    write_result(
        "probe",
        {"runs": given.runs, "planted": told, "model": MODEL, "people": given.people, "way": found},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
