"""The transports, against a real server in another process."""

from __future__ import annotations

import inspect
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httptools
import httpx
import pytest

from cascade.clients.faults import BrokenAnswer, Cut, TooLarge, translated
from cascade.clients.http import (
    AsyncioTransport,
    DefaultTransport,
    HttpResponse,
    HttpxTransport,
    Limits,
    Transport,
    as_transport,
    default_transport,
)
from cascade.clients.openai import OpenAIClient
from cascade.clients.route import proxy_for, tls_context
from cascade.errors import (
    BadResponse,
    ConfigError,
    ConnectFailed,
    ProviderError,
    ProviderTimeout,
)
from cascade.types import Message, ModelCall, Request
from tests.upstream_server import UpstreamServer, running_server

pytestmark = pytest.mark.anyio

HEADERS = {"content-type": "application/json", "authorization": "Bearer SECRET-KEY"}
BODY = b'{"model":"m"}'
CALL = ModelCall(model="m", request=Request(messages=(Message(role="user", content="hello"),)))


@pytest.fixture(params=["default", "httpx"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Give the default transport of the event loop, and the one over httpx."""
    made: Transport = default_transport() if request.param == "default" else HttpxTransport()
    yield made
    await made.aclose()


async def post(
    transport: Transport, url: str, *, timeout_s: float = 10.0, body: bytes = BODY
) -> HttpResponse:
    return await transport.post(
        f"{url}/chat/completions", HEADERS, body, timeout_s=timeout_s, provider="p", model="m"
    )


async def test_returns_status_headers_and_body(
    transport: Transport, server: UpstreamServer
) -> None:
    """An answer comes back whole, whatever its status."""
    status, headers, body = await post(transport, server.url("rate-limit"))
    assert status == 429
    assert headers["retry-after"] == "2"
    assert b"slow down" in body


async def test_sends_the_headers_given_and_no_others(
    transport: Transport, server: UpstreamServer
) -> None:
    """What arrives is what was given, beside what HTTP needs."""
    await post(transport, server.url("ok"))
    headers = server.seen("ok")[-1]["headers"]
    assert headers["authorization"] == "Bearer SECRET-KEY"
    assert headers["content-type"] == "application/json"
    assert "cookie" not in headers


async def test_reuses_a_connection(transport: Transport, server: UpstreamServer) -> None:
    """Calls one after the other go over one connection."""
    for _ in range(3):
        await post(transport, server.url("ok"))
    assert len({r["connection"] for r in server.seen("ok")[-3:]}) == 1


@pytest.mark.parametrize("behaviour", ["gzip", "chunked", "interim", "until-close", "in-crumbs"])
async def test_decodes(transport: Transport, server: UpstreamServer, behaviour: str) -> None:
    """However HTTP frames or packs a body, it comes back as it was before."""
    answer = await post(transport, server.url(behaviour))
    assert json.loads(answer.body)["model"] == "served-model"


async def test_redirects_are_not_followed(transport: Transport, server: UpstreamServer) -> None:
    """A redirect is an answer like any other: it could carry the key elsewhere."""
    assert (await post(transport, server.url("redirect"))).status == 307


# Of a body that httpx gives up halfway it leaves generators to the garbage collector: trio warns.
httpx_leaves_generators = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@httpx_leaves_generators
@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("reset", ConnectFailed),
        ("cut-in-body", ConnectFailed),
        ("not-http", BadResponse),
        ("bad-gzip", BadResponse),
    ],
)
async def test_translates_what_goes_wrong(
    transport: Transport, server: UpstreamServer, behaviour: str, error: type[ProviderError]
) -> None:
    """A cut connection is ConnectFailed, an answer that is none is BadResponse; nothing is quoted."""
    with pytest.raises(error) as caught:
        await post(transport, server.url(behaviour))
    assert caught.value.__cause__ is not None
    assert caught.value.provider == "p"
    assert "SECRET" not in str(caught.value)


async def test_a_closed_port_is_connect_failed(transport: Transport) -> None:
    """Nobody listening names the host."""
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:1\b"):
        await post(transport, "http://127.0.0.1:1/v1")


@pytest.mark.parametrize("behaviour", ["reset", "cut-in-body", "hang", "half-json"])
async def test_what_has_left_may_have_been_billed(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """The server had the request; only `sent` tells that from a connection that never was."""
    client = OpenAIClient("p", server.url(behaviour), "k", transport=transport, timeout_s=0.5)
    with pytest.raises(ProviderError) as caught:
        await client.complete(CALL)
    assert caught.value.sent


async def test_what_never_left_is_known_not_to_be_billed(transport: Transport) -> None:
    """A closed port, a name that leads nowhere."""
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        with pytest.raises(ProviderError) as caught:
            await post(transport, f"http://{host}")
        assert not caught.value.sent


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_crowd_waits_for_one_lookup_of_a_name(
    server: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lookups run in a few threads and cannot be cut short: a slow name must not take them all."""
    looked_up: list[str] = []
    end, real = threading.Event(), socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        if host == "slow.invalid":
            end.wait(10)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    transport = AsyncioTransport(limits=Limits(connect_timeout_s=0.2))
    errors: list[ProviderError] = []

    async def ask() -> None:
        with pytest.raises(ProviderError) as caught:
            await post(transport, "http://slow.invalid/v1")
        errors.append(caught.value)

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        assert looked_up == ["slow.invalid"]
        assert {(type(error), error.sent) for error in errors} == {(ProviderTimeout, False)}
        url = server.url("ok").replace("127.0.0.1", "localhost")
        assert (await post(transport, url)).status == 200
    finally:
        end.set()
        await transport.aclose()


async def test_what_a_dying_server_took_may_have_been_billed(transport: Transport) -> None:
    """It reads a second request on its connection and is gone: the first of two tries has left."""
    listener = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners[0]
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def answer_once_and_die() -> None:
        async with await listener.accept() as stream:
            while not (await stream.receive()).endswith(BODY):  # httpx sends it apart from the head
                pass
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await stream.receive()
            await listener.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer_once_and_die)
        await post(transport, f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectFailed) as caught:
            await post(transport, f"http://127.0.0.1:{port}")
    assert caught.value.sent


@pytest.mark.parametrize("behaviour", ["hang", "hang-in-body"])
async def test_a_hanging_server_times_out_and_is_left(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """No answer in time, head or body, is ProviderTimeout, and the connection is closed."""
    with pytest.raises(ProviderTimeout):
        await post(transport, server.url(behaviour), timeout_s=0.2)
    assert await anyio.to_thread.run_sync(server.wait_until_closed, behaviour)


Timed = Callable[..., Transport]


@pytest.fixture(params=["default", "httpx"])
async def timed(request: pytest.FixtureRequest) -> AsyncIterator[Timed]:
    """Make transports with timeouts for parts of an exchange."""
    made: list[Transport] = []

    def one(**timeouts: float) -> Transport:
        limits = Limits(**timeouts)  # type: ignore[arg-type]
        default = request.param == "default"
        made.append(default_transport(limits) if default else HttpxTransport(limits=limits))
        return made[-1]

    yield one
    for transport in made:
        await transport.aclose()


@httpx_leaves_generators
@pytest.mark.parametrize(
    ("behaviour", "timeouts", "words"),
    [
        ("hang", {"first_token_timeout_s": 0.1}, "nothing of an answer from H within K 0.1"),
        (
            "hang-in-body",
            {"between_tokens_timeout_s": 0.1},
            "no more of the answer from H within K 0.1",
        ),
        ("late", {"first_token_timeout_s": 0.1}, "nothing of an answer from H within K 0.1"),
    ],
)
async def test_a_part_of_an_answer_that_is_late_times_out(
    timed: Timed,
    server: UpstreamServer,
    behaviour: str,
    timeouts: dict[str, float],
    words: str,
) -> None:
    """Each timeout has its own words, and the connection is closed."""
    with pytest.raises(ProviderTimeout) as caught:
        await post(timed(**timeouts), server.url(behaviour))
    (key,) = timeouts
    words = words.replace("H", f"127.0.0.1:{server.port}").replace("K", key)
    assert str(caught.value) == f"p/m: {words}"
    assert caught.value.sent
    assert await anyio.to_thread.run_sync(server.wait_until_closed, behaviour)


async def test_the_whole_that_is_late_is_said_to_be_that(
    timed: Timed, server: UpstreamServer
) -> None:
    """`timeout_s` holds beside longer ones of the parts."""
    transport = timed(first_token_timeout_s=5.0, between_tokens_timeout_s=5.0)
    with pytest.raises(ProviderTimeout, match=r"no whole answer from \S+ within timeout_s 0\.1$"):
        await post(transport, server.url("hang"), timeout_s=0.1)


@pytest.mark.parametrize(
    ("behaviour", "timeouts"),
    [
        ("hang-in-body", {"first_token_timeout_s": 0.1}),
        ("hang", {"between_tokens_timeout_s": 0.1}),
    ],
    ids=["first, then silence", "silence before the first"],
)
@httpx_leaves_generators
async def test_a_timeout_holds_for_its_own_part_only(
    timed: Timed, server: UpstreamServer, behaviour: str, timeouts: dict[str, float]
) -> None:
    """What is not timed by itself is timed with the whole."""
    with pytest.raises(ProviderTimeout, match=r"within timeout_s 0\.3$"):
        await post(timed(**timeouts), server.url(behaviour), timeout_s=0.3)


@pytest.mark.parametrize("behaviour", ["drip", "late"])
async def test_a_slow_answer_that_keeps_coming_is_taken(
    timed: Timed, server: UpstreamServer, behaviour: str
) -> None:
    """However long all of it takes, or an interim answer lets it seem to have begun."""
    transport = timed(first_token_timeout_s=1.0, between_tokens_timeout_s=0.12)
    for _ in range(2):  # the second on a kept connection
        answer = await post(transport, server.url(behaviour))
        assert json.loads(answer.body)["model"] == "served-model"


async def test_a_request_that_takes_long_to_send_is_not_late(
    timed: Timed, server: UpstreamServer
) -> None:
    """The first byte is awaited from when the request has left."""
    body = json.dumps({"x": "y" * 30_000_000}).encode()
    transport = timed(first_token_timeout_s=0.25)
    assert (await post(transport, server.url("reads-slowly"), body=body)).status == 200


async def test_a_host_that_takes_no_connection_is_said_to_be_that(timed: Timed) -> None:
    """`connect_timeout_s` is told apart from what comes later, and nothing was sent."""
    transport = timed(connect_timeout_s=0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with (
            socket.create_connection(address),
            pytest.raises(ProviderTimeout, match=r"within connect_timeout_s 0\.1$") as caught,
        ):
            await post(transport, f"http://127.0.0.1:{address[1]}/v1")
    assert not caught.value.sent


async def test_waiting_for_a_free_connection_is_said_to_be_that(
    timed: Timed, server: UpstreamServer
) -> None:
    """Of two calls over one connection the second never leaves."""
    transport = timed(max_connections=1)
    errors: list[ProviderError] = []

    async def one(timeout_s: float) -> None:
        try:
            await post(transport, server.url("hang"), timeout_s=timeout_s)
        except ProviderError as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, 0.4)
        await anyio.sleep(0.05)
        tasks.start_soon(one, 0.1)
    assert [error.sent for error in errors] == [False, True]
    assert "no free connection to" in str(errors[0])


@pytest.mark.parametrize("behaviour", ["hang", "hang-in-body"])
async def test_cancelling_closes_the_connection_at_once(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """A cancelled call leaves no connection behind on which a model goes on writing."""
    seen = len(server.seen(behaviour))

    async def has_arrived() -> None:
        while len(await anyio.to_thread.run_sync(server.seen, behaviour)) == seen:
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post, transport, server.url(behaviour))
        with anyio.fail_after(5):
            await has_arrived()
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(server.wait_until_closed, behaviour)


@httpx_leaves_generators
@pytest.mark.parametrize("behaviour", ["large", "gzip-bomb"])
async def test_refuses_a_body_that_is_too_large(server: UpstreamServer, behaviour: str) -> None:
    """The limit holds for what is received and for what it unpacks to."""
    transport = default_transport(Limits(max_response_bytes=1_000_000))
    with pytest.raises(BadResponse, match="1,000,000"):
        await post(transport, server.url(behaviour))
    await transport.aclose()


async def test_sends_ten_megabytes(transport: Transport, server: UpstreamServer) -> None:
    """A large prompt arrives whole."""
    body = json.dumps({"x": "y" * 10_000_000}).encode()
    assert (await post(transport, server.url("ok"), body=body)).status == 200
    assert server.seen("ok")[-1]["size"] == len(body)


@pytest.mark.parametrize("behaviour", ["stale", "stale-reset"])
async def test_a_connection_closed_while_idle_loses_no_request(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """A reused connection that is gone before anything was answered is replaced once, at once."""
    await post(transport, server.url(behaviour))
    assert (await post(transport, server.url(behaviour))).status == 200
    connections = [r["connection"] for r in server.seen(behaviour)[-3:]]
    assert connections[0] == connections[1] != connections[2]


async def test_an_unasked_answer_is_not_taken_for_the_next(
    transport: Transport, server: UpstreamServer
) -> None:
    """What a server says to an idle connection belongs to no request."""
    for _ in range(3):
        assert (await post(transport, server.url("farewell"))).status == 200
        await anyio.sleep(0.1)


async def test_a_crowd_of_stale_connections_loses_no_request(
    transport: Transport, server: UpstreamServer, anyio_backend: str
) -> None:
    """A server that drops all its kept connections at once costs nobody an answer."""
    if not isinstance(transport, DefaultTransport) or anyio_backend == "trio":
        pytest.skip("through httpx, the second try may meet another stale connection")
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await post(transport, server.url("stale"))).status)

    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
    assert statuses == [200] * 40


async def test_closing_ends_calls_in_flight(transport: Transport, server: UpstreamServer) -> None:
    """They fail as cut, soon, and nothing is opened again behind the back of who closed."""
    errors: list[ProviderError] = []

    async def one() -> None:
        try:
            await post(transport, server.url("hang"), timeout_s=20)
        except ProviderError as exc:
            errors.append(exc)

    seen = len(server.seen("hang"))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            while len(await anyio.to_thread.run_sync(server.seen, "hang")) == seen:
                await anyio.sleep(0.01)
            await transport.aclose()
    assert [type(error) for error in errors] == [ConnectFailed]


async def test_tls_is_verified(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate nobody vouches for is refused; one that the system trusts is taken."""
    certificate = tmp_path / "certificate.pem"
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test "
        "-addext subjectAltName=IP:127.0.0.1 -keyout - -out -"
    )
    made = subprocess.run(make, shell=True, capture_output=True, check=True)
    certificate.write_bytes(made.stdout)
    with running_server(certificate) as server:
        with pytest.raises(ConnectFailed):
            await post(transport, server.url("ok"))
        await transport.aclose()
        tls_context.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        for _ in range(2):
            assert (await post(transport, server.url("ok"))).status == 200
    tls_context.cache_clear()


async def test_a_fresh_connection_that_is_reset_is_not_tried_again(
    transport: Transport, server: UpstreamServer
) -> None:
    """On a fresh connection the server has seen the request: retrying is for the engine to decide."""
    before = len(server.seen("reset"))
    with pytest.raises(ConnectFailed):
        await post(transport, server.url("reset"))
    assert len(server.seen("reset")) == before + 1


async def test_waits_for_a_connection_when_all_are_taken(server: UpstreamServer) -> None:
    """More calls than connections queue up; all are answered."""
    transport = default_transport(Limits(max_connections=2))
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(post, transport, server.url("ok"))
    assert len({r["connection"] for r in server.seen("ok")[-20:]}) <= 2
    await transport.aclose()


async def test_may_be_used_again_after_closing(
    transport: Transport, server: UpstreamServer
) -> None:
    """Closing twice is harmless, and the next call opens anew."""
    for _ in range(2):
        assert (await post(transport, server.url("ok"))).status == 200
        await transport.aclose()
        await transport.aclose()


async def test_chooses_by_event_loop(server: UpstreamServer, anyio_backend: str) -> None:
    """On asyncio our own connections are used, under trio httpx."""
    transport = default_transport()
    await post(transport, server.url("ok"))
    expected = {"asyncio": AsyncioTransport, "trio": HttpxTransport}[anyio_backend]
    assert isinstance(transport._chosen, expected)
    await transport.aclose()


async def test_takes_a_users_httpx_client(server: UpstreamServer) -> None:
    """A user's own client does the sending, with its own headers, and stays open."""
    async with httpx.AsyncClient(headers={"x-mine": "1"}) as client:
        transport = as_transport(client)
        await post(transport, server.url("ok"))
        await transport.aclose()
        assert not client.is_closed
    assert server.seen("ok")[-1]["headers"]["x-mine"] == "1"


async def test_takes_an_httpx_transport() -> None:
    """An httpx transport, such as its mock, serves as it is."""
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=request.content))
    assert (await post(as_transport(mock), "http://nowhere.test/v1")).body == BODY


def test_refuses_what_is_no_transport() -> None:
    """The error names what is allowed."""
    with pytest.raises(ConfigError, match=r"str cannot send .* httpx\.AsyncClient"):
        as_transport("https://example.com")


def test_import_and_construction_load_no_http_library() -> None:
    """Importing and making clients imports no HTTP library."""
    code = (
        "import sys; from cascade.clients.openai import OpenAIClient; "
        "from cascade.clients.anthropic import AnthropicClient; "
        "OpenAIClient('p'); AnthropicClient('p'); "
        "print(sorted({'httptools', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _library_errors() -> list[type[Exception]]:
    # Of httpx, StreamError and CookieConflict are mistakes in using it, not transport errors.
    roots = (httptools.HttpParserError, httptools.HttpParserUpgrade, httpx.HTTPError)
    known: dict[type[Exception], None] = {httpx.InvalidURL: None}
    for module in (httptools, httpx):
        members = inspect.getmembers(module, inspect.isclass)
        known |= {cls: None for _, cls in members if issubclass(cls, roots)}
    return list(known)


def _instance(cls: type[Exception]) -> Exception:
    made = cls.__new__(cls)
    made.args = ("SECRET-WORDS",)
    return made


@pytest.mark.parametrize(
    "cls", _library_errors(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_every_transport_error_has_a_translation(cls: type[Exception]) -> None:
    """Each exception class of both libraries becomes one of three errors that quotes nothing."""
    error = translated(_instance(cls), url="https://h:1/x?key=SECRET", provider="p", model="m")
    name = cls.__name__
    if "Timeout" in name:
        expected: type[ProviderError] = ProviderTimeout
    elif any(word in name for word in ("Parser", "Redirect", "Status", "Decod", "RemoteProtocol")):
        expected = BadResponse
    else:
        expected = ConnectFailed
    assert type(error) is expected
    assert "SECRET" not in str(error)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (OSError(111, "Connection refused"), ConnectFailed),
        (ConnectionResetError(), ConnectFailed),
        (TimeoutError(), ProviderTimeout),
        (TooLarge(10), BadResponse),
        (BrokenAnswer(), BadResponse),
        (Cut(), ConnectFailed),
    ],
)
def test_other_transport_errors_are_translated(
    given: Exception, expected: type[ProviderError]
) -> None:
    """The system's own errors and ours too."""
    assert type(translated(given, url="http://h", provider="p", model="m")) is expected


def test_finds_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`https_proxy` and `no_proxy` hold; a proxy that cannot be used is an error, never ignored."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert proxy_for("https://api.test/v1") is None
    monkeypatch.setenv("https_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", "inside.test")
    assert proxy_for("https://api.test/v1") == "http://proxy.test:3128"
    assert proxy_for("https://inside.test/v1") is None
    monkeypatch.setenv("https_proxy", "socks5://user:SECRET@proxy.test")
    with pytest.raises(ConfigError, match="socks5") as caught:
        proxy_for("https://api.test/v1")
    assert "SECRET" not in str(caught.value)


async def test_goes_through_the_proxy(
    transport: Transport, server: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to any host goes to the proxy that the environment names."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    # As a proxy the server sees an absolute URL, whose second segment is empty: it closes.
    with pytest.raises(ProviderError):
        await post(transport, "http://nowhere.test/v1")
    seen: list[dict[str, Any]] = server._get("seen")
    assert seen[-1]["path"].startswith("http://nowhere.test/v1")
