"""The processes of a hospital: Flower's node, which calls the server, and our runner, which does the work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial

from normfed_client.operation.home import HOME_VARIABLE, Hospital
from normfed_common.operation.health import free_port, serving
from normfed_common.operation.processes import Service, Supervisor, only_one


def start(hospital: Hospital, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Run the hospital's client until told to stop.

    Raises
    ------
    UserError
        If it runs already, or a secret is not secret.
    """
    hospital.check()
    with only_one(hospital.log, "this site's client"):
        Supervisor(services(hospital), hospital.log, say).run(stop)


def services(hospital: Hospital) -> list[Service]:
    """Node and runner."""
    port, health = free_port(), f"127.0.0.1:{free_port()}"
    node = [
        *(sys.executable, "-m", "normfed_client.operation.node"),
        *("--superlink", hospital.config.server),
        *("--root-certificates", str(hospital.ca)),
        *("--auth-supernode-private-key", str(hospital.key)),
        *("--isolation", "process"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--superexec-auth-secret-file", str(hospital.secret)),
        *("--health-server-address", health),
    ]
    # Flower keeps its files where it is told to, beside ours.
    common = {"FLWR_HOME": str(hospital.folder / "flower"), HOME_VARIABLE: str(hospital.folder)}
    return [
        Service("node", node, common, partial(serving, health), (hospital.ca,)),
        Service("runner", [sys.executable, "-m", "normfed_client.operation.runner", f"127.0.0.1:{port}"], common),
    ]
