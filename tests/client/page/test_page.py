"""The hospital's own page: who gets in, what a hostile server writes there, and that what is approved was shown."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import audited
import pytest
import yaml
from starlette.testclient import TestClient

from normfed_client.consent import deciding
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import Manifest
from normfed_client.hospital.folder import Hospital, HospitalConfig, open_hospital
from normfed_client.page import door, views, web
from normfed_client.page.door import Session
from normfed_client.recording.audit import Audit
from normfed_common.chain.kinds.shared import Asked, Started
from normfed_common.chain.kinds.site import Answered, Asker, Decided, LookDecided, Refused, Sent
from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig

PORT = 4711
HERE = f"http://127.0.0.1:{PORT}"
HOSTILE = "<script>alert(1)</script>\u202egnp.exe \u2066x\u2069 'quoted\" &amp; {{ 7 * 7 }} \x1b[2J"
DIGEST = "ab" * 32
ASKER = Asker(server="fed.example.org:8000", authority=" ".join(["ABCD"] * 8))


@dataclass
class Status:
    running: bool = True
    well: bool = True
    sentence: str = "connected"
    last: list[str] = field(default_factory=lambda: ["<b>answered in</b> 3 s"])


def study(**changes: Any) -> StudyConfig:
    asked = {"name": "asked", "data": {"modalities": ["T1w"]}, "model": "atlas", "comparisons": {"baselines": []}}
    return resolve(asked | changes, "test")


@lru_cache(maxsize=1)
def worked_out() -> dict[str, Any]:
    config = HospitalConfig(site="north", server=ASKER.server, data=Path("data"))
    return manifest_of(Hospital(Path(), config), study()).model_dump()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would leave is worked out once: of a study of another name, and another minimum, all else is the same."""

    def found(hospital: Hospital, of: StudyConfig) -> Manifest:
        other = {"study": of.name, "study_digest": of.digest, "minimum": hospital.config.minimum_people}
        return Manifest.model_validate(worked_out() | other)

    for module in (deciding, views):
        monkeypatch.setattr(module, "manifest_of", found)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """It has a key, a study that waits, and a budget; its dataset is not there."""
    audited.furnish(tmp_path)
    rules(tmp_path, site="north", server=ASKER.server, data="data", epsilon_per_year=4)
    Approvals(tmp_path).note(study(description=HOSTILE), "run-1")
    return open_hospital(tmp_path)


def rules(folder: Path, **values: Any) -> None:
    path = folder / "site.yaml"
    before = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.write_text(yaml.safe_dump(before | values))


def stranger(hospital: Hospital, session: Session, base: str = HERE) -> TestClient:
    """A browser that has no cookie yet."""
    app = web.application(hospital.folder, lambda _: Status(), session)
    return TestClient(app, base_url=base + session.base, follow_redirects=False)


@pytest.fixture
def session() -> Session:
    return Session(PORT)


@pytest.fixture
def browser(hospital: Hospital, session: Session) -> TestClient:
    """One that was let in."""
    found = stranger(hospital, session)
    assert found.get(f"{HERE}/?token={session.token}").status_code == 303
    return found


@pytest.fixture
def address(hospital: Hospital) -> str:
    (digest,) = Approvals(hospital.folder).studies.digests()
    return f"/studies/{digest}"


Send = Callable[..., Any]


@pytest.fixture
def send(browser: TestClient, address: str) -> Send:
    """Fill the form as it was shown and send it."""

    def filled(button: str, page: str = "", origin: str = HERE, **changes: str) -> Any:
        page = page or browser.get(address).text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w|[\w-]*)">', page))
        assert fields.keys() == {"form", "manifest", "decisions"}
        values = fields | {"by": "Dr. A", "until": "", "why": "", "verdict": button} | changes
        return browser.post(address, data=values, headers={"Origin": origin} if origin else {})

    return filled


def decided(hospital: Hospital) -> list[str]:
    return [one.verdict for one in Approvals(hospital.folder).decisions()]


def test_only_the_first_browser_with_the_address_comes_in(hospital: Hospital, session: Session, address: str) -> None:
    browser, token = stranger(hospital, session), session.token
    for path in (
        "/",
        "/?token=",
        "/?token=wrong",
        "/sent",
        "/audit.jsonl",
        "/page.css",
        address,
        f"/sent?token={token}",
        f"/?token={token}",
        f"{HERE}/sent?token={token}",
    ):
        answer = browser.get(path)
        assert (answer.status_code, answer.text) == (401, door.WITHOUT), path
    assert browser.post(f"{HERE}/?token={token}").status_code == 401
    answer = browser.get(f"{HERE}/?token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{session.base}/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert str(token) not in cookie
    assert browser.get("/").status_code == 200
    assert stranger(hospital, session).get(f"{HERE}/?token={token}").status_code == 401
    assert browser.get("/", headers={"Cookie": f"{session.cookie_name}=x"}).status_code == 401


def test_what_another_user_serves_on_this_machine_is_not_sent_the_cookie(browser: TestClient, session: Session) -> None:
    """Browsers tell no ports apart: the cookie goes to whatever listens there, but for its path."""
    for port in (PORT, PORT + 1, 80):
        for path in ("/", "/sent", f"/{session.base[1:5]}", session.base.upper()):
            request = browser.build_request("GET", f"http://127.0.0.1:{port}{path}")
            assert "cookie" not in request.headers
    assert "cookie" in browser.build_request("GET", f"{HERE}{session.base}/sent").headers
    stolen = {"Cookie": f"{session.cookie_name}={session.cookie}"}
    for path in ("/", "/sent", "/page.css", "/audit.jsonl"):
        assert browser.get(f"{HERE}{path}", headers=stolen).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.evil:{PORT}", ""]
)
def test_a_name_that_was_made_to_point_here_gets_nothing(browser: TestClient, session: Session, host: str) -> None:
    for path in ("/", "/sent", f"/?token={session.token}"):
        answer = browser.get(path, headers={"Host": host})
        assert (answer.status_code, answer.text) == (421, door.UNKNOWN)
    for known in ("localhost", "127.0.0.1", "[::1]"):
        assert browser.get("/page.css", headers={"Host": f"{known}:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/sent", "/nothing", "/?token=x", "/studies/x", "/studies/../site.key", "/page.js"]
)
def test_whatever_is_answered_loads_nothing_from_elsewhere_and_is_kept_nowhere(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert {name: answer.headers[name] for name in door.HEADERS} == door.HEADERS
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href|action)=\"(?!/|#)|style=|<script>|\son\w+=|https?://", answer.text)


def test_what_a_hostile_server_wrote_is_text_and_can_be_seen(browser: TestClient, address: str) -> None:
    for path in ("/", address, f"{address}/sheet"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert not set(page) & {"\u202e", "\u2066", "\u2069", "\x1b"}
    page = browser.get(address).text
    assert html.escape(HOSTILE.partition("\u202e")[0]) in page
    assert r"\u202egnp.exe" in page
    assert "{{ 7 * 7 }}" in page
    assert "\\x1b[2J" in page
    assert "&lt;b&gt;answered in&lt;/b&gt;" in browser.get("/").text


def test_a_description_of_a_book_is_folded(hospital: Hospital, browser: TestClient) -> None:
    of = study(description="word " * 30_000)
    Approvals(hospital.folder).note(of, "run-2")
    assert len(browser.get("/").text) < 20_000
    page = browser.get(f"/studies/{of.digest}").text
    shown, _, folded = page.partition("<details>")
    assert len(shown) < 5_000
    assert "150,000 characters" in folded


def test_approving_binds_to_what_was_shown(
    hospital: Hospital, browser: TestClient, send: Send, session: Session, address: str
) -> None:
    assert "1 study waits for a person here" in browser.get("/").text
    answer = send("approve", by=" Dr. A ", until="2099-01-31", why="as agreed", runs="3")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{session.base}{address}#how")
    (made,) = Approvals(hospital.folder).decisions()
    assert (made.verdict, made.by, str(made.until), made.why) == ("approved", "Dr. A", "2099-01-31", "as agreed")
    assert made.runs == 3
    assert "for 3 runs, of which 0 began" in browser.get(address).text
    page = browser.get(address).text
    assert f"list {made.manifest} (as above)" in page
    assert "was approved on" in page
    records = [record.content for record in Audit(hospital).entries()]
    assert records[-1] == Decided(decision="approved", study=made.study, manifest=made.manifest, by="Dr. A")
    assert "No study waits" in browser.get("/").text
    assert send("refuse", why="no").status_code == send("take back").status_code == 303
    assert decided(hospital) == ["approved", "refused", "taken back"]


def test_what_is_another_list_by_now_is_not_approved_but_shown(
    hospital: Hospital, browser: TestClient, send: Send, address: str
) -> None:
    before = browser.get(address).text
    rules(hospital.folder, minimum_people=37)
    answer = send("approve", page=before, why="typed <b>already")
    assert answer.status_code == 409
    assert "another list by now" in answer.text
    assert "<b>37</b> people" in answer.text
    assert "typed &lt;b&gt;already</textarea>" in answer.text
    assert decided(hospital) == []
    assert not Audit(hospital).files()
    assert not (hospital.folder / "manifests").exists()
    assert send("approve", page=answer.text).status_code == 303  # what is shown now
    assert send("approve", manifest="").status_code == 409


def test_who_approves_what_another_refused_meanwhile_is_told(
    hospital: Hospital, browser: TestClient, send: Send, address: str
) -> None:
    before = browser.get(address).text
    deciding.decide(hospital, study(description=HOSTILE), "refused", "Dr. B", why="not with us")
    answer = send("approve", page=before)
    assert answer.status_code == 409
    assert "Somebody else decided" in answer.text
    assert "not with us" in answer.text
    assert send("refuse", page=before).status_code == 303  # who lets nothing in need not have seen it
    assert decided(hospital) == ["refused", "refused"]


def test_of_many_who_approve_at_once_one_does(
    hospital: Hospital, send: Send, browser: TestClient, address: str
) -> None:
    page = browser.get(address).text
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(send("approve", page=page).status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [303, 409, 409, 409]
    assert decided(hospital) == ["approved"]
    assert [r.content.kind for r in Audit(hospital).entries()].count("decided") == 1


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", f"https://127.0.0.1:{PORT}", f"http://localhost:{PORT}"]
)
def test_a_form_from_elsewhere_decides_nothing(hospital: Hospital, send: Send, origin: str) -> None:
    assert send("approve", origin=origin).status_code == 403
    assert decided(hospital) == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"form": ""}, 403),
        ({"form": "é" * 20}, 403),
        ({"verdict": "approved"}, 400),
        ({"by": " "}, 422),
        ({"by": "x" * 201}, 422),
        ({"by": "a\nb"}, 422),
        ({"why": "x" * 1001}, 422),
        ({"why": "x" * 30_000}, 413),
        ({"until": "2020-01-01"}, 422),
        ({"until": "tomorrow"}, 422),
        ({"decisions": "9" * 5000}, 409),
        ({f"field{n}": "" for n in range(20)}, 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_form_that_was_not_filled_in_decides_nothing(
    hospital: Hospital, send: Send, changes: dict[str, str], status: int
) -> None:
    assert send("approve", **changes).status_code == status
    assert decided(hospital) == []


def test_a_study_that_cannot_be_worked_out_can_be_refused_and_not_approved(
    hospital: Hospital, browser: TestClient, send: Send, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("normfed_client.page.views.manifest_of", broken)
    page = browser.get(address).text
    assert "ZeroDivisionError" in page
    assert 'value="approve"' not in page
    assert send("refuse", page=page).status_code == 303
    assert decided(hospital) == ["refused"]


def test_what_was_sent_is_told_newest_first_and_names_nobody(hospital: Hospital, browser: TestClient) -> None:
    asked = Asked(study="ab" * 16, run="run-1", task="train.round", arm="federated", turn=3)
    array = Sent(name="encoder/weight", dtype="float32", shape=(3,), bytes=12, sha256=DIGEST)
    answered = Answered(
        by=ASKER, asked=asked, people="20-49", epsilon=0.25, kept=False, arrays=(array,), bytes=12, content=DIGEST
    )
    audit = Audit(hospital)
    for _ in range(60):
        audit.append(answered)
    audit.append(Refused(by=ASKER, asked=asked, code=SiteCode.AWAITS_APPROVAL))
    audit.append(LookDecided(decision="exclude", by="Dr. A"))
    first = browser.get("/sent").text
    numbers = [int(number) for number in re.findall(r", record (\d+)<", first)]
    assert numbers == list(range(63, 13, -1))
    assert f"{html.escape(SiteCode.AWAITS_APPROVAL.sentence)} (code 250)" in first
    for word in (
        "training of federated, turn 3",
        "12 B",
        "20-49",
        "0.25",
        "1: encoder/weight",
        "verified up to record 63",
    ):
        assert word in first, word
    older = html.unescape(re.findall(r'href="([^"]*end=[^"]*)">older', first)[0])
    rest = browser.get(HERE + older).text
    assert [int(number) for number in re.findall(r", record (\d+)<", rest)] == list(range(13, 0, -1))
    assert "older" not in rest.partition('aria-label="Older')[2].partition(">")[2]
    refused = browser.get("/sent?show=refused").text
    assert re.findall(r", record (\d+)<", refused) == ["62"]
    assert "sub-" not in first + rest + refused
    assert "run-1" in browser.get("/").text
    assert "under way" in browser.get("/").text
    answer = browser.get("/audit.jsonl")
    assert answer.content == b"".join(audit.chain.lines())
    assert "north-audit-" in answer.headers["content-disposition"]
    for wrong in ("/sent?show=x", "/sent?end=-1", "/sent?end=x"):
        assert browser.get(wrong).status_code == 404


def test_an_audit_that_was_edited_is_loud(hospital: Hospital, browser: TestClient) -> None:
    for _ in range(2):
        Audit(hospital).append(Started(version="1"))
    assert "whole: verified up to record 3" in browser.get("/").text
    path = hospital.folder / "audit.jsonl"
    path.write_text(path.read_text().replace('"version":"1"', '"version":"2"', 1))
    for page in ("/", "/sent"):
        assert "not what was written" in browser.get(page).text


def test_what_cannot_be_read_is_a_sentence(hospital: Hospital, browser: TestClient, address: str) -> None:
    (hospital.folder / "decisions.json").write_text("{}")
    (hospital.folder / "site.key").unlink()
    page = browser.get("/").text
    assert "nothing is approved" in page or "waits: " in page
    assert "cannot be read" in page
    assert "4 left" in page
    assert 'value="approve"' not in browser.get(address).text
    assert browser.get(f"/studies/{'0' * 32}").status_code == 500
    rules(hospital.folder, epsilon_per_year="much")
    answer = browser.get("/")
    assert answer.status_code == 500
    assert "epsilon_per_year" in answer.text


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.168.1.2", "hospital.example", "127.0.0.2", ""])
def test_no_other_machine_is_ever_listened_to(listen: str) -> None:
    with pytest.raises(UserError, match="other machines could reach"):
        web.loopback(listen)
    assert [web.loopback(name) for name in ("localhost", "127.0.0.1", "::1", "[::1]")] == ["127.0.0.1"] * 2 + [
        "::1"
    ] * 2
