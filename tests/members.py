"""What people of a federation do, and two of them at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_common.deployment.enrolment import grouped
from normfed_server.runs import starting
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome


def joined(home: ServerHome, site: str, tmp_path: Path) -> joining.Joined:
    (tmp_path / "data").mkdir(exist_ok=True)
    invitation = enrolment.load(admission.enrol(home, site))
    return joining.join(invitation, tmp_path / f"at-{site}", tmp_path / "data", ())


def accepted(home: ServerHome, site: str, tmp_path: Path) -> joining.Joined:
    found = joined(home, site, tmp_path)
    admission.accept(home, site, *admission.read_key(found.public_key))
    return found


def begun(home: ServerHome, study: Any) -> str:
    return starting.begin(home, study, canary=True, without=())


def at_the_same_time(monkeypatch: pytest.MonkeyPatch, module: Any, works: list[Callable[[], None]]) -> None:
    """Let everybody who writes wait for the others to have read: who holds a lock waits in vain, and goes on."""
    everybody = threading.Barrier(len(works))
    write = module.write_json

    def writes(path: Path, value: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            everybody.wait(1.0)
        write(path, value)

    monkeypatch.setattr(module, "write_json", writes)
    with ThreadPoolExecutor(len(works)) as pool:
        for job in [pool.submit(work) for work in works]:
            job.result()


def fingerprint_of(name: str) -> str:
    """In the place of that of a site's key, where there is none."""
    return grouped(hashlib.sha256(name.encode()).hexdigest())
