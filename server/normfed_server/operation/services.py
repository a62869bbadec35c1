"""The processes of a server: Flower's SuperLink, its executor beside it, and the reconciler of runs and sites."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import partial

from normfed_common.chain.kinds.shared import Started, Stopped
from normfed_common.foundation.versions import installed_version
from normfed_common.processes.health import free_port, serving
from normfed_common.processes.supervision import Service, Supervisor, only_one
from normfed_server.monitor.web import Monitor
from normfed_server.operation import ports
from normfed_server.operation.reconciler import EVERY_S, Reconciler
from normfed_server.state.chain import record
from normfed_server.state.folder import HOME_VARIABLE, ServerHome
from normfed_server.superlink.control import Control


def start(home: ServerHome, stop: threading.Event, say: Callable[[str], None], monitor: bool = True) -> None:
    """Run the server until told to stop; open runs go on from where they were.

    Raises
    ------
    UserError
        If it runs already, a secret is not secret, the certificate has expired, or a port is taken.
    """
    for warning in home.check():
        say(warning)
    with only_one(home.log, "this server"):
        ports.check(home, monitor, stop)
        record(home, Started(version=installed_version()))
        reconciler = Reconciler(home, partial(Control, home), say)
        looking = threading.Thread(target=_keep, args=(reconciler, stop, say), daemon=True)
        looking.start()
        running = services(home)
        with Monitor(home, running[0].healthy or (lambda: True)) if monitor else contextlib.nullcontext():
            Supervisor(running, home.log, say).run(stop)
        looking.join(10)
        record(home, Stopped())


def services(home: ServerHome) -> list[Service]:
    """SuperLink and executor, apart: a run survives a SuperLink that is back within a minute."""
    health = f"127.0.0.1:{free_port()}"
    superlink = [
        *(sys.executable, "-m", "normfed_server.superlink.process"),
        *("--host", home.config.listen, "--port", str(home.config.port)),
        *("--ssl-certfile", str(home.certificate), "--ssl-keyfile", str(home.key)),
        *("--ssl-ca-certfile", str(home.ca)),
        *("--isolation", "process", "--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        *("--database", str(home.database), "--health-server-address", health),
        *("--superexec-auth-secret-file", str(home.executor_secret)),
    ]
    executor = [sys.executable, "-m", "normfed_server.superlink.executor"]
    # Flower keeps its files where it is told to, beside ours.
    common = {"FLWR_HOME": str(home.folder / "flower"), HOME_VARIABLE: str(home.folder)}
    return [
        Service(
            "superlink",
            superlink,
            {**common, "FLWR_LOG_LEVEL": "WARNING"},
            partial(serving, health),
            (home.certificate, home.key),
        ),
        Service("executor", executor, common),
    ]


def _keep(reconciler: Reconciler, stop: threading.Event, say: Callable[[str], None]) -> None:
    while not stop.wait(EVERY_S):
        try:
            reconciler.look()
        except Exception as error:  # noqa: BLE001  (whatever it is, the next look may succeed, and runs go on meanwhile)
            say(f"reconciler: {type(error).__name__}: {error}")
    reconciler.close()
