"""Ports of this machine: several federations may be on one, each with its own."""

from __future__ import annotations

import errno
import socket
import threading
import time

from normfed_common.foundation.errors import UserError
from normfed_server.state.folder import ServerHome

WAIT_S = 20.0  # for processes of a server that was killed a moment ago
MONITOR_PORTS = range(8080, 8100)


def trouble(host: str, port: int) -> str:
    """Why a port cannot be listened on now; empty if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another process listens on it, perhaps another federation's server"
        return error.strerror or str(error)
    return ""


def free_monitor_port() -> int:
    """The first port for a monitor that nobody listens on now.

    Raises
    ------
    UserError
        If there is none.
    """
    for port in MONITOR_PORTS:
        if not trouble("127.0.0.1", port):
            return port
    raise UserError(f"No port of {MONITOR_PORTS.start} to {MONITOR_PORTS.stop - 1} is free: give --monitor-port.")


def check(home: ServerHome, monitor: bool, stop: threading.Event) -> None:
    """Wait until the ports of a server are free.

    Raises
    ------
    UserError
        If one is not; it says which, and what to change.
    """
    config, deadline = home.config, time.monotonic() + WAIT_S
    wanted = {"port": (config.listen, config.port)}
    if monitor:
        wanted["monitor_port"] = (config.monitor_listen, config.monitor_port)
    for key, (host, port) in wanted.items():
        while why := trouble(host, port):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{host}:{port} cannot be listened on: {why}. Stop it, or write another {key} into "
                    f"{home.folder / 'server.yaml'}."
                )
            if stop.wait(0.2):
                return
