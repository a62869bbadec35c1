"""The operator's folder: what is made, found, checked and moved."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from commands import normfed
from cryptography import x509
from members import accepted

from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_common.foundation.errors import RunError, UserError
from normfed_common.processes.supervision import only_one
from normfed_server.state import certificates
from normfed_server.state.folder import ServerConfig, ServerHome, create, move, open_home, run_folder


def names(home: ServerHome) -> list[str]:
    """The host names of the server's certificate."""
    served = x509.load_pem_x509_certificate(home.certificate.read_bytes())
    return served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_a_new_folder_is_whole_and_opens_as_it_was_made(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.folder.parent)
    opened = open_home(Path("server"))
    assert opened.config == home.config
    assert opened.folder == home.folder  # absolute: its processes work elsewhere
    for folder in (home.folder, home.enrolments, home.runs, home.log):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert home.operator_secret.read_bytes() != home.executor_secret.read_bytes()
    assert len(home.operator_secret.read_bytes()) == 64  # 256 bits in hexadecimal


@pytest.mark.parametrize("there", ["file", "hidden"])
def test_a_folder_is_not_made_where_something_is(tmp_path: Path, there: str) -> None:
    where = tmp_path / "server"
    if there == "file":
        where.write_text("mine")
    else:
        where.mkdir()
        (where / ".keys").touch()
    with pytest.raises(UserError, match=r"there is something already\. Choose another --home"):
        create(where, ServerConfig(name="F", address="f:1"))
    assert not (tmp_path / "server" / "ca.key").exists()


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    assert create(tmp_path / "server", ServerConfig(name="F", address="f:1")).check() == []


def test_a_folder_that_was_not_made_to_the_end_is_no_servers(home: ServerHome) -> None:
    (home.folder / "server.yaml").unlink()
    with pytest.raises(UserError, match=r"not a server's folder.*normfed server init --home"):
        open_home(home.folder)


@pytest.mark.parametrize(
    ("address", "listen", "host", "local"),
    [
        ("fed.example.org:443", "0.0.0.0", "fed.example.org", "127.0.0.1:8000"),
        ("[2001:db8::7]:443", "::", "2001:db8::7", "[::1]:8000"),
        ("203.0.113.7:443", "10.0.0.5", "203.0.113.7", "127.0.0.1:8000"),
    ],
)
def test_hosts_are_read_from_addresses(address: str, listen: str, host: str, local: str) -> None:
    config = ServerConfig(name="F", address=address, listen=listen)
    assert config.host == host
    assert ServerHome(Path(), config).local_address == local


def test_the_monitor_answers_to_its_own_names_in_small_letters() -> None:
    config = ServerConfig(name="F", address="f:1", monitor_listen="2001:DB8::7", monitor_hosts=("Status.Example.org",))
    expected = {"localhost", "127.0.0.1", "[::1]", "[2001:db8::7]", "status.example.org"}
    assert config.monitor_names == expected


@pytest.mark.parametrize("name", ["ca_key", "key", "operator_secret", "executor_secret"])
def test_a_secret_that_is_gone_or_others_may_read_is_refused(home: ServerHome, name: str) -> None:
    path: Path = getattr(home, name)
    path.chmod(0o604)
    with pytest.raises(UserError, match=rf"{path}.*not only its owner may read it"):
        home.check()
    path.unlink()
    if name == "ca_key":
        assert home.check() == []  # kept apart
        return
    with pytest.raises(UserError, match=rf"{path}: missing"):
        home.check()


@pytest.mark.parametrize(("days", "warned"), [(29.5, True), (30.5, False), (0.5, True)])
def test_a_month_before_its_end_the_servers_certificate_is_warned_of(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch, days: float, warned: bool
) -> None:
    monkeypatch.setattr(certificates, "days_left", lambda path: days if path == home.certificate else 3650.0)
    found = home.check()
    assert len(found) == warned
    assert all(f"server.crt expires in {days:.0f} days. Renew it: normfed server renew" in text for text in found)


@pytest.mark.parametrize(("days", "warned"), [(359.0, True), (360.5, False)])
def test_a_year_before_its_end_the_authority_is_warned_of(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch, days: float, warned: bool
) -> None:
    monkeypatch.setattr(certificates, "days_left", lambda path: days if path == home.ca else 397.0)
    assert home.check() == (
        [f"{home.ca} expires in {days:.0f} days; every site will need a new enrolment then."] if warned else []
    )


def test_a_certificate_that_has_expired_stops_the_server(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "days_left", lambda _: -0.6)
    with pytest.raises(UserError, match=r"expired 1 days ago\. Renew it.*Sites notice nothing"):
        home.check()


@pytest.mark.parametrize(
    ("before", "address", "port", "listens"),
    [
        (("f:8000", 8000), "g:9000", None, 9000),  # it followed the address, and does so again
        (("f:443", 8000), "g:9000", None, 8000),  # behind a port mapping
        (("f:8000", 8000), "g:9000", 8443, 8443),
        (("f:443", 8000), "g:443", 443, 443),
    ],
)
def test_where_a_server_listens_after_it_moved(
    tmp_path: Path, before: tuple[str, int], address: str, port: int | None, listens: int
) -> None:
    home = create(tmp_path / "server", ServerConfig(name="F", address=before[0], port=before[1]))
    moved = move(home, address, port)
    assert (moved.config.address, moved.config.port) == (address, listens)
    assert open_home(home.folder).config == moved.config
    assert names(home) == ["g", "f", "localhost"]


@pytest.mark.parametrize("address", ["g", "g:", "g:port", "http://g:1", "g h:1", "g:123456", "2001:db8::7:1"])
def test_a_server_does_not_move_to_what_is_no_address(home: ServerHome, address: str) -> None:
    before = (home.folder / "server.yaml").read_text(), home.certificate.read_bytes()
    with pytest.raises(UserError, match=r"is not an address\. Give host:port"):
        move(home, address, None)
    assert ((home.folder / "server.yaml").read_text(), home.certificate.read_bytes()) == before


@pytest.mark.parametrize("port", [0, 65536])
def test_a_server_does_not_move_to_what_is_no_port(home: ServerHome, port: int) -> None:
    before = (home.folder / "server.yaml").read_text()
    with pytest.raises(UserError, match=r"Nothing was changed\."):
        move(home, f"g:{port}", None)
    assert (home.folder / "server.yaml").read_text() == before


def test_runs_are_found_by_name_and_nothing_outside_is(home: ServerHome) -> None:
    with pytest.raises(RunError, match=r"No run is called r\. Runs: none yet\."):
        run_folder(home, "r")
    for name in ("r", "begun"):
        (home.runs / name).mkdir()
    (home.folder / "study.yaml").touch()
    (home.runs / "r" / "study.yaml").touch()
    assert run_folder(home, "r") == home.runs / "r"
    for name in ("begun", "..", "../runs/r", "r/../r", str(home.folder)):
        with pytest.raises(RunError, match=r"No run is called .*\. Runs: begun, r\."):
            run_folder(home, name)


def test_secrets_are_their_owners_alone_and_weak_ones_are_refused(home: ServerHome) -> None:
    for name in ("ca.key", "server.key", "operator.secret", "executor.secret"):
        assert stat.S_IMODE((home.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert home.check() == []
    home.operator_secret.chmod(0o640)
    with pytest.raises(UserError, match=r"not only its owner may read it.*chmod 600"):
        home.check()


def test_existing_state_is_never_overwritten(home: ServerHome, tmp_path: Path) -> None:
    before = home.ca_key.read_bytes()
    with pytest.raises(UserError, match="there is something already"):
        create(home.folder, home.config)
    assert home.ca_key.read_bytes() == before
    accepted(home, "a", tmp_path)
    with pytest.raises(UserError, match="is not empty"):
        joining.join(enrolment.load(home.enrolments / "a.yaml"), tmp_path / "at-a", tmp_path / "data", ())


def test_a_server_that_runs_or_is_given_no_address_does_not_move(home: ServerHome) -> None:
    before = (home.folder / "server.yaml").read_text(), home.certificate.read_bytes()
    with pytest.raises(UserError, match="is not an address"):
        normfed("server", "move", "new.example.org", "--home", home.folder)
    with only_one(home.log, "it"), pytest.raises(UserError, match="Stop it first"):
        normfed("server", "move", "new.example.org:9000", "--home", home.folder)
    assert ((home.folder / "server.yaml").read_text(), home.certificate.read_bytes()) == before
