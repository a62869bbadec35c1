"""A whole federation on this machine, everything real: SuperLink, nodes, TLS, keys, processes, links.

What an operator rehearses here is what hospitals will run; only the distance is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import psutil

from normfed_client.hospital.bookkeeping.entries import Entry as LedgerEntry
from normfed_client.hospital.folder import MARK, open_hospital
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.operation import joining
from normfed_common.deployment import enrolment
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_common.processes.health import free_port
from normfed_common.processes.supervision import end_with_parent, read_services
from normfed_common.study.config import StudyConfig
from normfed_deploy.wire import Wire
from normfed_server.runs import starting
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create, open_home
from normfed_server.state.ledger import Entry, State

RUN = ("-m", "normfed_common.cli")
COMMAND = (sys.executable, *RUN)
UP_S, DOWN_S = 180.0, 40.0

Role = Literal["superlink", "executor", "serverapp", "server", "node", "runner", "worker", "site"]


def floors(study: StudyConfig) -> dict[str, object]:
    """A hospital's floors as low as the study's minimum, and no look at cohorts: their refusals are not rehearsed."""
    lowest = dict.fromkeys(("minimum_people", "minimum_people_per_voxel"), study.federation.minimum_cohort)
    return {**lowest, "quality_gate": "off"}


class Rehearsal:
    """Server and sites in one folder.

    Parameters
    ----------
    owns
        Site to the values of the dataset's column `site` that are its own.
    wired
        Whether a link that can be disturbed lies between every site and the server.
    settings
        Of every site's site.yaml, beside what joining writes.

    Attributes
    ----------
    pythons
        "server" or a site to the interpreter that runs it, where it is another than this one: that of an environment
        with another version of normfed.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        owns: Mapping[str, tuple[str, ...]],
        wired: bool = False,
        settings: Mapping[str, object] | None = None,
        listen: str = "127.0.0.1",
    ) -> None:
        self.folder, self.sites = folder, list(owns)
        port = free_port()
        address = f"[{listen}]:{port}" if ":" in listen else f"{listen}:{port}"
        config = ServerConfig(name="Rehearsal", address=address, listen=listen, port=port, monitor_port=free_port())
        self.home = create(folder / "server", config)
        self.wires = {site: Wire(("127.0.0.1", port)) for site in owns} if wired else {}
        for site, values in owns.items():
            self.join(site, data, values, settings or {})
        self.introduce()
        self.pythons: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def join(self, site: str, data: Path, owns: tuple[str, ...], settings: Mapping[str, object]) -> None:
        """Enrol, join and accept a site, as operator and hospital would."""
        invitation = enrolment.load(admission.enrol(self.home, site))
        joined = joining.join(invitation, self.folder / site, data, owns)
        changes = {"approve_by_rule": [{}], **settings}  # nobody is there to approve what is rehearsed
        if site in self.wires:
            changes["server"] = f"127.0.0.1:{self.wires[site].port}"
        path = joined.folder / "site.yaml"
        write_text(path, plain_yaml.text(plain_yaml.read(path, "a settings file") | changes))
        # Who trains and who tests depends on this secret: a rehearsal must be the same every time.
        secret, hospital = f"rehearsal of {site}".encode(), open_hospital(joined.folder)
        hospital.people_secret.write_bytes(secret)
        hospital.record.unlink()
        Releases.create(hospital.record, PeopleSecret(secret))
        line, fingerprint = admission.read_key(joined.public_key)
        admission.accept(self.home, site, line, fingerprint)

    def introduce(self) -> None:
        """Write every site's fingerprint into the others' site.yaml, as hospitals do that compared them."""
        known = {site: admission.read_key(self.folder / site / f"{site}.pub")[1] for site in self.sites}
        for site in self.sites:
            path = self.folder / site / "site.yaml"
            peers = {other: fingerprint for other, fingerprint in known.items() if other != site}
            write_text(path, plain_yaml.text(plain_yaml.read(path, "a settings file") | {"peers": peers}))

    def start(
        self, what: str, environment: Mapping[str, str] | None = None, command: Sequence[str] | None = None
    ) -> None:
        """Start the server ("server") or a site by its name; ``command`` instead of `normfed site start`."""
        kind = "server" if what == "server" else "site"
        python = self.pythons.get(what, sys.executable)
        usual = [python, *RUN, kind, "start", "--home", str(self.folder / what)]
        direct = {"NO_PROXY": "*", "no_proxy": "*"} if environment is None else environment
        with open(self.folder / f"{what}.out", "ab") as out:
            self._processes[what] = subprocess.Popen(
                command or usual,
                stdout=out,
                stderr=out,
                env={**os.environ, **direct},
                start_new_session=True,
                preexec_fn=end_with_parent,  # a rehearsal that is killed leaves nothing behind
            )

    def stop(self, what: str) -> None:
        """Stop what was started, as Ctrl-C would."""
        process = self._processes.pop(what, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def up(self) -> Iterator[Rehearsal]:
        """Everything runs and every site is connected while the context lasts.

        Raises
        ------
        RunError
            If the server does not listen, or a site does not connect.
        """
        try:
            self.start("server")
            self._wait_for_server()
            for site in self.sites:
                self.start(site)
            self.wait_for_sites(self.sites)
            yield self
        finally:
            for what in (*self.sites, "server"):
                self.stop(what)
            for wire in self.wires.values():
                wire.close()

    def _wait_for_server(self) -> None:
        """Until it listens: a node that does not find it tries again after longer and longer pauses."""
        address, deadline = (self.home.config.listen, self.home.config.port), time.monotonic() + UP_S
        while time.monotonic() < deadline:
            self._check_runs("server")
            with contextlib.suppress(OSError):
                socket.create_connection(address, timeout=1.0).close()
                return
            time.sleep(0.1)
        raise RunError(f"The server did not listen within {UP_S:.0f} s; see {self.folder / 'server.out'}.")

    def wait_for_sites(self, sites: list[str], within_s: float = UP_S) -> None:
        """Until these sites are connected.

        Raises
        ------
        RunError
            If one has ended, or is not connected when the time is up.
        """
        deadline = time.monotonic() + within_s
        while missing := [site for site in sites if not admission.seen(self.home).get(site, {}).get("online")]:
            for site in missing:
                self._check_runs(site)
            if time.monotonic() > deadline:
                raise RunError(f"{', '.join(missing)} did not connect within {within_s:.0f} s; see {self.folder}.")
            time.sleep(0.2)

    def _check_runs(self, what: str) -> None:
        """Raise if what was started last under this name has ended by itself; what `stop` stopped counts as wanted."""
        process = self._processes.get(what)
        if process is None or process.poll() is None:
            return
        out = self.folder / f"{what}.out"
        lines = out.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        raise RunError(f"{what} ended with code {process.returncode}; the last line of {out} is: {last}")

    def begin(self, study: StudyConfig, canary: bool = True) -> str:
        """Begin a run; returns its name."""
        return starting.begin(open_home(self.home.folder), study, canary, ())

    def forget_spent(self) -> None:
        """Empty ledgers, and nobody who remembers others, while no run goes on: what one run spends can be looked at.

        Outside a rehearsal nothing does this; a hospital's ledger only grows.
        """
        for site in self.sites:
            hospital = open_hospital(self.folder / site)
            for path in (hospital.ledger_file, *hospital.state.glob(f"*/{MARK}")):
                path.unlink(missing_ok=True)
            (self.home.counters / f"{site}.json").unlink(missing_ok=True)

    def spent(self) -> dict[str, list[LedgerEntry]]:
        """Site to the entries of its ledger."""
        return {site: open_hospital(self.folder / site).ledger().entries() for site in self.sites}

    def wait(self, run: str, within_s: float) -> Entry:
        """Until a run has ended.

        Raises
        ------
        RunError
            If it lasts longer.
        """
        ledger, deadline = self.home.ledger, time.monotonic() + within_s
        while (entry := ledger.get(run)).state is State.OPEN:
            if time.monotonic() > deadline:
                raise RunError(f"{run} is still open after {within_s:.0f} s; see {self.home.runs / run}.")
            time.sleep(0.2)
        return entry

    def pid(self, role: Role, site: str | None = None, run: str | None = None) -> int | None:
        """The process that plays a role now; None while there is none."""
        if role in ("server", "site"):
            process = self._processes.get("server" if role == "server" else str(site))
            return process.pid if process else None
        if role == "serverapp":
            path = self.home.runs / str(run) / "coordinator.json"
            found = json.loads(path.read_text())["pid"] if path.exists() else None
            alive = found is not None and psutil.pid_exists(found)
            return found if alive and psutil.Process(found).status() != psutil.STATUS_ZOMBIE else None
        if role in ("superlink", "executor"):
            pid: int | None = read_services(self.home.log).get(role, {}).get("pid")
            return pid
        services = read_services(self.folder / str(site) / "log")
        if role == "worker":
            runner = services.get("runner", {}).get("pid")
            children = psutil.Process(runner).children() if runner and psutil.pid_exists(runner) else []
            return children[0].pid if children else None
        other: int | None = services.get(role, {}).get("pid")
        return other
