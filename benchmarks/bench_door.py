"""Memory of a SuperLink under a stranger's bodies, behind the door and in plain Flower, in one run of this script.

The stranger has no key. First he begins 20 bodies of 60 MiB to /v1/fleet/pull-messages, sends all but their last byte
and waits; then he sends two whole bodies of 500 MiB. Beside it: what an accepted site costs the SuperLink, whose 40
requests have 5 MB each, as Flower cuts models: seconds of CPU, which a busy machine does not change, per GB.

    python benchmarks/bench_door.py
    python benchmarks/bench_door.py --small        # a tenth of the bytes
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from common import machine
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_common.processes.health import free_port
from normfed_server.operation import services as station
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, ServerHome, create

MEBIBYTE = 2**20
UNFINISHED, WHOLE = (20, 60), (2, 500)  # bodies, MiB of each
PIECES, PIECE = 40, 5_242_880  # Flower's own size of a piece
SETTLE_S = 10.0
BIN = Path(sys.executable).parent
PLAIN = str(BIN / "flower-superlink")


@dataclass(frozen=True)
class Seen:
    """Resident memory in MiB, and what went through."""

    before: float
    unfinished: float
    whole: float
    after: float
    answers: str
    site_cpu_s: float


class Stranger:
    """Sends bodies over TLS without a key."""

    def __init__(self, home: ServerHome) -> None:
        self.home = home
        self.context = ssl.create_default_context(cafile=str(home.ca))

    def send(self, size: int, whole: bool) -> tuple[str, ssl.SSLSocket]:
        """One body; returns the answer, "none" while it is waited for, and the open connection."""
        plain = socket.create_connection(("127.0.0.1", self.home.config.port), 30)
        connection = self.context.wrap_socket(plain, server_hostname="localhost")
        head = f"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PROTOBUF_MEDIA_TYPE}\r\n"
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        left, block = size if whole else size - 1, b"\0" * MEBIBYTE
        with contextlib.suppress(OSError):  # the connection was closed: he is cut off
            while left:
                connection.sendall(block[:left])
                left -= min(left, MEBIBYTE)
        connection.settimeout(120.0 if whole else 1.0)
        try:
            return connection.recv(100).split()[1].decode(), connection
        except (OSError, IndexError):
            return ("none" if left == 0 else "cut off"), connection


def attack(home: ServerHome, pid: int, share: float) -> Seen:
    """Everything, one after the other."""
    process, stranger = psutil.Process(pid), Stranger(home)
    before = process.memory_info().rss / MEBIBYTE
    peaks, answers = [], []
    for (count, size), whole in ((UNFINISHED, False), (WHOLE, True)):
        with _peak(process) as peak, ThreadPoolExecutor(count) as pool:
            sent = list(pool.map(lambda _: stranger.send(int(size * share * MEBIBYTE), whole), range(count)))  # noqa: B023
            time.sleep(1.0)
            for _, connection in sent:
                connection.close()
        peaks.append(max(peak))
        answers.append("/".join(sorted({answer for answer, _ in sent})))
    time.sleep(SETTLE_S)
    after = process.memory_info().rss / MEBIBYTE
    return Seen(before, peaks[0], peaks[1], after, ", ".join(answers), _site(home, process))


@contextmanager
def _peak(process: psutil.Process) -> Iterator[list[float]]:
    """The resident memory every 20 ms, in MiB."""
    seen, over = [process.memory_info().rss / MEBIBYTE], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(process.memory_info().rss / MEBIBYTE)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _site(home: ServerHome, process: psutil.Process) -> float:
    """CPU seconds per GB that an accepted site sends, two requests at a time as Flower does; each is read whole."""
    address = f"https://127.0.0.1:{home.config.port}/v1/fleet/push-object"
    key = load_ssh_private_key((home.folder.parent / "a" / "site.key").read_bytes(), None)
    context = ssl.create_default_context(cafile=str(home.ca))
    with httpx.Client(verify=context, trust_env=False, timeout=120) as client:

        def push(_: int) -> None:
            signed = now().isoformat()
            headers = {
                "content-type": PROTOBUF_MEDIA_TYPE,
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(key.public_key())).decode(),
                TIMESTAMP_HEADER: signed,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key, signed.encode())).decode(),
            }
            # A field that no message has, as large as a piece: read, and skipped.
            body = b"\xfa\x07" + _length(PIECE) + b"\0" * PIECE
            answer = client.post(address, content=body, headers=headers)
            if answer.status_code != httpx.codes.UNAUTHORIZED:  # its node is not registered
                raise SystemExit(f"an accepted site was answered {answer.status_code}")

        begin = process.cpu_times()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(push, range(PIECES)))
        end = process.cpu_times()
    return (end.user + end.system - begin.user - begin.system) / (PIECES * PIECE / 1e9)


def _length(size: int) -> bytes:
    """A length as protobuf writes it."""
    found = b""
    while size > 0x7F:
        found, size = found + bytes([size & 0x7F | 0x80]), size >> 7
    return found + bytes([size])


@contextmanager
def superlink(home: ServerHome, plain: bool) -> Iterator[int]:
    """A SuperLink as `normfed server start` starts it, or Flower's own with the same options; returns its process."""
    service = station.services(home)[0]
    command = [PLAIN, *service.command[3:]] if plain else list(service.command)
    environment = {**os.environ, **service.environment, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    with open(home.log / "superlink.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            if service.healthy is not None and service.healthy():
                break
            time.sleep(0.2)
        time.sleep(2.0)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the bytes")
    share = 0.1 if parser.parse_args().small else 1.0
    print(machine())
    print(
        "| | before | 20 unfinished bodies | 2 whole bodies | 10 s later | stranger's answers | an accepted site's GB |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, plain in (("plain Flower", True), ("behind the door", False)):
        with tempfile.TemporaryDirectory() as made:
            folder, port = Path(made), free_port()
            (folder / "data").mkdir()
            home = create(folder / "server", ServerConfig(name="door", address=f"127.0.0.1:{port}", port=port))
            joined = joining.join(enrolment.load(admission.enrol(home, "a")), folder / "a", folder / "data", ())
            admission.accept(home, "a", *admission.read_key(joined.public_key))
            with superlink(home, plain) as pid:
                s = attack(home, pid, share)
        print(
            f"| {name} | {s.before:.0f} MiB | {s.unfinished:.0f} MiB | {s.whole:.0f} MiB | {s.after:.0f} MiB "
            f"| {s.answers} | {s.site_cpu_s:.1f} s of CPU |",
            flush=True,
        )


if __name__ == "__main__":
    main()
