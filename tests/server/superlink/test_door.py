"""What a stranger on the port can do: nothing that costs memory, disk, time or a place of somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_common.foundation.versions import PROTOCOL, PROTOCOL_HEADER, installed_version, short
from normfed_common.processes.health import free_port
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, ServerHome, create
from normfed_server.superlink import door, listening
from normfed_server.superlink.control import key_bytes
from normfed_server.superlink.door import OPERATOR_HEADER, STRANGER_BYTES, Door, Limits, is_local
from normfed_server.superlink.listening import Guests, Server
from normfed_server.superlink.process import AcceptedKeys, server
from normfed_server.superlink.refusals import LINES, WINDOW_S, Refusals, network

SITE, OTHER = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
KNOWN = {public_key_to_bytes(SITE.public_key()): "a"}
OUTSIDE = ("203.0.113.7", 4711)
LIMITS = Limits(request_bytes=100_000, message_bytes=250_000, upload_s=5.0, silence_s=1.0)


class Inside:
    """In the place of Flower's application, which reads every body whole: says how much it got."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        self.asked += 1
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)


def headers(key: ec.EllipticCurvePrivateKey, ahead_s: float = 0.0, other: bool = False) -> dict[str, str]:
    """What a node sends with every request."""
    signed = (now() + timedelta(seconds=ahead_s)).isoformat()
    return {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(key.public_key())).decode(),
        TIMESTAMP_HEADER: signed,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(OTHER if other else key, signed.encode())).decode(),
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "door.log"


@pytest.fixture
def inside() -> Inside:
    return Inside()


def client(inside: Inside, log: Path, address: tuple[str, int] = OUTSIDE) -> TestClient:
    return TestClient(Door(inside, b"secret", lambda: KNOWN, LIMITS, Refusals(log)), client=address)


def test_only_who_knows_the_secret_reaches_the_operators_interface(inside: Inside, log: Path) -> None:
    asking = client(inside, log)
    for path in (
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/docs",
        "/",
        "/v1/fleet",
        "/V1/FLEET/x",
        "//v1",
    ):
        assert asking.post(path).status_code == 404
        assert asking.post(path, headers={OPERATOR_HEADER: "wrong"}).status_code == 404
        assert asking.post(path, headers=headers(SITE)).status_code == 404  # a site is no operator
        assert inside.asked == 0
        assert asking.post(path, content=b"x" * 9, headers={OPERATOR_HEADER: "secret"}).text == "9"
        inside.asked = 0
    assert "203.0.113.7: asked without the secret for '/v1/control/start-run'" in log.read_text()


def test_the_runtimes_paths_are_for_this_machine_only(inside: Inside, log: Path) -> None:
    path = "/v1/runtime/acquire-task"
    assert client(inside, log).post(path).status_code == 404
    assert client(inside, log).post(path, headers=headers(SITE)).status_code == 404
    forwarded = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    assert client(inside, log).post(path, headers=forwarded).status_code == 404
    assert inside.asked == 0
    for own in ("127.0.0.1", "::1", "127.5.5.5"):
        assert client(inside, log, (own, 1)).post(path, content=b"x" * 50_000).text == "50000"


def test_a_stranger_is_heard_out_for_a_few_bytes_and_no_more(inside: Inside, log: Path) -> None:
    asking = client(inside, log)
    path = "/v1/fleet/pull-messages"
    for sent in (
        {},
        headers(OTHER),
        headers(SITE, other=True),
        headers(SITE, ahead_s=60),
        headers(SITE, ahead_s=-900),
    ):
        assert asking.post(path, content=b"x" * STRANGER_BYTES, headers=sent).text == "4096"  # Flower refuses it
        inside.asked = 0
        answer = asking.post(path, content=b"x" * (STRANGER_BYTES + 1), headers=sent)
        assert (answer.status_code, answer.headers["connection"], inside.asked) == (413, "close", 0)
        answer = asking.post(path, content=iter([b"x" * 3000] * 2), headers=sent)  # without saying how much
        assert (answer.status_code, inside.asked) == (413, 0)
    assert asking.get("/health").status_code == 200
    assert asking.get("/health").headers[PROTOCOL_HEADER] == f"{PROTOCOL} {short(installed_version())}"
    assert asking.post("/health", content=b"x" * 5000).status_code == 413
    text = log.read_text()
    for why in (
        "without a key",
        "a key that is not accepted",
        "of a, but another signature",
        "of a, but a wrong clock",
    ):
        assert why in text


TIMES = st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat)


@given(TIMES | st.text(st.characters(max_codepoint=255, exclude_categories=("C",))), st.binary(max_size=120))
def test_whatever_is_signed_however_it_is_a_stranger(
    tmp_path_factory: pytest.TempPathFactory, moment: str, signature: bytes
) -> None:
    """Who knows an accepted site's public key has none of its signatures."""
    inside = Inside()
    asking = client(inside, tmp_path_factory.mktemp("door") / "door.log")
    sent = [
        (FLEET_HTTP_PUBLIC_KEY_HEADER, headers(SITE)[FLEET_HTTP_PUBLIC_KEY_HEADER].encode()),
        (TIMESTAMP_HEADER, moment.encode("latin-1")),
        (FLEET_HTTP_SIGNATURE_HEADER, b64encode(signature)),
    ]
    answer = asking.post("/v1/fleet/push-object", content=b"x" * 5000, headers=sent)  # type: ignore[arg-type]
    assert (answer.status_code, inside.asked) == (413, 0)


def test_an_accepted_site_may_send_what_models_need(inside: Inside, log: Path) -> None:
    asking = client(inside, log)
    for size in (0, STRANGER_BYTES + 1, LIMITS.request_bytes):
        assert asking.post("/v1/fleet/push-messages", content=b"x" * size, headers=headers(SITE)).text == str(size)
        pieces = iter([b"x" * (size // 2), b"x" * (size - size // 2)])
        assert asking.post("/v1/fleet/push-messages", content=pieces, headers=headers(SITE)).text == str(size)
    inside.asked = 0
    answer = asking.post("/v1/fleet/push-messages", content=b"x" * (LIMITS.request_bytes + 1), headers=headers(SITE))
    assert (answer.status_code, inside.asked) == (413, 0)
    assert "site a: announced more than 100,000 bytes" in log.read_text()


def test_a_whole_message_is_bounded_though_it_comes_in_pieces(inside: Inside, log: Path) -> None:
    asking = client(inside, log)

    def push(message: str, size: int) -> int:
        piece = PushObjectRequest(session_id=message, object_content=b"x" * size).SerializeToString()
        return asking.post("/v1/fleet/push-object", content=piece, headers=headers(SITE)).status_code

    assert [push("first", 90_000) for _ in range(4)] == [200, 200, 413, 413]
    assert [push("second", 90_000) for _ in range(2)] == [200, 200]  # another message is another count
    assert push("first", 1) == 413
    assert "largest_message_mb" in log.read_text()


def test_which_addresses_are_this_machine() -> None:
    assert is_local("127.0.0.1", "127.0.0.1")
    assert is_local("::1", "::1")
    assert is_local("10.0.0.5", "10.0.0.5")
    assert not is_local("10.0.0.6", "10.0.0.5")
    assert not is_local("", "10.0.0.5")
    assert not is_local("localhost", "10.0.0.5")


def test_an_accepted_key_counts_from_the_moment_that_the_operator_says_so(tmp_path: Path) -> None:
    home = create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))
    (tmp_path / "data").mkdir()
    known = AcceptedKeys(home)
    assert known() == {}
    joined = joining.join(enrolment.load(admission.enrol(home, "a")), tmp_path / "a", tmp_path / "data", ())
    assert known() == {}
    line, fingerprint = admission.read_key(joined.public_key)
    admission.accept(home, "a", line, fingerprint)
    assert known() == {key_bytes(line): "a"}
    whole = home.sites.read_text()
    home.sites.write_text("{")
    assert known() == {key_bytes(line): "a"}  # a damaged file shuts nobody out
    home.sites.write_text(whole)
    admission.revoke(home, "a")
    assert known() == {}


@given(st.lists(st.sampled_from(["203.0.113.7", "203.0.113.8", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"])))
def test_nobody_has_more_connections_than_allowed_and_places_are_given_back(order: list[str]) -> None:
    guests = Guests(most=2, total=4)
    entered = [address for address in order if guests.enter(address)]
    counts = [sum(network(a) == network(b) for a in entered) for b in entered]
    assert max(counts, default=0) <= 2
    assert len(entered) <= 4
    for address in entered:
        guests.leave(address)
    assert all(guests.enter(address) for address in ["203.0.113.7", "203.0.113.7", "2001:db8::1", "2001:db8::2"])


@given(st.ip_addresses())
def test_an_address_is_counted_with_those_that_the_same_line_has(address: ipaddress.IPv4Address) -> None:
    if address.version == 4:
        assert network(str(address)) == network(f"::ffff:{address}") == str(address)
    elif ipaddress.IPv6Address(str(address)).ipv4_mapped is None:
        assert address in ipaddress.ip_network(network(str(address)))
        assert network(str(address)).endswith("/64")


def test_a_flood_is_a_few_lines_and_hides_nobody(log: Path) -> None:
    clock = [0.0]
    refusals = Refusals(log, lambda: clock[0])
    for n in range(20_000):
        refusals.note("203.0.113.7", "asked without a key for", f"/{n}")
        refusals.note(f"198.51.{n % 100}.{n % 250}", "has too many connections open")
    refusals.note("203.0.113.9", "asked without the secret for", "/v1/control/start-run")
    assert len(log.read_text().splitlines()) == LINES
    clock[0] = WINDOW_S + 1
    refusals.note("203.0.113.9", "asked without the secret for", "/v1/control/start-run")
    *_, summary, last = log.read_text().splitlines()
    assert f"and {40_001 - LINES:,} times more within a minute: 203.0.113.7 asked without a key for (19,999)" in summary
    assert last.endswith("203.0.113.9: asked without the secret for '/v1/control/start-run'")
    datetime.strptime(last[:19], "%Y-%m-%d %H:%M:%S")


def test_a_strangers_text_cannot_write_lines_of_its_own(log: Path) -> None:
    Refusals(log).note(
        "203.0.113.7", "asked without a key for", "/\n2026-01-01 00:00:00 127.0.0.1: \x1b[2Jall is well" * 99
    )
    (line,) = log.read_text().splitlines()
    assert "\x1b" not in line
    assert len(line) < 400


@contextlib.contextmanager
def serving(inside: Inside, home: ServerHome, quiet_s: float = 30.0, limits: Limits = LIMITS) -> Iterator[Server]:
    """The door with uvicorn and TLS, as the SuperLink has them."""
    served = server(
        inside,
        home,
        host="127.0.0.1",
        port=home.config.port,
        ssl_keyfile=str(home.key),
        ssl_certfile=str(home.certificate),
        lifespan="off",
        log_config=None,
    )
    served.quiet_s = quiet_s
    served.config.app.limits, served.config.app.known = limits, lambda: KNOWN
    thread = threading.Thread(target=served.run)
    thread.start()
    try:
        _until(lambda: served.started)
        yield served
    finally:
        served.should_exit = True
        thread.join(120)
    assert not thread.is_alive()


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    port = free_port()
    config = ServerConfig(name="F", address=f"127.0.0.1:{port}", port=port, connections_per_address=8)
    return create(tmp_path / "server", config)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of this machine count as a stranger's."""
    for module in (door, listening):
        monkeypatch.setattr(module, "is_local", lambda *_: False)


def connect(home: ServerHome) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(home.ca))
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", home.config.port), 120), server_hostname="localhost"
    )


def head(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()


def test_strangers_bodies_are_never_taken_in(inside: Inside, home: ServerHome, far: None) -> None:
    """The attack that took a SuperLink from 257 MiB to 1.4 GiB, over TLS on a real port: no body is waited for."""
    with serving(inside, home):
        for _ in range(20):
            with connect(home) as stranger:
                stranger.sendall(head("/v1/fleet/pull-messages", 60 * 2**20) + b"x" * 1000)
                assert stranger.recv(100).split()[1] == b"413"
        assert inside.asked == 0
        _until(lambda: "127.0.0.1: announced more than 4,096 bytes for '/v1/fleet/pull-messages'" in _log(home))


def test_a_body_that_does_not_end_is_cut_off(
    inside: Inside, home: ServerHome, far: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "STRANGER_S", 0.5)
    with serving(inside, home), connect(home) as stranger:
        stranger.sendall(head("/v1/fleet/pull-messages", 1000) + b"x" * 999)
        assert stranger.recv(100).split()[1] == b"408"
        assert inside.asked == 0


def test_who_goes_away_in_the_middle_is_written_down(inside: Inside, home: ServerHome, far: None) -> None:
    with serving(inside, home):
        with connect(home) as stranger:
            stranger.sendall(head("/v1/fleet/pull-messages", 1000) + b"x")
        _until(lambda: "127.0.0.1: asked without a key for '/v1/fleet/pull-messages'" in _log(home))
        assert inside.asked == 0


def test_a_sites_slow_body_is_cut_off(inside: Inside, home: ServerHome) -> None:
    """One byte after the other, each in time, yet never whole."""

    def drop() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.1)
            yield b"x"

    limits = Limits(request_bytes=1000, message_bytes=1000, upload_s=0.5, silence_s=0.3)
    context = ssl.create_default_context(cafile=str(home.ca))
    with serving(inside, home, limits=limits), httpx.Client(verify=context, trust_env=False, timeout=120) as asking:
        address = f"https://127.0.0.1:{home.config.port}/v1/fleet/push-messages"
        assert asking.post(address, content=drop(), headers=headers(SITE)).status_code == 408
        assert asking.post(address, content=b"x" * 1000, headers=headers(SITE)).text == "1000"
        assert inside.asked == 1


def test_what_one_site_sends_at_the_same_time_waits_outside(inside: Inside, log: Path) -> None:
    """Ten requests of the largest size: never more than two of them are in memory."""
    served = Door(inside, b"secret", lambda: KNOWN, LIMITS, Refusals(log))
    taken, most = 0, 0

    async def ask() -> None:
        nonlocal taken, most
        pieces = [b"x" * 10_000] * 10

        async def receive() -> Message:
            nonlocal taken, most
            await asyncio.sleep(0)
            taken += 10_000
            most = max(most, taken)
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

        async def send(message: Message) -> None:
            nonlocal taken
            if message["type"] == "http.response.start":
                assert message["status"] == 200
                taken -= 100_000

        sent = [(name.lower().encode(), value.encode()) for name, value in headers(SITE).items()]
        scope = {"type": "http", "method": "POST", "path": "/v1/fleet/push-messages", "client": OUTSIDE, "server": None}
        await served({**scope, "headers": [*sent, (b"content-length", b"100000")]}, receive, send)

    async def ask_often() -> None:
        await asyncio.gather(*(ask() for _ in range(10)))

    asyncio.run(ask_often())
    assert (inside.asked, taken) == (10, 0)
    assert 100_000 < most <= 200_000


def test_an_address_has_its_connections_and_no_more(inside: Inside, home: ServerHome, far: None) -> None:
    with serving(inside, home) as served, contextlib.ExitStack() as stack:
        inside_now = [stack.enter_context(connect(home)) for _ in range(8)]
        with pytest.raises(OSError):  # noqa: PT011  (reset, or the end of the stream: both are no TLS)
            connect(home)
        _until(lambda: "127.0.0.1: has too many connections open" in _log(home))
        inside_now[0].close()
        _until(lambda: served.guests.enter("127.0.0.1"))
        served.guests.leave("127.0.0.1")
        with connect(home) as again:
            again.sendall(head("/health", 0))
            assert again.recv(100).split()[1] == b"200"


def test_connections_that_ask_nothing_are_closed(inside: Inside, home: ServerHome, far: None) -> None:
    """Neither said nothing, nor headers without an end."""
    with serving(inside, home, quiet_s=0.5) as served, connect(home) as silent, connect(home) as endless:
        endless.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: localhost\r\n")
        for stranger in (silent, endless):
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                assert stranger.recv(100) == b""
        _until(lambda: not served.server_state.connections)
        with connect(home) as huge, contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
            for n in range(1000):
                huge.sendall(f"x-{n}: {'y' * 1000}\r\n".encode() if n else b"GET /health HTTP/1.1\r\n")
            assert huge.recv(100).split()[1] in (b"400", b"431")
        assert inside.asked == 0


def test_processes_of_this_machine_are_not_limited(inside: Inside, home: ServerHome) -> None:
    with serving(inside, home), contextlib.ExitStack() as stack:
        for connection in [stack.enter_context(connect(home)) for _ in range(20)]:
            connection.sendall(head("/v1/runtime/push-object", 100_000) + b"x" * 100_000)
            assert b"100000" in _whole(connection)


def test_what_is_not_http_is_written_down_and_closed(inside: Inside, home: ServerHome, far: None) -> None:
    with serving(inside, home), connect(home) as stranger:
        stranger.sendall(b"\x00\x01 what?\r\n\r\n")
        assert stranger.recv(100).split()[1] == b"400"
        _until(lambda: "127.0.0.1: sent what is not HTTP" in _log(home))


def test_what_is_not_tls_is_written_down(inside: Inside, home: ServerHome, far: None) -> None:
    with serving(inside, home):
        with socket.create_connection(("127.0.0.1", home.config.port), 120) as scanner:
            scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
            scanner.recv(100)
        _until(lambda: "127.0.0.1: did not agree on TLS" in _log(home))


def _whole(connection: ssl.SSLSocket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found or found.endswith(b"\r\n\r\n"):
        found += connection.recv(4096)
    return found


def _log(home: ServerHome) -> str:
    return (home.log / "door.log").read_text()


def _until(condition, within_s: float = 120.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
