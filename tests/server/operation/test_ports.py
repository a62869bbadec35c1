"""Two servers on one machine: what is said where both want one port."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from operator_keys import server

from normfed_common.foundation.errors import UserError
from normfed_server.operation import ports
from normfed_server.state.folder import ServerConfig, ServerHome, open_home


@pytest.mark.parametrize("key", ["port", "monitor_port"])
def test_a_port_that_is_taken_is_named_with_what_to_change(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(ports, "WAIT_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as free:
        numbers = {"port": free.getsockname()[1], "monitor_port": free.getsockname()[1]}
        free.close()
        numbers[key] = other.getsockname()[1]
        home = ServerHome(Path("F"), ServerConfig(name="F", address="f:1", listen="127.0.0.1", **numbers))
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{numbers[key]} cannot be .*write another {key} into F/"):
            ports.check(home, True, threading.Event())
    ports.check(home, True, threading.Event())


def test_a_second_federation_gets_a_monitor_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        taken = first.getsockname()[1]
        monkeypatch.setattr(ports, "MONITOR_PORTS", range(taken, taken + 20))
        server("init", "--name", "F", "--address", "f.org:1", "--home", tmp_path / "s")
    assert taken < open_home(tmp_path / "s").config.monitor_port < taken + 20


def test_an_address_of_another_machine_is_said() -> None:
    assert "Cannot assign" in ports.trouble("192.0.2.1", 8000)
