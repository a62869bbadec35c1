"""The operator's folder: what the server is, its keys, its sites and its runs.

HOME/
    server.yaml            written by `normfed server init`; the operator may edit it
    ca.crt                 of the federation's certificate authority
    ca.key                 its key, unless it is kept apart (`normfed server init --ca`); back it up
    server.key server.crt  renewed by `normfed server renew`; server.csr: what an authority apart is to sign
    operators.json         who may do what, by their public keys; absent where nobody is named
    proposals/             what waits for a second person
    tokens.json            digests of the tokens for the monitor
    operator.secret        who knows it may start and stop runs, and admit sites
    executor.secret        between the SuperLink and its executor
    sites.json             sites: invited, accepted, revoked
    enrolments/SITE.yaml   what a hospital is sent
    counters/SITE.json     how long a site's ledger was last; back them up
    audit.jsonl            what was done here, a chain of records; audit.key signs it; back both up
    heads/SITE.json        how a site's own audit ended last; back them up
    fleet.json             what sites last said of their machines
    superlink.db           Flower's own state
    runs.sqlite runs/      runs and their folders
    log/                   a log a process, door.log (who was turned away), services.json
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from normfed_common.deployment import settings
from normfed_common.deployment.enrolment import ADDRESS, certificate_fingerprint
from normfed_common.foundation import private
from normfed_common.foundation.errors import RunError, UserError
from normfed_common.processes.supervision import is_running
from normfed_common.study.base import Frozen
from normfed_server.state import certificates
from normfed_server.state.ledger import Ledger

HOME_VARIABLE = "NORMFED_SERVER_HOME"
DEFAULT = Path("normfed-server")
LEDGER = "runs.sqlite"
LOCAL = ("localhost", "127.0.0.1", "[::1]")

HostName = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)$", max_length=253)]


class ServerConfig(Frozen):
    """What an operator decides."""

    name: str = Field(min_length=1, max_length=200, description="of the federation, shown to sites")
    address: str = Field(pattern=ADDRESS, description="host:port under which sites reach the server")
    listen: str = Field("0.0.0.0", description="address to listen on; :: for IPv6")
    port: int = Field(8000, ge=1, le=65535, description="to listen on; another than address's behind a port mapping")
    connections_per_address: int = Field(
        64, ge=1, le=10_000, description="of one address at the same time; a site needs about ten"
    )
    largest_request_mb: float = Field(
        32.0, ge=1, le=2000, description="of one request; Flower sends models in pieces of 5 MB, and tables whole"
    )
    largest_message_mb: float = Field(
        4000.0, ge=1, le=1_000_000, description="of one answer of a site, all its pieces together: a model and some"
    )
    longest_upload_minutes: float = Field(
        30.0, gt=0, le=1440, description="for one request to come in; a slower one is cut off, and sent again"
    )
    monitor_listen: str = Field("127.0.0.1", description="of the monitor; read-only, but not for everybody")
    monitor_port: int = Field(8080, ge=1, le=65535)
    monitor_hosts: tuple[HostName, ...] = Field(
        (), description="more names under which browsers may ask for the monitor, such as a reverse proxy's"
    )

    monitor_token: Literal["off", "required"] = Field(
        "off", description="whether the monitor and its metrics ask for a token: normfed server token"
    )
    second_person: tuple[Literal["enrol", "accept", "people", "revoke"], ...] = Field(
        (), description="what one operator proposes and another approves, such as accept and revoke"
    )

    @property
    def monitor_names(self) -> frozenset[str]:
        """The names under which the monitor answers."""
        listen = f"[{self.monitor_listen}]" if ":" in self.monitor_listen else self.monitor_listen
        return frozenset(name.lower() for name in (*LOCAL, listen, *self.monitor_hosts))

    @property
    def host(self) -> str:
        """The address without its port."""
        return host_of(self.address)


class ServerHome:
    """An operator's folder.

    Parameters
    ----------
    folder
        Made by `create`, found by `open_home`.
    """

    def __init__(self, folder: Path, config: ServerConfig) -> None:
        self.folder, self.config = folder, config

    ca_key = property(lambda self: self.folder / "ca.key")
    ca = property(lambda self: self.folder / "ca.crt")
    key = property(lambda self: self.folder / "server.key")
    certificate = property(lambda self: self.folder / "server.crt")
    operator_secret = property(lambda self: self.folder / "operator.secret")
    executor_secret = property(lambda self: self.folder / "executor.secret")
    database = property(lambda self: self.folder / "superlink.db")
    request = property(lambda self: self.folder / "server.csr")
    operators = property(lambda self: self.folder / "operators.json")
    proposals = property(lambda self: self.folder / "proposals")
    tokens = property(lambda self: self.folder / "tokens.json")
    sites = property(lambda self: self.folder / "sites.json")
    enrolments = property(lambda self: self.folder / "enrolments")
    counters = property(lambda self: self.folder / "counters")
    audit_key = property(lambda self: self.folder / "audit.key")
    heads = property(lambda self: self.folder / "heads")
    fleet = property(lambda self: self.folder / "fleet.json")
    runs = property(lambda self: self.folder / "runs")
    log = property(lambda self: self.folder / "log")

    @property
    def ledger(self) -> Ledger:
        """Of the server's runs."""
        return Ledger(self.folder / LEDGER)

    @property
    def local_address(self) -> str:
        """Where the server's own processes reach it."""
        host = "[::1]" if ":" in self.config.listen else "127.0.0.1"
        return f"{host}:{self.config.port}"

    def fingerprint(self) -> str:
        """Of the certificate authority, to compare by telephone."""
        return certificate_fingerprint(self.ca.read_bytes())

    def issue_certificate(self) -> None:
        """Make the server's certificate, or renew it, with the authority's key in this folder."""
        certificates.issue((self.config.host,), self.ca_key, self.ca, self.key, self.certificate)

    def check(self) -> list[str]:
        """Refuse what is weak; gives warnings.

        Raises
        ------
        UserError
            If a secret is missing or readable by others, or the certificate has expired.
        """
        for path in (self.key, self.operator_secret, self.executor_secret):
            private.check(path)
        if self.audit_key.exists():  # it is made with the first record
            private.check(self.audit_key)
        if self.ca_key.exists():  # else it is kept apart
            private.check(self.ca_key)
        if not self.certificate.exists():
            raise UserError(
                f"{self.certificate}: missing. Have {self.request} signed where the authority's key is (normfed server "
                f"ca sign), then: normfed server renew --certificate server.crt --home {self.folder}"
            )
        left = certificates.days_left(self.certificate)
        again = f"Renew it: normfed server renew --home {self.folder}. Sites notice nothing."
        if left < 0:
            raise UserError(f"{self.certificate}: expired {-left:.0f} days ago. {again}")
        warnings = []
        if left < certificates.WARN_DAYS:
            warnings.append(f"{self.certificate} expires in {left:.0f} days. {again}")
        authority = certificates.days_left(self.ca)
        if authority < 12 * certificates.WARN_DAYS:
            warnings.append(f"{self.ca} expires in {authority:.0f} days; every site will need a new enrolment then.")
        return warnings


def create(folder: Path, config: ServerConfig, authority: Callable[[ServerHome], None] | None = None) -> ServerHome:
    """Make an operator's folder with new keys.

    Parameters
    ----------
    authority
        Puts ca.crt of an authority apart into the folder, and has the server's certificate signed or requested;
        without one an authority is made whose key is in the folder.

    Raises
    ------
    UserError
        If there is something in the folder already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: there is something already. Choose another --home; keys are never overwritten.")
    private.make_folder(folder)
    home = ServerHome(folder, config)
    if authority is None:
        certificates.make_authority(config.name, home.ca_key, home.ca)
        home.issue_certificate()
    else:
        authority(home)
    private.write_new(home.operator_secret, private.secret())
    private.write_new(home.executor_secret, private.secret())
    for inner in (home.enrolments, home.runs, home.log):
        private.make_folder(inner)
    # Last: a folder with server.yaml is complete.
    settings.write(folder / "server.yaml", config)
    return home


def open_home(folder: Path) -> ServerHome:
    """Open an operator's folder.

    Raises
    ------
    UserError
        If it is not one, or its server.yaml is wrong.
    """
    make = "normfed server init"
    return ServerHome(
        folder.resolve(), settings.read_in(folder, "server.yaml", ServerConfig, "a server's folder", make)
    )


def move(
    home: ServerHome, address: str, port: int | None, certify: Callable[[tuple[str, ...]], None] | None = None
) -> ServerHome:
    """Give a server another address, and a certificate that is good for the new one and the old one.

    Parameters
    ----------
    port
        To listen on; None to follow the address if it did so before.
    certify
        Puts a certificate for these hosts in place; by default it is issued with the key in the folder.

    Raises
    ------
    UserError
        If it is not an address, the server is running, or the certificate is not what it must be.
    """
    check_address(address)
    if is_running(home.log):
        raise UserError(f"{home.folder}: the server is running. Stop it first; open runs go on when it starts again.")
    path, before, last = home.folder / "server.yaml", home.config, int(address.rpartition(":")[2])
    followed = before.port == int(before.address.rpartition(":")[2])
    listening = port if port is not None else last if followed else before.port
    hosts = (host_of(address), before.host)
    if certify is not None:
        certify(hosts)  # first: one that is refused changes nothing
    config = settings.change(path, ServerConfig, {"address": address, "port": listening})
    if certify is None:
        certificates.issue(hosts, home.ca_key, home.ca, home.key, home.certificate)
    return ServerHome(home.folder, config)


def check_address(address: str) -> None:
    """Refuse what is no address.

    Raises
    ------
    UserError
        Saying what one is.
    """
    if not re.fullmatch(ADDRESS, address):
        raise UserError(f"{address!r} is not an address. Give host:port, such as fed.example.org:8000.")


def host_of(address: str) -> str:
    """An address without its port."""
    return address.rpartition(":")[0].strip("[]")


def run_folder(home: ServerHome, name: str) -> Path:
    """The folder of a run, by name.

    Raises
    ------
    RunError
        If there is none.
    """
    path: Path = home.runs / name
    known = sorted(p.name for p in home.runs.iterdir())
    if name not in known or not (path / "study.yaml").exists():
        raise RunError(f"No run is called {name}. Runs: {', '.join(known) or 'none yet'}.")
    return path
