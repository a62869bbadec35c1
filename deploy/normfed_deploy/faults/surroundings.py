"""What a federation stands on, and how it fails: links, power, disks, certificates, clocks."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import DAMAGED
from normfed_deploy.faults.disturbance import Disturbance, is_open, rounds_of, until_a_round_after
from normfed_deploy.rehearsal import Rehearsal
from normfed_deploy.wire import Condition
from normfed_server.runs import steering
from normfed_server.state import certificates
from normfed_server.state.ledger import State


def link(condition: Condition, seconds: float, site: str) -> Disturbance:
    """A site's link is in this condition for a while."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        time.sleep(float(rng.uniform(0.5, 4.0)))
        rehearsal.wires[site].become(condition)
        time.sleep(seconds)
        rehearsal.wires[site].become(Condition.WELL)
        return 1

    return disturb


def server_down(seconds: float) -> Disturbance:
    """The server's machine loses power, and comes back."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        time.sleep(float(rng.uniform(0.5, 4.0)))
        pid = rehearsal.pid("server")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        rehearsal.stop("server")
        time.sleep(seconds)
        rehearsal.start("server")
        return 1

    return disturb


def full_disk(what: str, seconds: float) -> Disturbance:
    """The disk of the server's runs, or of a site's state, is full for a while; a small file system of its own."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        folder = rehearsal.home.runs / run / "arms" if what == "server" else rehearsal.folder / what / "outbox" / run
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)], check=True)
        (folder / "ballast").write_bytes(b"\0" * 60_000)
        time.sleep(seconds)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        ledger = rehearsal.home.ledger
        if ledger.get(run).state is State.FAILED:
            steering.resume(rehearsal.home, run)
        return 1

    return disturb


def flipped(times: int) -> Disturbance:
    """Bits flip in the server's copies of the models and in all that b keeps, each while nobody holds it in memory."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        hospital, count = open_hospital(rehearsal.folder / "b"), 0
        rehearsal.stop("b")
        if hospital.cache.is_symlink():  # what others on this machine share must stay whole
            hospital.cache.unlink()
        rehearsal.start("b")
        for _ in range(times):
            rounds = rounds_of(rehearsal, run)
            until_a_round_after(rounds, rehearsal, run)
            time.sleep(float(rng.uniform(0.0, 3.0)))
            pid = rehearsal.pid("serverapp", run=run)
            if pid is not None and is_open(rehearsal, run):
                os.kill(pid, signal.SIGKILL)
                count += _flip((rehearsal.home.runs / run / "arms").glob("*/progress.safetensors"), rng)
            rehearsal.stop("b")
            for kept in (hospital.outbox(run), hospital.checkpoints(run), hospital.cache):
                count += _flip(kept.rglob("*"), rng)
            rehearsal.start("b")
        return count

    return disturb


def expired(seconds: float) -> Disturbance:
    """The server's certificate expires, and is renewed some time later."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        home = rehearsal.home
        certificates.issue((home.config.host,), home.ca_key, home.ca, home.key, home.certificate, days=-1)
        time.sleep(seconds)
        home.issue_certificate()
        return 1

    return disturb


def clock(shift: str, seconds: float) -> Disturbance:
    """A site's clock is wrong, and is set some time later."""

    def disturb(rehearsal: Rehearsal, run: str, rng: np.random.Generator) -> int:
        rehearsal.stop("b")
        wrong = {"LD_PRELOAD": str(faketime()), "FAKETIME": shift, "NO_PROXY": "*", "no_proxy": "*"}
        rehearsal.start("b", wrong)
        time.sleep(seconds)
        rehearsal.stop("b")
        rehearsal.start("b")
        return 1

    return disturb


def faketime() -> Path:
    """The library that shows a process another time.

    Raises
    ------
    RunError
        If it is not installed.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise RunError("a wrong clock needs libfaketime: apt install faketime, or choose other faults with --only")
    return library


def _flip(paths: Iterable[Path], rng: np.random.Generator) -> int:
    """Flip a bit of up to twenty bytes in every file that was not found damaged before; returns in how many."""
    count = 0
    for path in paths:
        if DAMAGED in str(path) or path.name.startswith(".") or not path.is_file():
            continue
        content = bytearray(path.read_bytes())
        for position in rng.integers(len(content), size=int(rng.integers(1, 21))):
            content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        count += 1
    return count
