"""An IT department's path, timed: images from an offline kit, up, joined, a study that a person at each hospital
approves, restart, upgrade, backup, restore; and the audits of both sides at the end.

Three hospitals and a server, each a compose project of its own, on one machine; they meet on the server's published
port. Needs a container engine, images that can be built (the base, Debian), and `docker compose` of version 2.

    normfed deploy wheelhouse --out KIT --python 3.11
    python deploy/checks/containers.py KIT
    python deploy/checks/containers.py KIT --next KIT2   # upgraded to this kit; else to another label of the same
    python deploy/checks/containers.py KIT --built       # the images are there already
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normfed_common.foundation import plain_yaml
from normfed_deploy import playing
from normfed_deploy.tiny import STUDY

TARGETS = ("server", "site", "egress")
OLD, NEW = "1", "2"
NAME, PORT = "fed.example.org", 18000
SITES = ("a", "b", "c")
RUNS = 2  # that each hospital approves: one before the upgrade, one after the restore
REACH = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"
PHRASE = "twelve words of the operator's that nobody else knows or guesses here"
RESTORE = (
    f'umask 077; cat > /tmp/b; echo "{PHRASE}" > /tmp/phrase; '
    "normfed server restore /tmp/b --passphrase-file /tmp/phrase"
)
RIGHTS = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; id -u; touch /x /data/x /opt/normfed/x"


class Containers:
    """Server and sites of a kit, by compose, in a folder with their settings."""

    def __init__(self, kit: Path, folder: Path, data: Path, compose: list[str]) -> None:
        self.kit, self.folder, self.data, self.compose = kit, folder, data, compose
        self.tag = OLD
        said = self.run("docker", "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}")
        self.address = str(next(ipaddress.ip_network(said.strip()).hosts()))  # this machine, for its containers

    def run(self, *command: str, check: bool = True, given: bytes | None = None) -> str:
        """What a command prints."""
        environment = os.environ | {
            "NORMFED_HOST": NAME,
            "NORMFED_ADDRESS": getattr(self, "address", ""),
            "NORMFED_PORT": str(PORT),
            "NORMFED_DATA": str(self.data),
        }
        done = subprocess.run(command, capture_output=True, input=given, env=environment)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if check and done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{said}")
        return said

    def of(self, what: str, *arguments: str, check: bool = True) -> str:
        """Compose, for the server or a site."""
        kind = "server" if what == "server" else "site"
        file = self.kit / "deploy" / "containers" / f"compose.{kind}.yaml"
        os.environ["NORMFED_IMAGE"] = f"normfed-{kind}:{self.tag}"
        os.environ["NORMFED_EGRESS_IMAGE"] = f"normfed-egress:{self.tag}"
        return self.run(*self.compose, "-p", f"bench-{what}", "-f", str(file), *arguments, check=check)

    def server(self, *arguments: str, check: bool = True) -> str:
        """`normfed server ...` in its container."""
        return self.of("server", "exec", "-T", "server", "normfed", "server", *arguments, check=check)

    def wait(self, what: str, well: list[str], within_s: float = 900) -> None:
        """Until all of these sites are connected, or nobody is asked for and the server is healthy."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            said = self.server("status", check=False)
            lines = [line.split() for line in said.splitlines()]
            if ": runs" in said and all([site, "connected"] in [line[:2] for line in lines] for site in well):
                return
            time.sleep(0.5)
        raise SystemExit(f"{what}: not within {within_s:.0f} s\n{self.server('status', check=False)}")

    def build(self, tag: str, label: str, kit: Path) -> None:
        """The three images of a kit; the label makes another version of the same content."""
        file = str(kit / "deploy" / "containers" / "Dockerfile")
        for target in TARGETS:
            name = ("-t", f"normfed-{target}:{tag}", "--label", f"version={label}")
            self.run("docker", "build", "-q", "-f", file, "--target", target, *name, str(kit))

    def site(self, site: str, *arguments: str) -> str:
        """`normfed site ...` in its container."""
        return self.of(site, "exec", "-T", "site", "normfed", "site", *arguments)

    def ask(self, study: Path) -> None:
        """Begin a run, and do not wait for it."""
        container = self.of("server", "ps", "-q", "server").strip().splitlines()[-1]
        begin = "cat > /tmp/study.yaml; normfed server run --detach /tmp/study.yaml"
        self.run("docker", "exec", "-i", container, "sh", "-c", begin, given=study.read_bytes())

    def approved(self, site: str, within_s: float = 900) -> None:
        """Wait until a study is asked for; look at the list of what would leave, and approve it."""
        deadline = time.monotonic() + within_s
        while not (found := re.search(r"^([0-9a-f]{12}) .*\bwaits\b", self.site(site, "asked"), re.MULTILINE)):
            if time.monotonic() > deadline:
                raise SystemExit(f"{site}: asked for nothing\n{self.server('runs')}")
            time.sleep(1)
        shown = re.search(r"List ([0-9a-f]{16,64})", self.site(site, "show", found[1]))
        if shown is None:
            raise SystemExit(f"{site}: no list\n{self.site(site, 'show', found[1])}")
        given = ("--by", "Dr. Jane Doe", "--manifest", shown[1], "--runs", str(RUNS))
        print(self.site(site, "approve", found[1], *given).strip())

    def ended(self, finished: int, within_s: float = 1800) -> None:
        """Until so many runs have finished."""
        deadline = time.monotonic() + within_s
        while len(re.findall(r"\bfinished\b", said := self.server("runs"))) < finished:
            if time.monotonic() > deadline or re.search(r"\b(failed|aborted)\b", said):
                raise SystemExit(said)
            time.sleep(1)
        print(said.strip())

    def joined(self, site: str) -> None:
        """Enrol, join, accept; as operator and hospital do, who here compare fingerprints by a file."""
        self.server("enrol", site)
        invitation = self.folder / f"{site}.yaml"
        home = "/var/lib/normfed/server/enrolments"
        invitation.write_text(self.of("server", "exec", "-T", "server", "cat", f"{home}/{site}.yaml"))
        invitation.chmod(0o644)
        once = ("run", "--rm", "-T", "-v", f"{invitation}:/invitation.yaml:ro")
        self.of(site, *once, "site", "join", "/invitation.yaml", "--data", "/data", "--owns", site)
        # The tiny hospitals have fewer people than a real one asks for, and nobody to look at them.
        rules = {"minimum_people(_per_voxel)?": "2", "quality_gate": "off"}
        edits = "; ".join(f"s/^({key}):.*/\\1: {value}/" for key, value in rules.items())
        lower = f"sed -i -E '{edits}' site/site.yaml && cat site/*.pub"
        said = self.of(site, "run", "--rm", "-T", "--entrypoint", "sh", "site", "-c", lower)
        key = next((line for line in said.splitlines() if line.startswith("ecdsa")), None)
        if key is None:
            raise SystemExit(f"{site}: no key in {said}")
        write = f"cat > /tmp/{site}.pub; normfed server accept --yes /tmp/{site}.pub"
        container = self.of("server", "ps", "-q", "server").strip().splitlines()[-1]
        self.run("docker", "exec", "-i", container, "sh", "-c", write, given=(key + "\n").encode())


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long it took."""
    begin = time.perf_counter()
    yield
    print(f"{what:<58}{time.perf_counter() - begin:8.1f} s", flush=True)


def shut_in(made: Containers) -> None:
    """What a site's container can reach, and what it may do."""
    inside = json.loads(made.run("docker", "inspect", made.of("a", "ps", "-q", "site").strip().splitlines()[-1]))[0]
    host = inside["HostConfig"]
    print("site:", {key: host[key] for key in ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "PidsLimit", "Memory")})
    for who, port in ((NAME, PORT), (made.address, PORT), (made.address, 22), ("example.org", 443), ("192.0.2.1", 443)):
        said = made.of("a", "exec", "-T", "site", "python", "-c", REACH, who, str(port), check=False)
        print(f"site to {who}:{port}: {said.strip().splitlines()[-1] if said.strip() else 'connected'}")
    print(made.of("a", "exec", "-T", "site", "sh", "-c", RIGHTS, check=False).strip())


def main() -> None:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("--next", type=Path)
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--compose", default="docker compose")
    given = parser.parse_args()
    print(time.strftime("%Y-%m-%d"), os.cpu_count(), "cores, load", os.getloadavg()[0])
    _, data = playing.prepared(None, None)
    folder = Path(tempfile.mkdtemp(prefix="normfed-containers-"))
    folder.chmod(0o755)
    study = folder / "study.yaml"
    study.write_text(plain_yaml.text(STUDY | {"data": {**STUDY["data"], "phantom": None}}))
    made = Containers(given.kit.resolve(), folder, data, given.compose.split())
    if not given.built:
        with timed("build of three images"):
            made.build(OLD, "1", made.kit)
        with timed("build of the next"):
            made.build(NEW, "2", given.next.resolve() if given.next else made.kit)
    try:
        path(made, study)
    finally:
        for what in (*SITES, "server"):
            made.of(what, "down", "-v", "-t", "5", check=False)


def path(made: Containers, study: Path) -> None:
    """From nothing to a finished run, and what comes afterwards."""
    everybody = list(SITES)
    with timed("server: init"):
        made.of("server", "run", "--rm", "-T", "server", "init", "--name", "Bench", "--address", f"{NAME}:{PORT}")
    with timed("server: up, until it answers"):
        made.of("server", "up", "-d")
        made.wait("server", [])
    for site in SITES:
        with timed(f"site {site}: enrolled, joined, accepted"):
            made.joined(site)
    with timed("sites: up, until all are connected"):
        for site in SITES:
            made.of(site, "up", "-d")
        made.wait("sites", everybody)
    shut_in(made)
    with timed("a run begun, until it is approved at all three"):
        made.ask(study)
        for site in SITES:
            made.approved(site)
    with timed("approved by all, until the run has finished"):
        made.ended(1)
    with timed("restart of everything, until all are connected"):
        for what in ("server", *SITES):
            made.of(what, "restart")
        made.wait("restart", everybody)
    made.tag = NEW
    with timed("upgrade of all images, until all are connected"):
        for what in ("server", *SITES):
            made.of(what, "up", "-d")
        made.wait("upgrade", everybody)
    backup = made.folder / "server.tar"
    with timed("backup of the server, sealed, while it runs"):
        made.server("backup", "--with-keys", "--passphrase-file", phrase(made), "/tmp/server.backup")
        backup.write_bytes(raw(made, ["exec", "-T", "server", "cat", "/tmp/server.backup"]))
    with timed(f"volume lost, restored ({backup.stat().st_size / 1e6:.0f} MB), until all are connected"):
        made.of("server", "down", "-v")
        raw(made, ["run", "--rm", "-T", "--entrypoint", "sh", "server", "-c", RESTORE], backup.read_bytes())
        made.of("server", "up", "-d")
        made.wait("restore", everybody)
    with timed("the same study again, approved before: until it has finished"):
        made.ask(study)
        made.ended(2)
    print(made.server("fleet").strip())
    audits(made)


def phrase(made: Containers) -> str:
    """Where the passphrase of the backup lies, in the server's container."""
    made.of("server", "exec", "-T", "server", "sh", "-c", f'umask 077; echo "{PHRASE}" > /tmp/phrase')
    return "/tmp/phrase"


def audits(made: Containers) -> None:
    """Both sides' exports, held against each other outside all containers, and what the site says of its own."""
    exported = {"server": "server", "a": "site"}
    for what, kind in exported.items():
        made.of(what, "exec", "-T", kind, "normfed", kind, "audit", "--export", f"/tmp/{what}.jsonl")
        key = "server/audit.pub" if kind == "server" else f"site/{what}.pub"
        for source, name in ((f"/tmp/{what}.jsonl", f"{what}.jsonl"), (key, f"{what}.pub")):
            (made.folder / name).write_text(made.of(what, "exec", "-T", kind, "cat", source))
    at = {name: str(made.folder / name) for name in ("a.jsonl", "server.jsonl", "a.pub", "server.pub")}
    keys = ("--site-key", at["a.pub"], "--server-key", at["server.pub"])
    command = (sys.executable, "-m", "normfed_common.cli", "audit", "compare", at["a.jsonl"], at["server.jsonl"], *keys)
    print(made.run(*command).strip())


def raw(made: Containers, arguments: list[str], given: bytes | None = None) -> bytes:
    """Bytes that a container of the server writes, from those that it is given."""
    file = made.kit / "deploy" / "containers" / "compose.server.yaml"
    environment = os.environ | {"NORMFED_IMAGE": f"normfed-server:{made.tag}", "NORMFED_PORT": str(PORT)}
    command = [*made.compose, "-p", "bench-server", "-f", str(file), *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=environment, check=True).stdout


if __name__ == "__main__":
    main()
