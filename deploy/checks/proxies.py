"""Tries the proxies' settings as they ship, with a whole federation behind each: root, nginx and haproxy of Debian.

python deploy/checks/proxies.py [nginx] [haproxy]
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.files import write_text
from normfed_common.processes.health import free_port
from normfed_deploy import playing
from normfed_deploy.rehearsal import Rehearsal, floors

PROXIES = Path(__file__).parents[1] / "proxies"
LIMIT, FLOOD, ASKED = 64, 200, 300
PASSWORD = "a password"


def settings(which: str, folder: Path, made: Rehearsal, ports: tuple[int, int]) -> Path:
    """The file that ships, with this machine's ports and folders."""
    config, home = made.home.config, made.home
    name = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[which]
    said = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True)
    hashed = said.stdout.strip()
    pairs = {
        "192.0.2.10:8000": f"127.0.0.1:{config.port}",
        "192.0.2.10:8080": f"127.0.0.1:{config.monitor_port}",
        "listen 8000": f"listen {ports[0]}",
        "listen 8443": f"listen {ports[1]}",
        "bind :8000": f"bind :{ports[0]}",
        "bind :8443": f"bind :{ports[1]}",
        "status.example.org": "localhost",
        "/etc/nginx/status.crt": str(home.certificate),
        "/etc/nginx/status.key": str(home.key),
        "/etc/nginx/normfed.users": str(folder / "users"),
        "/etc/haproxy/status.pem": str(folder / "status.pem"),
        "/var/log/nginx": str(folder),
        "$6$replace$this": hashed,
        "log /dev/log local0": "log stderr format raw local0",
    }
    text = (PROXIES / name).read_text(encoding="utf-8")
    for before, after in pairs.items():
        text = text.replace(before, after)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "users").write_text(f"it:{hashed}\n", encoding="utf-8")
    (folder / "status.pem").write_bytes(home.certificate.read_bytes() + home.key.read_bytes())
    return folder / name


@contextlib.contextmanager
def running(which: str, path: Path) -> Iterator[None]:
    """The proxy, in the foreground."""
    command = {
        "nginx": ["nginx", "-c", str(path), "-g", "daemon off; user root;"],
        "haproxy": ["haproxy", "-f", str(path)],
    }
    with open(path.parent / f"{which}.out", "wb") as out:
        process = subprocess.Popen(command[which], stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def held(port: int) -> int:
    """How many of a flood of connections from one address are let through to a TLS handshake, all held open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept = []
    for _ in range(FLOOD):
        with contextlib.suppress(OSError):
            kept.append(context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5)))
    for connection in kept:
        connection.close()
    return len(kept)


def monitor(port: int) -> None:
    """Who gets in, and how often."""
    right = "Basic " + base64.b64encode(f"it:{PASSWORD}".encode()).decode()
    with httpx.Client(verify=False, base_url=f"https://localhost:{port}", timeout=20) as client:
        said = [
            ("no password", client.get("/state").status_code),
            ("wrong password", client.get("/state", auth=("it", "wrong")).status_code),
            ("password", client.get("/healthz", headers={"Authorization": right}).status_code),
            ("POST", client.post("/state", headers={"Authorization": right}).status_code),
        ]
        print("  monitor:", ", ".join(f"{who} {status}" for who, status in said))
        begin = time.perf_counter()
        with ThreadPoolExecutor(16) as people:
            asked = [people.submit(client.get, "/icon.svg", headers={"Authorization": right}) for _ in range(ASKED)]
            codes = [each.result().status_code for each in asked]
        seconds = time.perf_counter() - begin
    print(f"  monitor: of {ASKED} requests in {seconds:.1f} s, {codes.count(200)} answered, {codes.count(429)} got 429")


def federation(which: str | None) -> None:
    """A run of the tiny study through a proxy, or straight; then floods."""
    study, data = playing.prepared(None, None)
    folder = Path(tempfile.mkdtemp(prefix=f"normfed-{which}-"))
    ports = (free_port(), free_port())
    lowered = floors(study) | ({"server": f"127.0.0.1:{ports[0]}"} if which else {})
    made = Rehearsal(folder / "federation", data, {site: (site,) for site in "abc"}, settings=lowered)
    server = made.home.folder / "server.yaml"
    write_text(server, plain_yaml.text(plain_yaml.read(server, "a settings file") | {"monitor_hosts": ["localhost"]}))
    with running(which, settings(which, folder, made, ports)) if which else contextlib.nullcontext(), made.up():
        begin = time.perf_counter()
        run = made.begin(study)
        entry = made.wait(run, 3600)
        print(f"{which or 'no proxy'}: {entry.state}, {time.perf_counter() - begin:.1f} s")
        if which:
            print(f"  federation's port: {held(ports[0])} of {FLOOD} connections from one address (limit {LIMIT})")
            monitor(ports[1])


def main() -> None:
    """Straight, then through each proxy."""
    for which in (None, *(sys.argv[1:] or ("nginx", "haproxy"))):
        federation(which)


if __name__ == "__main__":
    main()
