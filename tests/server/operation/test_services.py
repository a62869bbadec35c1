"""The processes of a server: what they are told, and that no secret is among it for everybody to read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from normfed_common.foundation.errors import UserError
from normfed_common.processes.supervision import Service, only_one
from normfed_server.operation import services
from normfed_server.operation.reconciler import Reconciler
from normfed_server.state.folder import ServerConfig, ServerHome


@pytest.fixture
def named(home: ServerHome) -> dict[str, Service]:
    return {service.name: service for service in services.services(home)}


def test_the_superlink_listens_where_server_yaml_says_with_the_federations_certificate(home: ServerHome) -> None:
    config = ServerConfig(name="F", address="fed.example.org:443", listen="::1", port=8443)
    superlink, _ = services.services(ServerHome(home.folder, config))
    said = dict(zip(superlink.command, superlink.command[1:], strict=False))
    assert (said["--host"], said["--port"]) == ("::1", "8443")
    assert said["--ssl-certfile"] == str(home.certificate)
    assert said["--ssl-keyfile"] == str(home.key)
    assert superlink.needs == (home.certificate, home.key)  # a renewed certificate is taken up
    for guard in ("--enable-supernode-auth", "--disable-runtime-dependency-installation"):
        assert guard in superlink.command


def test_no_secret_is_on_a_command_line_or_in_an_environment(home: ServerHome, named: dict[str, Service]) -> None:
    """Both are for everybody on the machine to read, or for every child to inherit."""
    paths = [home.ca_key, home.key, home.operator_secret, home.executor_secret]
    secrets = [path.read_text().strip() for path in paths]
    assert all(len(secret) > 20 for secret in secrets)
    for service in named.values():
        told = "\n".join([*service.command, *service.environment.values()])
        assert not any(secret in told for secret in secrets)


def test_both_processes_keep_their_files_in_the_operators_folder(home: ServerHome, named: dict[str, Service]) -> None:
    assert set(named) == {"superlink", "executor"}
    for service in named.values():
        assert Path(service.environment["FLWR_HOME"]).parent == home.folder
        assert service.environment["NORMFED_SERVER_HOME"] == str(home.folder)
    assert str(home.database) in named["superlink"].command


def test_a_superlink_that_does_not_answer_is_not_well(named: dict[str, Service]) -> None:
    healthy = named["superlink"].healthy
    assert healthy is not None
    assert not healthy()
    assert named["executor"].healthy is None


def test_a_server_that_runs_already_is_not_started_again(home: ServerHome) -> None:
    with only_one(home.log, "a test"), pytest.raises(UserError, match="this server is running already"):
        services.start(home, threading.Event(), lambda _: None, monitor=False)


def test_a_secret_that_others_can_read_stops_a_server_before_anything_starts(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "Supervisor", lambda *_: pytest.fail("started"))
    home.operator_secret.chmod(0o644)
    with pytest.raises(UserError, match=r"operator\.secret"):
        services.start(home, threading.Event(), lambda _: None, monitor=False)


def test_what_looks_after_runs_ends_with_the_server_and_survives_its_own_mistakes(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, said, twice = [], list[str](), threading.Event()

    def look(_: Reconciler) -> None:
        looked.append(threading.current_thread())
        if len(looked) > 1:
            twice.set()
        raise ValueError("not now")

    def supervisor(running: Sequence[Service], folder: Path, say: object) -> SimpleNamespace:
        return SimpleNamespace(run=lambda stop: (twice.wait(60), stop.set()))

    monkeypatch.setattr(services, "EVERY_S", 0.01)
    monkeypatch.setattr(services.ports, "check", lambda *_: None)  # nothing listens here
    monkeypatch.setattr(services, "Supervisor", supervisor)
    monkeypatch.setattr(Reconciler, "look", look)
    services.start(home, threading.Event(), said.append, monitor=False)
    assert twice.is_set()
    assert not looked[0].is_alive()
    assert said[:2] == ["reconciler: ValueError: not now"] * 2
