"""The operator's folder, certificates, admission, ledger, keeper and door, without processes."""

from __future__ import annotations

import json
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from commands import normfed
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from normfed_client.operation import joining
from normfed_common.errors import RunError, StudyError, UserError
from normfed_common.operation import bundle, enrolment
from normfed_server.monitor.views import Views, prometheus
from normfed_server.monitor.web import application
from normfed_server.operation import admission, certificates, exporting, keeper, starting
from normfed_server.operation.control import FlowerRun
from normfed_server.operation.home import ServerConfig, ServerHome, create, open_home
from normfed_server.operation.keeper import STARTS, Keeper
from normfed_server.operation.ledger import Ledger, State
from normfed_server.operation.serving import COORDINATOR, OUTCOME
from normfed_server.operation.superlink import OPERATOR_HEADER, Door


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))


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
    with pytest.raises(UserError, match="there is something already"):
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


def test_only_who_knows_the_secret_reaches_the_operators_interface() -> None:
    async def inside(_request: object) -> PlainTextResponse:
        return PlainTextResponse("in")

    paths = ("/v1/control/start-run", "/v1/control/register-node", "/docs", "/openapi.json", "/v1/fleet/pull-messages")
    app = Starlette(routes=[Route(path, inside, methods=["GET", "POST"]) for path in paths])
    client = TestClient(Door(app, b"secret"))
    for path in paths[:4]:
        assert client.post(path).status_code == 404
        assert client.post(path, headers={OPERATOR_HEADER: "wrong"}).status_code == 404
        assert client.post(path, headers={OPERATOR_HEADER: "secret"}).text == "in"
    assert client.post("/v1/fleet/pull-messages").text == "in"  # guarded by Flower itself, with sites' keys
    assert client.post("/v1/fleet/../control/start-run").status_code == 404


class Flower:
    """A SuperLink's operator interface in memory."""

    def __init__(self) -> None:
        self.registered: dict[bytes, SimpleNamespace] = {}
        self.runs: dict[int, FlowerRun] = {}
        self.stopped: list[int] = []

    def nodes(self) -> dict[bytes, Any]:
        return self.registered

    def register(self, site: str, key: str) -> int:
        from normfed_server.operation.control import key_bytes

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
def kept(home: ServerHome, tmp_path: Path) -> tuple[Keeper, Flower, list[str]]:
    said: list[str] = []
    flower = Flower()
    accepted(home, "a", tmp_path)
    return Keeper(home, lambda: flower, said.append), flower, said  # type: ignore[arg-type, return-value]


def begun(home: ServerHome, study: Any) -> str:
    return starting.begin(home, study, canary=True, without=())


def test_a_study_that_names_a_site_that_no_member_is_does_not_begin(
    home: ServerHome, kept: tuple[Keeper, Flower, list[str]], study: Any
) -> None:
    """The site that was to be held out would train; of people only the hospitals know, and are not asked."""
    held_out = study.model_copy(update={"data": study.data.model_copy(update={"out_of_sample": ("aa",)})})
    with pytest.raises(StudyError, match=r"data\.out_of_sample: no site is called aa .*Did you mean a\?"):
        begun(home, held_out)
    assert not home.runs.exists() or not list(home.runs.iterdir())
    excluded = study.data.model_copy(update={"out_of_sample": ("a",), "exclude": {"sub-nobody": "moved"}})
    assert begun(home, study.model_copy(update={"data": excluded}))


def test_sites_are_admitted_and_shut_out_as_the_operator_says(
    home: ServerHome, kept: tuple[Keeper, Flower, list[str]]
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


def test_an_open_run_is_started_again_whatever_died(
    home: ServerHome, kept: tuple[Keeper, Flower, list[str]], study: Any
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    assert Ledger(home.folder / "runs.sqlite").get(name).flower_run == 100
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


def test_a_run_that_gets_no_further_is_given_up_with_a_sentence(
    home: ServerHome, kept: tuple[Keeper, Flower, list[str]], study: Any
) -> None:
    look, flower, _ = kept
    name = begun(home, study)
    for _ in range(3 * STARTS):
        look.look()
        flower.runs = {number: FlowerRun("finished", "") for number in flower.runs}
    entry = Ledger(home.folder / "runs.sqlite").get(name)
    assert entry.state is State.FAILED
    assert f"died {STARTS} times in the same round" in entry.why
    assert len(flower.runs) == STARTS
    keeper.resume(home, name)
    look.look()
    assert len(flower.runs) == STARTS + 1


def test_a_run_that_stopped_on_something_to_mend_waits_for_the_operator(
    home: ServerHome, kept: tuple[Keeper, Flower, list[str]], study: Any
) -> None:
    look, flower, said = kept
    name = begun(home, study)
    look.look()
    (home.runs / name / OUTCOME).write_text(json.dumps({"state": "failed", "why": "Site b refuses."}))
    look.look()
    assert Ledger(home.folder / "runs.sqlite").get(name).state is State.FAILED
    assert said[-1] == f"{name}: stopped. Site b refuses."
    look.look()
    assert len(flower.runs) == 1
    keeper.resume(home, name)
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


EVENTS: list[dict[str, Any]] = [
    {"time": 1.0, "event": "plan", "arms": [["federated", 4, ["a"]]], "sites": {"a": {}}, "left_out": {}},
    {"time": 1.0, "event": "fit", "sites": {"a": {"power_w": 180.0}}, "needs": {}, "findings": []},
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
    client = TestClient(application(home, lambda: well[0]))
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for reference in ("page.js", "page.css", "icon.svg"):
        assert reference in page.text
        assert client.get("/" + reference).status_code == 200
    assert "http" not in page.text  # nothing from anywhere else
    lines = client.get("/metrics").text.splitlines()
    assert 'normfed_site_connected{site="a"} 1' in lines
    assert f'normfed_run_round{{run="{name}"}} 2' in lines
    assert f'normfed_round_megabytes{{run="{name}",way="back"}} 3' in lines
    assert client.get("/healthz").status_code == 200
    well[0] = False
    assert client.get("/healthz").status_code == 503
    for method in ("post", "put", "delete"):
        assert getattr(client, method)("/state").status_code == 405


def test_metrics_are_what_prometheus_own_parser_reads(watched: tuple[ServerHome, str]) -> None:
    text = prometheus(Views(watched[0]).state())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["normfed_site_loss"].samples[0].value == 0.5


def test_an_export_has_checksums_and_an_unfinished_run_has_none(
    watched: tuple[ServerHome, str], tmp_path: Path
) -> None:
    home, name = watched
    with pytest.raises(RunError, match="not finished"):
        exporting.export(home.runs / name, tmp_path / "out")
    for file in ("model.safetensors", "report.html"):
        (home.runs / name / file).write_bytes(b"x")
    (home.runs / name / "metrics.json").write_text(json.dumps({"sites": [], "missing": {}, "rounds": [EVENTS[2]]}))
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
