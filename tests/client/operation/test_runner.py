"""The site's runner, without a node: what it answers, and what it refuses."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Error, Message, Metadata, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from normfed_client.answering.serving import from_bytes, to_bytes
from normfed_client.hospital.folder import HospitalConfig, open_hospital
from normfed_client.operation import runner as module
from normfed_client.operation.runner import DEATHS, Runner
from normfed_common.deployment import settings
from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import FENCE, refusal

LISTED = "a" * 64


def echo(payload: bytes) -> bytes:
    """A worker's function: every request is full."""
    if not payload:
        return b""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3
    return to_bytes(refusal(from_bytes(payload), SiteCode.OUT_OF_SPACE))


def telling(payload: bytes) -> bytes:
    """A worker's function: an error with a name in it, such as a plug-in could make of any answer."""
    if not payload:
        return b""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3
    return to_bytes(Message(Error(208, "no room for sub-01"), reply_to=from_bytes(payload)))


def dying(payload: bytes) -> bytes:
    """A worker's function: no request is survived; each leaves a mark."""
    if payload:
        with open(os.environ["MARKS"], "a") as file:
            file.write("x")
        os.kill(os.getpid(), 9)
    return b""


def request(kind: str = "train.round") -> Message:
    return Message(content=RecordDict(), metadata=Metadata(1, "m", 1, 2, "", "", 1.0, 99.0, kind))  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def runner(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    function = getattr(request, "param", "echo")
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3
    config = HospitalConfig(site="a", server="fed.example.org:8000", data=tmp_path, bundles=(LISTED,))
    settings.write(tmp_path / "site.yaml", config)
    from audited import furnish  # not where a worker imports this module

    furnish(tmp_path)
    made = Runner(open_hospital(tmp_path), "127.0.0.1:9", f"test_runner:{function}")
    yield made
    made._pool.close()


def test_only_what_site_yaml_lists_is_run_and_a_change_counts_at_once(runner: Runner, tmp_path: Path) -> None:
    assert runner._answer(request(), "b" * 64).error.code == SiteCode.BUNDLE_REFUSED
    assert runner._answer(request(FENCE), "b" * 64).error.code == SiteCode.BUNDLE_REFUSED
    assert runner._answer(request(), LISTED).error.code == SiteCode.OUT_OF_SPACE  # it was run
    path = tmp_path / "site.yaml"
    path.write_text(path.read_text().replace(LISTED, "b" * 64))
    assert runner._answer(request(), LISTED).error.code == SiteCode.BUNDLE_REFUSED
    path.write_text("bundles: [")
    assert runner._answer(request(), LISTED).error.code == SiteCode.BUNDLE_REFUSED


def test_a_refusal_is_logged_as_one_with_its_code_in_words(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runner._answer(request(), LISTED)
    assert "train.round refused (the site's disk is full, code 208 OUT_OF_SPACE) in" in caplog.text
    assert "answered" not in caplog.text


@pytest.mark.parametrize("runner", ["telling"], indirect=True)
def test_what_the_worker_says_otherwise_than_declared_is_not_relayed(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    reply = runner._answer(request(), LISTED)
    assert (reply.error.code, reply.error.reason) == (SiteCode.UNDECLARED, SiteCode.UNDECLARED.sentence)
    assert "stopped an answer to train.round: an error that is not one of ours" in caplog.text
    assert "sub-01" not in caplog.text


def test_a_fence_needs_no_worker(runner: Runner) -> None:
    runner._pool.close()
    assert runner._answer(request(FENCE), LISTED).has_content()


class Minute:
    """A node that has one task, half a minute after the start; the time; and the event that ends the minute."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[tuple[float, float]] = []  # when each began, and its length
        self.given = False

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, pause_s: float) -> bool:
        self.pauses.append((self.now_s, pause_s))
        self.now_s += pause_s
        return self.now_s > 60

    def acquire(self) -> tuple[None, str] | None:
        if self.given or self.now_s < 30:
            return None
        self.given = True
        return None, "token"

    def close(self) -> None: ...


def test_a_node_is_looked_at_less_and_less_often_and_often_again_after_a_task(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = Minute()
    runner.hospital.secret.write_bytes(b"")
    monkeypatch.setattr(module, "time", minute)
    monkeypatch.setattr(module.NodeTasks, "all", lambda address, secret: minute)
    monkeypatch.setattr(runner, "_serve", lambda task, token: None)
    monkeypatch.setattr(runner, "_expire", lambda: None)
    runner._busy_at = 0.0
    runner.run(minute)  # type: ignore[arg-type]
    task = next(at for at, _ in minute.pauses if at >= 30)  # the first look after it is there
    assert task < 31
    idle = {at: pause for at, pause in minute.pauses if at < task}
    assert max(pause for at, pause in idle.items() if at < 1.5) == pytest.approx(0.1)
    assert {pause for at, pause in idle.items() if at > 15} == {1.0}
    assert {round(pause, 9) for at, pause in minute.pauses if task <= at < task + 1.4} == {0.1}


@pytest.mark.parametrize("runner", ["dying"], indirect=True)
def test_a_worker_that_dies_again_and_again_is_a_code(runner: Runner, tmp_path: Path) -> None:
    assert runner._answer(request(), LISTED).error.code == SiteCode.WORKER_DIED
    assert (tmp_path / "marks").read_text() == "x" * DEATHS


def test_what_is_left_of_abandoned_runs_goes_and_what_a_run_is_settled_by_stays(runner: Runner, tmp_path: Path) -> None:
    left = ("outbox/r/a/x", "checkpoints/r/k/x", "state/r/scores/a/sub-01.safetensors")
    settled = ("state/r/members.json", "state/r/personal/a/x")
    old = time.time() - 86_400 * (runner.hospital.config.keep_days + 1)
    for name in (*left, *settled, "state/r/scores/b/sub-01.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        if "/b/" not in name:
            os.utime(path, (old, old))
    runner._expire()
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in (*settled, "state/r/scores/b/sub-01.safetensors"))
