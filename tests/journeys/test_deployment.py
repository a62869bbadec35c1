"""A real SuperLink and three real nodes with TLS and keys on this machine: the federation that hospitals run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import canary
import httpx
import numpy as np
import pytest
import yaml
from commands import assert_same, normfed, weights
from flwr.cli.build import build_fab_from_files
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from normfed_client.consent import deciding
from normfed_client.consent.approvals import Approvals
from normfed_client.hospital.bookkeeping.budget import spent
from normfed_client.hospital.folder import open_hospital
from normfed_client.operation import checking, joining
from normfed_common.deployment import bundle, enrolment
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.privacy.accounting import epsilon
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_deploy import playing
from normfed_deploy.faults import exchanges, outcomes, scenarios
from normfed_deploy.rehearsal import Rehearsal, floors
from normfed_server.results import cohorts
from normfed_server.runs import folder as runs
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create
from normfed_server.state.ledger import State
from normfed_server.superlink.control import Control

pytestmark = pytest.mark.xdist_group("deployment")

ROUNDS = 2
WITHIN_S = 900.0


@pytest.fixture(scope="module")
def small(study: StudyConfig) -> StudyConfig:
    """The tiny study with nothing beside its federated model."""
    raw = study.model_dump(mode="json")
    raw["federation"] |= {"rounds": ROUNDS}
    raw["comparisons"] |= {"local": False, "pooled": False, "baselines": []}
    return resolve(raw, "test")


@pytest.fixture(scope="module")
def planted(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with a word in all names, which must never come to the server."""
    folder: Path = tmp_path_factory.mktemp(canary.WORD) / canary.WORD
    shutil.copytree(hospitals, folder)
    canary.plant(folder)
    return folder


@pytest.fixture(scope="module")
def federation(small: StudyConfig, planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("federation")
    owns = {name: (name,) for name in "abc"}
    settings = floors(small) | {"minimum_sites_in_sum": 3, "noise_from_sites": 2}
    with Rehearsal(folder, planted, owns, wired=True, settings=settings).up() as up:
        yield up


@pytest.fixture(scope="module")
def simulated(
    small: StudyConfig, planted: Path, federation: Rehearsal, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same study on the local engine, where the hospitals' own secrets decide who trains."""
    return playing.simulated(small, planted, tmp_path_factory.mktemp("simulated"), federation, workers=0).parent


@dataclass(frozen=True)
class Undisturbed:
    """A run of the study, every command line on this machine meanwhile, and every token that the SuperLink accepted."""

    run: str
    commands: set[str]
    tokens: set[str]


@pytest.fixture(scope="module")
def undisturbed(federation: Rehearsal, small: StudyConfig) -> Undisturbed:
    found = Undisturbed(federation.begin(small), set(), set())
    while federation.home.ledger.get(found.run).state is State.OPEN:
        found.commands.update(_command_lines())
        found.tokens.update(_tokens(federation.home.database))
        time.sleep(0.5)  # a process lives longer: it imports seconds long
    return found


def worked(federation: Rehearsal, run: str) -> dict[str, list[str]]:
    """Site to the rounds that it trained, in order, as its own log says."""
    found = {}
    for site in federation.sites:
        text = (federation.folder / site / "state" / run / "site.log").read_text()
        found[site] = re.findall(r"train\.round federated round (\d+): worked", text)
    return found


def test_deployed_federation_gives_the_weights_of_the_simulation_bit_for_bit(
    federation: Rehearsal, undisturbed: Undisturbed, simulated: Path
) -> None:
    run = undisturbed.run
    entry = federation.home.ledger.get(run)
    assert entry.state is State.FINISHED, entry.why
    folder = federation.home.runs / run
    assert_same(weights(folder), weights(simulated))
    assert worked(federation, run) == {site: [str(n) for n in range(1, ROUNDS + 1)] for site in "abc"}
    assert (folder / "report.html").stat().st_size > 100_000
    assert list(folder.rglob(".*")) == []  # nothing half-written


def test_hospitals_show_their_cohorts_before_anything_is_trained(
    federation: Rehearsal, small: StudyConfig, tmp_path: Path
) -> None:
    path, home = tmp_path / "study.yaml", federation.home.folder
    path.write_text(yaml.safe_dump(small.model_dump(mode="json")))
    before = set(federation.home.runs.iterdir())
    result = normfed("server", "run", path, "--home", home, "--statistics")
    assert result.exit_code == 0, result.output
    (folder,) = set(federation.home.runs.iterdir()) - before
    found = cohorts.read(folder)
    assert set(found.sites) == set("abc")
    least = small.federation.minimum_cohort
    shares = {name for name, table in found.tables.items() if table.shares}
    for of in found.sites.values():
        assert min(cell.people for name in of.tables.keys() - shares for cell in of.tables[name]) >= least
    assert (folder / "statistics.html").stat().st_size > 100_000
    assert worked(federation, folder.name) == {site: [] for site in "abc"}  # nothing was trained
    shown = normfed("site", "releases", "--home", federation.folder / "a").output
    assert "Cells told in statistics of cohorts: " in shown


def test_a_killed_superlink_costs_nothing(federation: Rehearsal, small: StudyConfig, simulated: Path) -> None:
    """Workers and the server's app are killed below, in a study with noise and masks."""
    run = federation.begin(small, canary=False)
    events = federation.home.runs / run / "events.jsonl"
    _until(lambda: events.exists() and '"event": "round"' in events.read_text())
    pid = federation.pid("superlink", run=run)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    entry = federation.wait(run, WITHIN_S)
    assert entry.state is State.FINISHED, entry.why
    assert_same(weights(federation.home.runs / run), weights(simulated))
    assert worked(federation, run) == {site: [str(n) for n in range(1, ROUNDS + 1)] for site in "abc"}


def test_killed_in_its_exchanges_a_study_with_noise_and_masks_ends_as_if_undisturbed(
    federation: Rehearsal, small: StudyConfig, planted: Path, tmp_path: Path
) -> None:
    """The simulation's weights, every release once in the ledgers, and no answer about people that is not noise to the
    server. `normfed rehearse --private --faults` does so in every exchange, to every process."""
    raw = small.model_dump(mode="json")
    raw["model"] = {"name": "siamese", "patch_size": 9, "pairs_per_subject": 60, "batch_size": 30}
    raw["federation"] |= {"rounds": 1}
    raw["privacy"] = {"epsilon": 8, "secure_aggregation": {"minimum_sites": 3}}
    both = resolve(raw, "test")
    reference = outcomes.Undisturbed(playing.simulated(both, planted, tmp_path, federation, workers=0))
    disturb = exchanges.kill_in_exchanges("b", 4, "worker", "serverapp")  # in keys, masks off and survivors
    scenario = replace(scenarios.UNDISTURBED, disturb=disturb, from_start=True)
    seen = outcomes.play(scenario, federation, both, reference, np.random.default_rng(0))
    assert (seen.well, seen.same_weights, seen.in_the_clear) == (True, True, 0), seen
    assert seen.times == 3
    for entries in federation.spent().values():
        assert [entry.release.what for entry in entries] == ["train.sums", "train.round 1"]
        assert all(entry.settled for entry in entries)
        assert 7.9 < spent(entries, both.privacy.delta) <= 8


def test_hospitals_add_up_with_shares_of_one_noise_and_enter_it_in_their_ledgers(
    federation: Rehearsal, small: StudyConfig
) -> None:
    raw = small.model_dump(mode="json")
    raw["model"] = {"name": "atlas"}
    raw["privacy"] = {"epsilon": 4, "secure_aggregation": {"minimum_sites": 3, "noise": "distributed"}}
    run = federation.begin(resolve(raw, "test"))
    entry = federation.wait(run, WITHIN_S)
    assert entry.state is State.FINISHED, entry.why
    assert all(np.isfinite(array).all() for array in weights(federation.home.runs / run).values())
    for entries in federation.spent().values():
        (release,) = (entry.release for entry in entries if entry.release.run == run)
        assert [mechanism.sites for mechanism in release.spent] == [2]
        assert 3.9 < epsilon(release.spent, 1e-5) <= 4
    output = " ".join(normfed("site", "ledger", "--home", federation.folder / "a").output.split())
    assert "as if the noise of 2 hospitals were in each" in output


def test_no_secret_is_ever_on_a_command_line(federation: Rehearsal, undisturbed: Undisturbed) -> None:
    """`ps` shows command lines to every user of a machine; whoever has a run's token speaks for the run."""
    secrets = [federation.home.operator_secret, federation.home.executor_secret]
    secrets += [federation.folder / site / "runner.secret" for site in federation.sites]
    tokens = undisturbed.tokens | {path.read_text() for path in secrets}
    assert len(tokens) > len(secrets)
    assert [line for line in undisturbed.commands if any(token in line for token in tokens)] == []
    # It was looked at in time.
    assert any("normfed_server.superlink.executor serve" in line for line in undisturbed.commands)


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _tokens(database: Path) -> set[str]:
    """Those that the SuperLink accepts now."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return {token for (token,) in connection.execute("SELECT token FROM task WHERE token IS NOT NULL")}


HOSTILE = """\
from pathlib import Path
Path({mark!r}).write_text("hostile code ran")
raise SystemExit
"""


@pytest.mark.parametrize("listed", [False, True])
def test_code_in_a_bundle_is_never_run_at_a_site(
    federation: Rehearsal, small: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """A server that turned bad sends a bundle with a client of its own, which would touch a file at import."""
    mark = tmp_path / "touched"
    code = HOSTILE.format(mark=str(mark)).encode()
    files = {
        "pyproject.toml": bundle._PYPROJECT.format(protocol=PROTOCOL)
        .replace('fab-include = ["/README.md"]', 'fab-include = ["/README.md", "/normfed_client/**/*.py"]')
        .encode(),
        "README.md": b"hostile",
        "normfed_client/__init__.py": code,
        "normfed_client/answering/__init__.py": code,
        "normfed_client/answering/app.py": code,
        "normfed_client/hospital/site.py": code,
    }
    content = build_fab_from_files(files)[0]
    monkeypatch.setattr(bundle, "content", lambda: content)
    sites = [federation.folder / site / "site.yaml" for site in federation.sites]
    before = [path.read_text() for path in sites]
    if listed:  # even then: a hospital that was talked into listing it
        for path, text in zip(sites, before, strict=True):
            accepted = yaml.safe_load(text)
            accepted["bundles"].append(hashlib.sha256(content).hexdigest())
            path.write_text(yaml.safe_dump(accepted))
    short = small.model_copy(update={"federation": small.federation.model_copy(update={"rounds": 1})})
    run = runs.begin(short, federation.home.runs).folder
    control = Control(federation.home)
    try:
        number = control.start(run.name)
        if listed:
            _until(lambda: '"event": "canary back"' in _read(run / "events.jsonl"))  # all sites trained a batch
            control.stop(number)
        else:
            _until((run / "outcome.json").exists)
            assert "code 211 BUNDLE_REFUSED" in (run / "outcome.json").read_text()
    finally:
        control.close()
        for path, text in zip(sites, before, strict=True):
            path.write_text(text)
    assert not mark.exists()
    assert not list((federation.folder / "b" / "flower").rglob("*.py"))  # nor installed


def test_strangers_reach_nothing_on_the_servers_port(federation: Rehearsal, tmp_path: Path) -> None:
    address = f"https://{federation.home.config.address}"
    with httpx.Client(verify=ssl.create_default_context(cafile=str(federation.home.ca)), trust_env=False) as client:
        for path in ("control/start-run", "control/register-node", "control/list-nodes", "control/list-runs"):
            assert client.post(f"{address}/v1/{path}").status_code == 404
        for path in ("runtime/acquire-task", "runtime/pull-messages", "runtime/get-nodes", "fleet/pull-messages"):
            answer = client.post(f"{address}/v1/{path}", headers={"content-type": PROTOBUF_MEDIA_TYPE})
            assert answer.status_code in (401, 403), (path, answer.status_code)
        answer = client.post(f"{address}/v1/fleet/pull-messages", content=b"\0" * 5000)
        assert answer.status_code == 413  # taken in by nobody
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError, match="certificate"):
        client.get(f"{address}/health")
    log = (federation.home.log / "door.log").read_text()
    for why in ("asked without the secret for '/v1/control/start-run'", "asked without a key", "announced more than"):
        assert f" 127.0.0.1: {why}" in log


def test_check_names_what_stands_in_the_way(federation: Rehearsal, hospitals: Path, tmp_path: Path) -> None:
    """A key that was not accepted, and a certificate of somebody in between."""
    invitation = enrolment.load(admission.enrol(federation.home, "stranger"))
    joined = joining.join(invitation, tmp_path / "stranger", hospitals, ("a",))
    found = {f.what: f for f in checking.examine(open_hospital(joined.folder), opening_scans=False)}
    assert found["link"].severity == found["clock"].severity == 0
    assert found["admission"].severity == 2
    assert "normfed server accept stranger.pub" in found["admission"].cure
    other = create(tmp_path / "inspecting proxy", ServerConfig(name="Proxy", address="127.0.0.1:1"))
    (joined.folder / "ca.crt").write_text(other.ca.read_text())
    found = {f.what: f for f in checking.examine(open_hospital(joined.folder), opening_scans=False)}
    assert "TLS inspection" in found["certificate"].found
    assert "Rehearsal certificate authority" in found["certificate"].found
    path = joined.folder / "site.yaml"
    path.write_text(path.read_text().replace(invitation.address, "127.0.0.1:9"))
    found = {f.what: f for f in checking.examine(open_hospital(joined.folder), opening_scans=False)}
    assert "outbound HTTPS to 127.0.0.1:9" in found["link"].cure


class Proxy:
    """An HTTP proxy as hospitals have them: CONNECT and nothing else."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += near.recv(4096)
        target = request.split()[1].decode()
        self.asked.append(f"{request.split()[0].decode()} {target}")
        host, _, port = target.rpartition(":")
        far = socket.create_connection((host, int(port)))
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
        self._carry(near, far)

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.mark.xdist_group("ipv6")  # its own processes: it need not wait for the others
def test_a_federation_on_ipv6(hospitals: Path, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with Rehearsal(tmp_path, hospitals, {"a": ("a",)}, listen="::1").up() as up:
        assert admission.seen(up.home)["a"]["online"]


def test_a_site_joins_and_is_shut_out_while_a_run_goes_on(
    federation: Rehearsal, small: StudyConfig, hospitals: Path
) -> None:
    longer = small.model_copy(
        update={"federation": small.federation.model_copy(update={"rounds": 8, "patience_s": 300.0})}
    )
    run = federation.begin(longer, canary=False)
    events = federation.home.runs / run / "events.jsonl"
    _until(lambda: '"event": "round"' in _read(events))
    with _holding_a_round(federation):  # rounds are shorter than a client takes to start, and to look at its scans
        federation.join("d", hospitals, ("c",), floors(small))
        (federation.folder / "d" / "cache").symlink_to(federation.folder / "c" / "cache")  # the same people
        federation.start("d")
        federation.wait_for_sites(["d"])
        before = _read(events).count('"event": "round"')
    _until(lambda: _read(events).count('"event": "round"') > before)  # it is asked at the beginning of the next round
    with _holding_a_round(federation):
        _until(lambda: "query.describe answered" in _read(federation.folder / "d" / "log" / "runner.log"))
    _until(lambda: '"event": "joined"' in _read(events))
    _until(lambda: '"d": "took part"' in _read(events))
    with _holding_a_round(federation):
        admission.revoke(federation.home, "d")
        _until(lambda: "d" not in admission.seen(federation.home))
    entry = federation.wait(run, WITHIN_S)
    federation.stop("d")
    assert entry.state is State.PARTIAL
    assert re.search(r"trained without d in (round|\d+ of 8 rounds)", entry.why)
    metrics = json.loads((federation.home.runs / run / "metrics.json").read_text())
    assert {s: r for s, r in metrics["missing"]["federated"].items() if s != "d"} == {}  # nobody else was disturbed


@contextlib.contextmanager
def _holding_a_round(federation: Rehearsal) -> Iterator[None]:
    """A round waits meanwhile, for a site that does not go on."""
    held = federation.pid("worker", "a")
    assert held is not None
    os.kill(held, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(held, signal.SIGCONT)


def test_a_run_waits_for_a_site_behind_a_proxy_until_a_person_there_approves(
    federation: Rehearsal, small: StudyConfig, hospitals: Path
) -> None:
    """Whatever that site's node says goes through the proxy."""
    proxy = Proxy()
    asked = small.model_copy(
        update={"name": "approved", "federation": small.federation.model_copy(update={"rounds": 1})}
    )
    federation.join("e", hospitals, ("c",), floors(small) | {"approve_by_rule": []})
    (federation.folder / "e" / "cache").symlink_to(federation.folder / "c" / "cache")  # the same people
    federation.start("e", {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "", "no_proxy": ""})
    try:
        federation.wait_for_sites(["e"])
        run = federation.begin(asked, canary=False)
        events = federation.home.runs / run / "events.jsonl"
        _until(lambda: "code 250 AWAITS_APPROVAL" in _read(events))
        hospital = open_hospital(federation.folder / "e")
        (waiting,) = Approvals(hospital.folder).asked()
        assert (waiting.digest, waiting.run) == (asked.digest, run)
        assert not (hospital.state / run).exists()
        deciding.decide(hospital, waiting.config(), "approved", "Dr. A")
        entry = federation.wait(run, WITHIN_S)
    finally:
        admission.revoke(federation.home, "e")
        federation.stop("e")
    assert entry.state is State.FINISHED
    rounds = [line for line in map(json.loads, _read(events).splitlines()) if line["event"] == "round"]
    assert [line["outcomes"] for line in rounds] == [dict.fromkeys("abce", "took part")]
    assert set(proxy.asked) == {f"CONNECT {federation.home.config.address}"}


def test_the_servers_folder_has_no_byte_of_what_anything_is_called_at_a_site(
    federation: Rehearsal, undisturbed: Undisturbed
) -> None:
    """After all runs of this federation: state, databases, logs, models, pages, chain."""
    assert federation.home.ledger.get(undisturbed.run).state is State.FINISHED
    assert any(federation.home.folder.rglob("*.safetensors"))
    assert list(canary.told(federation.home.folder)) == []
    for site in federation.sites:  # it is there to be told
        assert any(canary.told(federation.folder / site))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _until(condition, within_s: float = WITHIN_S) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
