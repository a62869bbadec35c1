"""The operator's folder, certificates, admission, ledger, reconciler and door, without processes."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml
from commands import normfed
from cryptography import x509
from rich.console import Console
from run_results import run_results
from starlette.testclient import TestClient

from normfed_client.operation import joining
from normfed_common.deployment import bundle, enrolment
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError, StudyError, UserError
from normfed_common.processes.supervision import only_one
from normfed_server import deployment
from normfed_server.monitor.views import Views
from normfed_server.monitor.web import application
from normfed_server.operation.reconciler import Reconciler
from normfed_server.results import exporting, layout
from normfed_server.runs import following, starting, steering
from normfed_server.state import admission, certificates
from normfed_server.state.folder import ServerHome, create, open_home
from normfed_server.state.ledger import State
from normfed_server.state.notes import COORDINATOR, CRASH, LOG, OUTCOME
from normfed_server.superlink import deaths
from normfed_server.superlink.control import FlowerRun


def joined(home: ServerHome, site: str, tmp_path: Path) -> joining.Joined:
    (tmp_path / "data").mkdir(exist_ok=True)
    invitation = enrolment.load(admission.enrol(home, site))
    return joining.join(invitation, tmp_path / f"at-{site}", tmp_path / "data", ())


def accepted(home: ServerHome, site: str, tmp_path: Path) -> joining.Joined:
    found = joined(home, site, tmp_path)
    admission.accept(home, site, *admission.read_key(found.public_key))
    return found


def test_secrets_are_their_owners_alone_and_weak_ones_are_refused(home: ServerHome) -> None:
    for name in ("ca.key", "server.key", "operator.secret", "executor.secret"):
        assert stat.S_IMODE((home.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert home.check() == []
    home.operator_secret.chmod(0o640)
    with pytest.raises(UserError, match=r"others than its owner may read it.*chmod 600"):
        home.check()


def test_existing_state_is_never_overwritten(home: ServerHome, tmp_path: Path) -> None:
    before = home.ca_key.read_bytes()
    with pytest.raises(UserError, match="there is something already"):
        create(home.folder, home.config)
    assert home.ca_key.read_bytes() == before
    accepted(home, "a", tmp_path)
    with pytest.raises(UserError, match="is not empty"):
        joining.join(enrolment.load(home.enrolments / "a.yaml"), tmp_path / "at-a", tmp_path / "data", ())


def test_the_certificate_is_good_for_the_address_and_openssl_believes_it(home: ServerHome) -> None:
    served = x509.load_pem_x509_certificate(home.certificate.read_bytes())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fed.example.org", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home.certificate, home.key)
    assert _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, "fed.example.org") is None
    wrong = _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, "other.example.org")
    assert "Hostname mismatch" in str(wrong)
    assert "unable to get local issuer" in str(_shake_hands(ssl.create_default_context(), server, "fed.example.org"))


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLError | None:
    """TLS in memory, as two machines would; the client's complaint."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname=name)
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for end in (left, right):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    return None


def test_renewing_never_invalidates_sites_and_expiry_is_warned_of(home: ServerHome) -> None:
    authority, key = home.ca.read_bytes(), home.key.read_bytes()
    certificates.issue(("fed.example.org",), home.ca_key, home.ca, home.key, home.certificate, days=20)
    (warning,) = home.check()
    assert "expires in 19 days" in warning or "expires in 20 days" in warning
    home.issue_certificate()
    assert home.check() == []
    assert home.ca.read_bytes() == authority  # what sites trust
    assert home.key.read_bytes() == key
    certificates.issue(("fed.example.org",), home.ca_key, home.ca, home.key, home.certificate, days=-3)
    with pytest.raises(UserError, match=r"expired 3 days ago\. Renew it: normfed server renew"):
        home.check()


def test_a_server_moves_and_its_certificate_is_good_for_both_addresses(home: ServerHome, tmp_path: Path) -> None:
    path = home.folder / "server.yaml"
    path.write_text("# ours\n" + path.read_text())
    admission.enrol(home, "late")
    authority = home.ca.read_bytes()
    result = normfed("server", "move", "new.example.org:9000", "--home", home.folder)
    assert "normfed site move new.example.org:9000" in result.output
    assert "normfed server enrol late --again" in result.output
    moved = open_home(home.folder)
    assert (moved.config.address, moved.config.port, moved.config.host) == (
        *("new.example.org:9000", 9000),
        "new.example.org",
    )
    assert path.read_text().startswith("# ours\n")
    assert home.ca.read_bytes() == authority
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home.certificate, home.key)
    for name in ("new.example.org", "fed.example.org"):
        assert _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, name) is None
    (home.folder / "server.yaml").write_text("name: F\naddress: fed.example.org:443\nport: 8000\n")
    normfed("server", "move", "last.example.org:443", "--home", home.folder)
    assert open_home(home.folder).config.port == 8000  # behind a port mapping, as before


def test_a_server_that_runs_or_is_given_no_address_does_not_move(home: ServerHome) -> None:
    before = (home.folder / "server.yaml").read_text(), home.certificate.read_bytes()
    with pytest.raises(UserError, match="is not an address"):
        normfed("server", "move", "new.example.org", "--home", home.folder)
    with only_one(home.log, "it"), pytest.raises(UserError, match="Stop it first"):
        normfed("server", "move", "new.example.org:9000", "--home", home.folder)
    assert ((home.folder / "server.yaml").read_text(), home.certificate.read_bytes()) == before


def test_the_list_of_runs_cuts_neither_names_nor_commands(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    name, folder = "a-study-with-a-rather-long-name-20260101-120000", "/srv/federation/" + "x" * 70
    ledger = home.ledger
    ledger.add(name)
    ledger.set(name, State.FAILED, f"it failed. See {folder}/server.log; then: normfed server resume {name}")
    monkeypatch.setenv("COLUMNS", "60")
    lines = normfed("server", "runs", "--home", home.folder).output.splitlines()
    assert lines[0].startswith(f"{name}  ")
    assert any(f"{folder}/server.log" in line for line in lines)
    assert sum(name in line for line in lines) == 2


def test_an_enrolment_holds_no_secret_and_one_that_was_changed_is_refused(home: ServerHome, tmp_path: Path) -> None:
    path = admission.enrol(home, "a")
    text = path.read_text()
    for secret in (home.ca_key, home.key, home.operator_secret, home.executor_secret):
        assert secret.read_text().splitlines()[-2 if "key" in secret.name else 0] not in text
    loaded = enrolment.load(path)
    assert loaded.ca_fingerprint == home.fingerprint()
    assert loaded.bundle == bundle.digest()
    other = create(tmp_path / "other", home.config)
    raw = yaml.safe_load(text) | {"ca": other.ca.read_text()}
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="the certificate in it was changed on the way"):
        enrolment.load(path)
    for text in ("not: an enrolment", "[1, 2", "\0"):
        path.write_text(text)
        with pytest.raises(UserError, match="is not an enrolment file"):
            enrolment.load(path)


def test_the_private_key_stays_and_the_fingerprints_agree(home: ServerHome, tmp_path: Path) -> None:
    made = joined(home, "a", tmp_path)
    private = made.folder / "site.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in made.public_key.read_bytes()
    _line, fingerprint = admission.read_key(made.public_key)
    assert fingerprint == made.key_fingerprint
    with pytest.raises(UserError, match="is a PRIVATE key"):
        admission.read_key(private)


def test_keys_are_accepted_once_and_never_again(home: ServerHome, tmp_path: Path) -> None:
    first = accepted(home, "a", tmp_path)
    admission.enrol(home, "b")
    with pytest.raises(UserError, match=r"This key is or was that of a \(accepted\)"):
        admission.accept(home, "b", *admission.read_key(first.public_key))
    with pytest.raises(UserError, match="a is accepted already"):
        admission.accept(home, "a", *admission.read_key(first.public_key))
    with pytest.raises(UserError, match="z was not invited"):
        admission.accept(home, "z", *admission.read_key(first.public_key))
    admission.revoke(home, "a")
    with pytest.raises(UserError, match=r"This key is or was that of a \(revoked\)"):  # replayed
        admission.accept(home, "b", *admission.read_key(first.public_key))
    assert admission.members(home)["a"].state == "revoked"


class Flower:
    """A SuperLink's operator interface in memory."""

    def __init__(self) -> None:
        self.registered: dict[bytes, SimpleNamespace] = {}
        self.runs: dict[int, FlowerRun] = {}
        self.stopped: list[int] = []

    def nodes(self) -> dict[bytes, Any]:
        return self.registered

    def register(self, site: str, key: str) -> int:
        from normfed_server.superlink.control import key_bytes

        node = SimpleNamespace(
            node_id=len(self.registered) + 10, status="online", last_activated_at="now", last_deactivated_at=""
        )
        self.registered[key_bytes(key)] = node
        return node.node_id

    def unregister(self, node: int) -> None:
        self.registered = {k: n for k, n in self.registered.items() if n.node_id != node}

    def start(self, run: str) -> int:
        number = len(self.runs) + 100
        self.runs[number] = FlowerRun("running", "")
        return number

    def stop(self, number: int) -> None:
        self.stopped.append(number)
        self.runs[number] = FlowerRun("finished", "")

    def run(self, number: int) -> FlowerRun | None:
        return self.runs.get(number)


@pytest.fixture
def kept(home: ServerHome, tmp_path: Path) -> tuple[Reconciler, Flower, list[str]]:
    said: list[str] = []
    flower = Flower()
    accepted(home, "a", tmp_path)
    return Reconciler(home, lambda: flower, said.append), flower, said  # type: ignore[arg-type, return-value]


def begun(home: ServerHome, study: Any) -> str:
    return starting.begin(home, study, canary=True, without=())


def test_a_study_that_names_a_site_that_no_member_is_does_not_begin(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    """The site that was to be held out would train; of people only the hospitals know, and are not asked."""
    held_out = study.model_copy(update={"data": study.data.model_copy(update={"out_of_sample": ("aa",)})})
    with pytest.raises(StudyError, match=r"data\.out_of_sample: no site is called aa .*Did you mean a\?"):
        begun(home, held_out)
    assert not home.runs.exists() or not list(home.runs.iterdir())
    excluded = study.data.model_copy(update={"out_of_sample": ("a",), "exclude": {"sub-nobody": "moved"}})
    assert begun(home, study.model_copy(update={"data": excluded}))


def test_sites_are_admitted_and_shut_out_as_the_operator_says(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]]
) -> None:
    look, flower, said = kept
    look.look()
    assert said == ["a: admitted."]
    assert admission.nodes(home) == {"a": 10}
    admission.revoke(home, "a")
    look._nodes_at = -100.0
    look.look()
    assert flower.registered == {}
    assert admission.nodes(home) == {}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deaths, "LONGEST_PAUSE_S", 0.0)


def test_an_open_run_is_started_again_whatever_died(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    assert home.ledger.get(name).flower_run == 100
    look.look()
    assert list(flower.runs) == [100]  # it runs: nothing to do
    flower.runs[100] = FlowerRun("finished", "no heartbeat")
    look.look()
    look.look()
    assert list(flower.runs) == [100, 101]
    (home.runs / name / COORDINATOR).write_text(json.dumps({"pid": os.getpid(), "began": 1.0, "flower_run": 101}))
    look.look()  # its process is gone, another has its number, and Flower has not noticed yet
    assert flower.stopped == [101]
    look.look()
    assert list(flower.runs) == [100, 101, 102]
    assert "going on from the last round" in said[-1]


def test_a_run_whose_process_fails_again_and_again_is_given_up_with_its_error(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    ledger = home.ledger
    for _ in range(3 * deaths.CRASHES):
        look.look()
        number = ledger.get(name).flower_run
        crash = {"flower_run": number, "lost": False, "why": "SafetensorError: header too large"}
        (home.runs / name / CRASH).write_text(json.dumps(crash))
        flower.runs = {number: FlowerRun("finished", "") for number in flower.runs}
    entry = ledger.get(name)
    assert entry.state is State.FAILED
    assert f"failed {deaths.CRASHES} times in the same round" in entry.why
    assert "SafetensorError: header too large" in entry.why
    assert len(flower.runs) == deaths.CRASHES
    steering.resume(home, name)
    look.look()
    assert len(flower.runs) == deaths.CRASHES + 1


def killed_process() -> dict[str, Any]:
    """A child that was killed and that nobody reaps, as Flower's executor leaves them."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    began = psutil.Process(process.pid).create_time()
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    LEFT.append(process)
    return {"pid": process.pid, "began": began}


LEFT: list[subprocess.Popen[bytes]] = []


def test_kills_in_quick_succession_do_not_end_a_run_and_the_log_says_what_happened(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, _, said = kept
    name = begun(home, study)
    ledger, child = home.ledger, killed_process()
    kills = 2 * deaths.CRASHES
    for _ in range(kills):
        look.look()
        coordinator = {**child, "flower_run": ledger.get(name).flower_run}
        (home.runs / name / COORDINATOR).write_text(json.dumps(coordinator))
        look.look()
    assert ledger.get(name).state is State.OPEN
    assert "was killed by signal 9 (SIGKILL)" in said[-1]
    log = (home.runs / name / LOG).read_text().splitlines()
    assert len(log) == kills
    assert f"was killed by signal 9 (SIGKILL) (death {kills} in the same round)" in log[-1]
    LEFT.pop().wait()  # reaped: nothing is known any more but that it is gone
    assert "is gone without a word" in deaths.cause(home.runs / name, coordinator["flower_run"], "").how


def test_who_follows_a_run_reads_that_its_process_died(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    look.look()
    flower.runs = {100: FlowerRun("finished", "no [heartbeat]")}
    look.look()

    class Shown:
        def __init__(self) -> None:
            self.notes: list[str] = []

        def event(self, event: dict[str, Any]) -> None: ...

        def note(self, text: str) -> None:
            self.notes.append(text)
            steering.stop(home, name)

    shown = Shown()
    assert following.follow(home, name, shown).state is State.STOPPED
    assert "no [heartbeat]" in shown.notes[0]
    following.Live(Console()).note(shown.notes[0])
    assert "[heartbeat]" in capsys.readouterr().out
    look.look()
    look.look()
    steering.resume(home, name)
    look.look()
    assert home.ledger.get(name).why == ""  # it runs again


def test_other_ends_of_a_runs_process_are_told_apart(tmp_path: Path) -> None:
    def note(pid: int, began: float) -> None:
        (tmp_path / COORDINATOR).write_text(json.dumps({"pid": pid, "began": began, "flower_run": 7}))

    assert "ended before it began to work (Flower: no such module)" in deaths.cause(tmp_path, 7, "no such module").how
    note(os.getpid(), psutil.Process().create_time())
    assert "lost touch with the SuperLink" in deaths.cause(tmp_path, 7, "no heartbeat").how
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    note(child.pid, psutil.Process(child.pid).create_time())
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert "ended with exit code 3" in deaths.cause(tmp_path, 7, "").how
    child.wait()
    (tmp_path / CRASH).write_text(json.dumps({"flower_run": 7, "lost": True, "why": "ConnectError: refused"}))
    assert deaths.cause(tmp_path, 7, "") == deaths.Death(False, "failed with ConnectError: refused")


def test_a_run_that_is_killed_without_end_is_given_up_with_that_word(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, hasty: None
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    for _ in range(3 * deaths.KILLS):
        look.look()
        flower.runs = {number: FlowerRun("finished", "no heartbeat") for number in flower.runs}
    entry = home.ledger.get(name)
    assert entry.state is State.FAILED
    assert f"ended from outside {deaths.KILLS} times in the same round" in entry.why
    assert "no heartbeat" in entry.why
    assert len(flower.runs) == deaths.KILLS


def test_pauses_between_deaths_grow_and_progress_forgets_them(tmp_path: Path) -> None:
    killed = deaths.Death(False, "was killed")
    pauses = [deaths.count(tmp_path, killed).pause_s for _ in range(5)]
    assert pauses == [0, 2, 4, 8, 16]
    assert deaths.Deaths(kills=50).pause_s == deaths.LONGEST_PAUSE_S
    (tmp_path / "arms" / "federated").mkdir(parents=True)
    (tmp_path / "arms" / "federated" / "progress.safetensors").write_bytes(b"a round more")
    assert deaths.count(tmp_path, killed).pause_s == 0


@pytest.mark.parametrize(
    ("error", "note", "found"),
    [
        (ZeroDivisionError("a bug"), CRASH, {"lost": False, "why": "ZeroDivisionError: a bug"}),
        (httpx.ConnectError("refused"), CRASH, {"lost": True, "why": "ConnectError: refused"}),
        (PermissionError("no"), CRASH, {"lost": False, "why": "PermissionError: no"}),
        (RunError("Site b refuses."), OUTCOME, {"state": "failed", "why": "Site b refuses."}),
    ],
)
def test_whatever_ends_a_runs_process_is_in_its_log(
    home: ServerHome,
    tmp_path: Path,
    study: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    note: str,
    found: dict[str, Any],
) -> None:
    accepted(home, "a", tmp_path)
    name = begun(home, study)

    def ends(*_: object) -> None:
        raise error

    monkeypatch.setattr(deployment, "_coordinate", ends)
    with pytest.raises(type(error)):
        deployment.run(None, name, 7, home.folder)  # type: ignore[arg-type]
    assert str(error) in (home.runs / name / LOG).read_text()
    assert json.loads((home.runs / name / note).read_text()).items() >= found.items()


def test_a_run_that_breaks_the_reconciler_does_not_keep_it_from_the_others(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, _, said = kept
    broken, sound = begun(home, study), begun(home, study)
    (home.runs / broken / OUTCOME).write_text('{"neither": "state nor why"}')
    for _ in range(3):
        look.look()
    assert home.ledger.get(sound).flower_run == 100
    assert len([text for text in said if broken in text]) == 1  # said once, not at every look
    (home.runs / broken / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    look.look()
    assert home.ledger.get(broken).state is State.FAILED


def test_a_refusal_of_flowers_over_one_run_does_not_keep_the_reconciler_from_the_others(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, flower, _ = kept
    refused, sound = begun(home, study), begun(home, study)
    start = flower.start

    def starts(run: str) -> int:
        if run == refused:
            raise httpx.HTTPStatusError("500", request=httpx.Request("POST", "http://f"), response=httpx.Response(500))
        return start(run)

    monkeypatch.setattr(flower, "start", starts)
    look.look()
    assert home.ledger.get(sound).flower_run == 100


def test_figures_that_cannot_be_read_end_a_run_with_a_sentence(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, _, said = kept
    name = begun(home, study)
    (home.runs / name / OUTCOME).write_text(json.dumps({"state": "finished", "why": ""}))
    (home.runs / name / "metrics.json").write_text('{"miss')
    look.look()
    assert home.ledger.get(name).state is State.FAILED
    assert "metrics.json cannot be read" in said[-1]


@pytest.mark.parametrize(("state", "code"), [(State.FINISHED, 0), (State.PARTIAL, 3)])
def test_resuming_what_finished_says_that_it_cannot_do_anything(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, state: State, code: int
) -> None:
    name = begun(home, study)
    ledger = home.ledger
    ledger.set(name, state, "Partial: the federated model was trained without d in round 3.")
    result = normfed("server", "resume", name, "--home", home.folder)
    assert result.exit_code == code
    assert ("cannot be made up for by resuming" in result.output) == (state is State.PARTIAL)
    assert ("trained without d in round 3" in result.output) == (state is State.PARTIAL)
    assert ledger.get(name).state is state


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "gone"])
def test_a_damaged_list_of_runs_is_made_again_from_its_copy(
    home: ServerHome,
    kept: tuple[Reconciler, Flower, list[str]],
    study: Any,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    first, second = begun(home, study), begun(home, study)
    ledger = home.ledger
    ledger.running(first, 2**63 + 5)
    ledger.set(second, State.STOPPED, "by the operator")
    before = ledger.all()
    break_list(home, damage)
    assert home.ledger.all() == before
    assert "made again from its copy runs.json" in caplog.text
    assert [path.exists() for path in home.folder.glob("runs.sqlite.damaged-*")] == [True] * (damage != "gone")
    ledger.set(second, State.OPEN)  # whoever had it open goes on with the new one
    assert home.ledger.get(second).state is State.OPEN


def break_list(home: ServerHome, damage: str) -> None:
    path = home.folder / "runs.sqlite"
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    if damage == "gone":
        path.unlink()
    else:
        content = {"garbage": b"\xff" * 8192, "empty": b"", "cut": path.read_bytes()[:1500]}[damage]
        path.write_bytes(content)


def test_a_list_of_runs_without_a_copy_is_made_again_from_the_run_folders(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look, flower, _ = kept
    names = [begun(home, study) for _ in range(3)]
    look.look()
    for name, number in zip(names, flower.runs, strict=True):
        (home.runs / name / COORDINATOR).write_text(json.dumps({"pid": 1, "began": 0.0, "flower_run": number}))
    (home.runs / names[1] / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    (home.runs / names[2] / OUTCOME).write_text(json.dumps({"state": "finished", "why": ""}))
    layout.write(home.runs / names[2], run_results([{}] * 4, missing={"federated": {"d": [3]}}))
    break_list(home, "garbage")
    (home.folder / "runs.json").write_text("[{")
    ledger = home.ledger
    assert [entry.name for entry in ledger.all()] == names
    assert "made again from the run folders" in caplog.text
    look.look()  # settles the one that had finished, and stops what Flower still runs and nobody is known to want
    states = [(entry.state, entry.flower_run) for entry in ledger.all()]
    assert states == [(State.STOPPED, None), (State.FAILED, None), (State.PARTIAL, None)]
    assert ledger.get(names[1]).why == "Site b refuses."
    assert flower.stopped == [next(iter(flower.runs))]


def test_two_who_change_the_list_of_sites_at_once_lose_nothing(
    home: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads before the other writes, unless a lock keeps it from doing so."""
    made = {site: joined(home, site, tmp_path) for site in "ab"}
    at_the_same_time(
        monkeypatch,
        admission,
        [partial(admission.accept, home, s, *admission.read_key(m.public_key)) for s, m in made.items()],
    )
    assert [member.state for member in admission.members(home).values()] == ["accepted", "accepted"]


def test_nobody_waits_for_a_site_that_is_excused_or_revoked(home: ServerHome, tmp_path: Path) -> None:
    for site in "abc":
        accepted(home, site, tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    assert deployment.Excused(folder, home)() == frozenset()
    admission.revoke(home, "a")
    steering.excuse(home, folder, "b")
    assert deployment.Excused(folder, home)() == {"a", "b"}


def test_two_who_excuse_sites_at_once_lose_nothing(
    home: ServerHome, tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in "ab":
        accepted(home, site, tmp_path)
    folder = home.runs / begun(home, study)
    at_the_same_time(
        monkeypatch,
        steering,
        [partial(steering.excuse, home, folder, site) for site in "ab"],  # type: ignore[misc]
    )
    assert json.loads((folder / "excused.json").read_text()) == ["a", "b"]


def at_the_same_time(monkeypatch: pytest.MonkeyPatch, module: Any, works: list[Callable[[], None]]) -> None:
    """Let everybody who writes wait for the others to have read: who holds a lock waits in vain, and goes on."""
    everybody = threading.Barrier(len(works))
    write = module.write_json

    def writes(path: Path, value: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            everybody.wait(1.0)
        write(path, value)

    monkeypatch.setattr(module, "write_json", writes)
    with ThreadPoolExecutor(len(works)) as pool:
        for job in [pool.submit(work) for work in works]:
            job.result()


def test_a_run_that_stopped_on_something_to_mend_waits_for_the_operator(
    home: ServerHome, kept: tuple[Reconciler, Flower, list[str]], study: Any
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    (home.runs / name / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    look.look()
    assert home.ledger.get(name).state is State.FAILED
    assert said[-1] == f"{name}: stopped. Site b refuses."
    look.look()
    assert len(flower.runs) == 1
    steering.resume(home, name)
    assert not (home.runs / name / OUTCOME).exists()


def test_what_the_operator_types_is_answered_in_sentences(tmp_path: Path, home: ServerHome) -> None:
    where = ("--home", home.folder)
    for arguments, sentence in (
        (("server", "runs", "--home", tmp_path / "none"), "not a server's folder"),
        (("server", "enrol", "a b", *where), "cannot be a site's name"),
        (("server", "accept", tmp_path / "x.pub", *where), "not a site's public key"),
        (("server", "revoke", "x", *where), "No site is called x"),
        (("server", "stop", "x", *where), "No run is called x"),
        (("server", "resume", "x", *where), "No run is called x"),
        (("server", "excuse", "x", "y", *where), "No run is called x"),
        (("server", "export", "../../etc", *where), "No run is called"),
        (("server", "init", "--name", "F", "--address", "no port", "--home", tmp_path / "s"), "host:port"),
        (("site", "start", "--home", tmp_path / "none"), "not a site's folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            normfed(*arguments)
    (home.folder / "server.yaml").write_text("name: F\naddress: f:1\nmonitor_prt: 3\n")
    with pytest.raises(UserError, match="monitor_prt is not a key that this file knows"):
        open_home(home.folder)


MACHINE = {
    **dict.fromkeys(("normfed", "flwr", "torch", "python"), "1.0"),
    "study": "x",
    "cores": 4,
    "memory_gb": 8.0,
    "disk_gb": 99.0,
    "people": "10–29",
    "power_w": 180.0,
}
EVENTS: list[dict[str, Any]] = [
    {"time": 1.0, "event": "plan", "arms": [["federated", 4, ["a"]]], "sites": {}, "left_out": {}},
    {"time": 1.0, "event": "fit", "sites": {"a": MACHINE}, "needs": {}, "findings": []},
    *(
        {
            "time": 10.0 * n,
            "event": "round",
            "arm": "federated",
            "round": n,
            "rounds": 4,
            "loss": {"a": 1.0 / n},
            "seconds": 10.0,
            "outcomes": {"a": "took part"},
            "reasons": {},
            "site_seconds": {"a": 20.0},
            "megabytes": {"out": 2.0, "back": 3.0},
        }
        for n in (1, 2)
    ),
    {"time": 21.0, "event": "waiting", "arm": "federated", "round": 3, "sites": {"a": False}, "seconds": 15},
]


@pytest.fixture
def watched(home: ServerHome, tmp_path: Path, study: Any) -> tuple[ServerHome, str]:
    accepted(home, "a", tmp_path)
    admission.write_seen(home, {"a": {"id": 5, "online": True, "since": datetime.now(UTC).isoformat()}})
    name = begun(home, study)
    with open(home.runs / name / "events.jsonl", "w") as file:
        file.writelines(json.dumps(event) + "\n" for event in EVENTS)
        file.write('{"time": 22.0, "event": "rou')  # half a line: it is being written just now
    return home, name


def test_the_monitor_shows_rounds_sites_energy_and_the_end(watched: tuple[ServerHome, str]) -> None:
    home, name = watched
    state = Views(home).state()
    (run,) = state["runs"]
    assert (run["name"], run["round"], run["rounds"], run["state"]) == (name, 2, 4, "open")
    assert run["history"][-1]["energy_wh"] == pytest.approx(180 * 20 / 3600)
    assert run["ends"] == pytest.approx(20.0 + 2 * 10.0)
    assert run["waiting"] == {"a": False}
    assert [(s["name"], s["online"]) for s in state["sites"]] == [("a", True)]


def test_the_monitor_speaks_to_browsers_prometheus_and_watchdogs(watched: tuple[ServerHome, str]) -> None:
    home, name = watched
    well: list[bool] = [True]
    client = TestClient(application(home, lambda: well[0]), base_url="http://127.0.0.1:8080")
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for reference in ("page.js", "page.css", "icon.svg"):
        assert reference in page.text
        assert client.get("/" + reference).status_code == 200
    assert "http" not in page.text  # nothing from anywhere else
    lines = client.get("/metrics").text.splitlines()
    assert 'normfed_site_connected{site="a"} 1.0' in lines
    assert f'normfed_run_round{{run="{name}"}} 2.0' in lines
    assert f'normfed_round_megabytes{{run="{name}",way="back"}} 3.0' in lines
    assert client.get("/healthz").status_code == 200
    well[0] = False
    assert client.get("/healthz").status_code == 503
    for method in ("post", "put", "delete"):
        assert getattr(client, method)("/state").status_code == 405


def test_an_export_has_checksums_and_an_unfinished_run_has_none(
    watched: tuple[ServerHome, str], tmp_path: Path
) -> None:
    home, name = watched
    with pytest.raises(RunError, match="not finished"):
        exporting.export(home.runs / name, tmp_path / "out")
    (home.runs / name / "report.html").write_bytes(b"x")
    named.save(home.runs / name / "model.safetensors", {"w": np.zeros(2)})
    layout.write(home.runs / name, run_results([{"outcomes": {"a": "took part"}}]))
    paths = exporting.export(home.runs / name, tmp_path / "out")
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in paths} - {"SHA256SUMS"}
    assert sums["report.html"].startswith("2d711642b726b04401627ca9fbac32f5")
    assert json.loads((tmp_path / "out" / "participation.json").read_text())["rounds"][0]["outcomes"] == {
        "a": "took part"
    }


def test_days_left_counts_down(home: ServerHome) -> None:
    certificate = x509.load_pem_x509_certificate(home.certificate.read_bytes())
    expected = (certificate.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)
    assert certificates.days_left(home.certificate) == pytest.approx(expected, abs=0.01)


def test_a_death_by_a_signal_without_a_name_is_described() -> None:
    assert deaths._signal(9) == "signal 9 (SIGKILL)"
    assert deaths._signal(35) == "signal 35"
