"""What stands between Flower's SuperLink and our ServerApp: acquires runs, and starts a process for each.

Flower's own executor puts the token, with which that process speaks for its run, on the command line, where every user
of the machine can read it. Here it goes through a pipe.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx

from normfed_common.processes.supervision import stop_on_signals
from normfed_server.state.folder import HOME_VARIABLE, ServerHome, open_home
from normfed_server.superlink.flower import (
    AcquireTaskRequest,
    RuntimeHttpClient,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
    TaskType,
    disable_process_dumping,
    run_serverapp,
)

POLL_S = 1.0  # a run begins seconds later anyway, when its process has imported what it needs
SERVE = "serve"  # the argument that makes this module the process of one run
PROCESS = (sys.executable, "-m", "normfed_server.superlink.executor", SERVE)

logger = logging.getLogger("normfed_server.executor")


class Executor:
    """Starts what the SuperLink wants run.

    Parameters
    ----------
    command
        Of the process of a run, which reads its token from standard input and ends with this process, whose number it
        is given.
    """

    def __init__(self, home: ServerHome, command: Sequence[str] = PROCESS) -> None:
        self.home, self.command = home, command
        self.started: list[subprocess.Popen[bytes]] = []

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        client = RuntimeHttpClient.from_server_address(
            self.home.local_address,
            insecure=False,
            root_certificates=self.home.ca.read_bytes(),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(
                    master_secret=self.home.executor_secret.read_bytes(),
                    protected_methods=frozenset({"/flwr.proto.Runtime/AcquireTask"}),
                ),
            ],
        )
        request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
        try:
            while not stop.wait(POLL_S):
                self.started = [process for process in self.started if process.poll() is None]  # leaves no zombies
                try:
                    found = client.AcquireTask(request)
                except httpx.HTTPError as error:
                    if isinstance(error, httpx.HTTPStatusError):
                        logger.warning("the SuperLink refuses: %s", error)
                    continue  # or it is starting, or starting again
                if found.HasField("task") and found.token:
                    self.start(found.token)
        finally:
            client.close()

    def start(self, token: str) -> None:
        """A process for the run whose token this is."""
        reading, writing = os.pipe()
        os.write(writing, token.encode())
        os.close(writing)
        self.started.append(subprocess.Popen([*self.command, str(os.getpid())], stdin=reading))
        os.close(reading)


def serve(home: ServerHome, executor: int) -> None:
    """Run the ServerApp of the run whose token comes through standard input, while the executor lives.

    Parameters
    ----------
    executor
        Its process.
    """
    run_serverapp(home.local_address, sys.stdin.read(), home.ca.read_bytes(), executor)


def main() -> None:
    """Serve the SuperLink of the environment's folder, or one run of it."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # the SuperLink is on this machine, and nobody else is called
    home = open_home(Path(os.environ[HOME_VARIABLE]))
    if sys.argv[1:2] == [SERVE]:
        serve(home, int(sys.argv[2]))
        return
    disable_process_dumping(strict=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    Executor(home).run(stop_on_signals())


if __name__ == "__main__":
    main()
