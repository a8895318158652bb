"""The layers of the architecture, read from the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "types", "ports", "events", "clock", "explain"),
    (
        "pricing",
        "ladder",
        "policy",
        "policies",
        "rules",
        "budget",
        "openings",
        "ending",
        "cached",
        "walk",
        "together",
        "latency",
        "intake",
        "fingerprint",
        "records",
        "wire",
        "assembly",
        "stream_rules",
    ),
    (
        "clients",
        "resilience",
        "ledgers",
        "cache",
        "redis_link",
        "sinks",
        "tokens",
        "compress",
        "catalogue",
        "labels",
        "log_lines",
        "log_reader",
        "telemetry",
        "traffic_log",
    ),
    (
        "engine",
        "compressing",
        "many",
        "one_of_many",
        "by_part",
        "driver",
        "drafts",
        "streaming",
        "recording",
        "side_by_side",
        "caching",
        "spending",
        "tenants",
        "testing",
    ),
    (
        "config",
        "build",
        "build_checks",
        "build_parts",
        "build_cache",
        "build_compress",
        "build_clients",
        "warming",
        "build_spending",
        "build_telemetry",
        "default",
        "sync",
        "cli",
        "__main__",
        "local",
        "demo",
        "exchange",
        "replay",
        "server",
    ),
)
"""A module imports only from its own layer and from those before it."""

FRONT_DOORS = {("engine", "build")}
"""`Cascade.from_yaml` opens the composition root from inside the function; nothing else may."""

SCORER_MAY_IMPORT = {"cascade.types", "cascade.ports", "cascade.records", "cascade.errors"}
HTTP_LIBRARIES = {"httpx", "aiohttp", "requests", "urllib3", "httptools"}
HEAVY = {
    *("numpy", "scipy", "sklearn", "lightgbm", "redis", "starlette", "uvicorn"),
    *("prometheus_client", "opentelemetry"),
}
AT_HOME = {
    "numpy": "replay",
    "scipy": "replay",
    "starlette": "server",
    "uvicorn": "server",
    "prometheus_client": "telemetry",
    "opentelemetry": "telemetry",
}
"""Where one of them is the very subject: whoever imports that package imports it inside a function."""


def layer_of(name: str) -> int | None:
    top = name.split(".")[0]
    return next((i for i, layer in enumerate(LAYERS) if top in layer), None)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> list[tuple[str, bool, bool]]:
    """Return (absolute dotted name, inside a function, only for type checking) of every import."""
    tree = ast.parse(path.read_text())
    found: list[tuple[str, bool, bool]] = []
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]

    def visit(node: ast.AST, in_function: bool, type_checking: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            checking = type_checking or (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            )
            if isinstance(child, ast.Import):
                found.extend((alias.name, inside, checking) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    start = package[: len(package) - child.level + 1]
                    base = ".".join([*start, base]).rstrip(".")
                found.extend(
                    (
                        f"{base}.{alias.name}" if _is_module(f"{base}.{alias.name}") else base,
                        inside,
                        checking,
                    )
                    for alias in child.names
                )
            visit(child, inside, checking)

    visit(tree, False, False)
    return found


def _is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_module_has_a_layer() -> None:
    """A new module has to be put somewhere before it can land."""
    homeless = [
        dotted(p)
        for p in modules("cascade")
        if p.parent.name == "cascade" and p.stem not in ("__init__", "__main__")
        if layer_of(dotted(p).removeprefix("cascade.")) is None
    ]
    assert homeless == []


@pytest.mark.parametrize("path", modules("cascade"), ids=dotted)
def test_modules_import_only_from_layers_before_them(path: Path) -> None:
    """No import points to a later layer, save through the one front door."""
    name = dotted(path).removeprefix("cascade").removeprefix(".")
    here = layer_of(name) if name else len(LAYERS)
    if here is None:
        pytest.fail(f"{name} has no layer")
    for imported, inside, checking in imports(path):
        if checking or not imported.startswith("cascade."):
            continue
        target = imported.removeprefix("cascade.")
        there = layer_of(target)
        door = inside and (name.split(".")[0], target.split(".")[0]) in FRONT_DOORS
        assert door or (there is not None and there <= here), f"{name} imports {imported}"


@pytest.mark.parametrize("path", modules("scorers"), ids=dotted)
def test_scorers_know_only_the_words_of_the_engine(path: Path) -> None:
    """Scorers import types, ports and records of the engine, and nothing that does IO."""
    for imported, _, _ in imports(path):
        if imported.startswith("cascade"):
            assert imported in SCORER_MAY_IMPORT, f"{dotted(path)} imports {imported}"


@pytest.mark.parametrize("path", modules("cascade"), ids=dotted)
def test_only_one_module_imports_the_http_library(path: Path) -> None:
    """HTTP libraries are imported by clients/http.py alone, and scorers by build and cli inside functions."""
    name = dotted(path)
    for imported, inside, checking in imports(path):
        top = imported.split(".")[0]
        if checking:
            continue
        if top in HTTP_LIBRARIES:
            assert name == "cascade.clients.http", f"{name} imports {imported}"
        if top == "scorers":
            assert inside, f"{name} imports scorers at its top"
            assert name.startswith(("cascade.build", "cascade.cli")), f"{name} imports scorers"
        if top in HEAVY and name.split(".")[1:2] != [AT_HOME.get(top)]:
            assert inside, f"{name} imports {top} at its top"
