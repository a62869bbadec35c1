"""Which processes the executor starts, and what it does where the SuperLink does not answer."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskResponse
from flwr.proto.task_pb2 import Task
from flwr.supercore.constant import TaskType
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink import runtime

from normfed_server.state.folder import HOME_VARIABLE, ServerConfig, ServerHome, create
from normfed_server.superlink import executor as module
from normfed_server.superlink import flower
from normfed_server.superlink.executor import Executor

TASK = AcquireTaskResponse(task=Task(task_id=1), token="token")


REQUEST = httpx.Request("POST", "https://127.0.0.1:8000")


TOKEN = "5ec7e7" * 10


TELLING = """
import json, os, sys
from pathlib import Path
seen = {
    "cmdline": Path("/proc/self/cmdline").read_bytes().decode(),
    "environment": Path("/proc/self/environ").read_bytes().decode(),
    "input": sys.stdin.read(),
    "executor": int(sys.argv[2]),
    "open": len(os.listdir("/proc/self/fd")),
}
Path(sys.argv[1]).write_text(json.dumps(seen))
"""


class SuperLink:
    """Answers from a list; when it is at its end, the executor is stopped."""

    def __init__(self, answers: list[Any], stop: threading.Event) -> None:
        self.answers, self.stop = answers, stop
        self.asked: list[Any] = []
        self.closed = False

    def AcquireTask(self, request: Any) -> AcquireTaskResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if not self.answers:
            self.stop.set()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def serve(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SuperLink, list[str]]]:
    """Let an executor live through these answers; returns the SuperLink and its processes' tokens."""

    def lived(*answers: Any) -> tuple[SuperLink, list[str]]:
        stop = threading.Event()
        started: list[str] = []
        superlink = SuperLink(list(answers), stop)
        monkeypatch.setattr(module, "POLL_S", 0.0)
        monkeypatch.setattr(RuntimeHttpClient, "from_server_address", lambda *_, **__: superlink)
        executor = Executor(home)
        monkeypatch.setattr(executor, "start", started.append)
        executor.run(stop)
        return superlink, started

    return lived


def test_every_task_with_a_token_gets_a_process_and_nothing_else_does(
    serve: Callable[..., tuple[SuperLink, list[str]]],
) -> None:
    nothing = (AcquireTaskResponse(), AcquireTaskResponse(task=Task(task_id=1)), AcquireTaskResponse(token="lost"))
    second = AcquireTaskResponse(task=Task(task_id=2), token="second")
    superlink, started = serve(nothing[0], TASK, nothing[1], nothing[2], second)
    assert started == ["token", "second"]
    assert {tuple(request.supported_task_types) for request in superlink.asked} == {(TaskType.SERVER_APP,)}
    assert superlink.closed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ReadTimeout("slow"), False),
        (httpx.HTTPStatusError("403 forbidden", request=REQUEST, response=httpx.Response(403)), True),
    ],
)
def test_a_superlink_that_does_not_answer_is_asked_again_and_a_refusal_is_written_down(
    serve: Callable[..., tuple[SuperLink, list[str]]],
    caplog: pytest.LogCaptureFixture,
    error: httpx.HTTPError,
    said: bool,
) -> None:
    with caplog.at_level(logging.WARNING, "normfed_server.executor"):
        _, started = serve(error, error, TASK)
    assert started == ["token"]
    assert caplog.text.count("the SuperLink refuses: 403 forbidden") == (2 if said else 0)


def test_the_connection_is_closed_whatever_ends_the_executor(
    serve: Callable[..., tuple[SuperLink, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[SuperLink] = []
    monkeypatch.setattr(SuperLink, "close", lambda self: closed.append(self))
    with pytest.raises(ZeroDivisionError):
        serve(ZeroDivisionError())
    assert len(closed) == 1


def test_processes_that_ended_are_reaped_and_those_that_live_are_kept(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    superlink = SuperLink([AcquireTaskResponse()] * 2, stop)
    monkeypatch.setattr(module, "POLL_S", 0.0)
    monkeypatch.setattr(RuntimeHttpClient, "from_server_address", lambda *_, **__: superlink)

    class Process:
        def __init__(self, code: int | None) -> None:
            self.code = code

        def poll(self) -> int | None:
            return self.code

    executor = Executor(home)
    living = Process(None)
    executor.started = [Process(0), living, Process(-9)]  # type: ignore[list-item]
    executor.run(stop)
    assert executor.started == [living]


def test_a_process_of_a_run_reads_its_token_and_ends_with_the_executor(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(runtime, "run_serverapp", lambda *given, **named: served.append((given, named)))
    monkeypatch.setattr(flower, "mirror_output_to_queue", lambda queue: None)
    monkeypatch.setenv(HOME_VARIABLE, str(home.folder))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["executor", "serve", "4711"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("token"))
    module.main()
    (((address, _, token), named),) = served
    assert (address, token) == ("127.0.0.1:8000", "token")
    assert named == {"insecure": False, "certificates": home.ca.read_bytes(), "parent_pid": 4711}
    assert module.os.environ["NO_PROXY"] == module.os.environ["no_proxy"] == "*"


def test_without_that_argument_it_is_the_executor_itself(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[ServerHome, threading.Event]] = []
    stop = threading.Event()
    monkeypatch.setattr(module, "disable_process_dumping", lambda strict: None)
    monkeypatch.setattr(module, "stop_on_signals", lambda: stop)
    monkeypatch.setattr(Executor, "run", lambda self, stop: ran.append((self.home, stop)))
    monkeypatch.setenv(HOME_VARIABLE, str(home.folder))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["executor"])
    module.main()
    assert [(found.folder, given) for found, given in ran] == [(home.folder, stop)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_runs_token_goes_through_a_pipe_and_nowhere_else(tmp_path: Path) -> None:
    home = create(tmp_path / "server", ServerConfig(name="F", address="127.0.0.1:1"))
    executor = Executor(home, [sys.executable, "-c", TELLING, str(tmp_path / "seen")])
    executor.start(TOKEN)
    assert executor.started[0].wait(120) == 0
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["input"] == TOKEN
    assert seen["executor"] == os.getpid()  # it ends with it
    assert TOKEN not in seen["cmdline"]
    assert TOKEN not in seen["environment"]
    assert seen["open"] == 4  # three streams, and the folder that was just listed
    assert not [path for path in home.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
