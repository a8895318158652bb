"""One real model server for the judge tests, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cascade.cli import main
from tests.upstream_server import UpstreamServer, running_server

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def server() -> Iterator[UpstreamServer]:
    """Run the scriptable server in a process of its own."""
    with running_server() as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line: arguments → exit code, stdout, stderr."""

    def one(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return one
