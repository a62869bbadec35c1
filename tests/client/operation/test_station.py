"""What a hospital's people read when the node cannot connect."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import normfed

from normfed_client.hospital.folder import Hospital, HospitalConfig, open_hospital
from normfed_client.operation import services as station
from normfed_client.operation.link import Finding
from normfed_client.operation.status import status
from normfed_common.deployment import settings
from normfed_common.foundation.errors import UserError
from normfed_common.processes.supervision import Service, Supervisor, only_one


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    (tmp_path / "log").mkdir()
    return Hospital(tmp_path, HospitalConfig(site="a", server="fed.example.org:8000", data=tmp_path))


def said(hospital: Hospital, texts: list[str], count: int) -> list[str]:
    heard: list[str] = []
    explained = station.Explained(hospital, heard.append)
    for text in texts:
        explained(text)
        time.sleep(0.05)
    deadline = time.monotonic() + 120
    while len(heard) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return heard


def test_a_node_that_ends_is_explained_once(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding(2, "clock", "3600 s ahead of the server's", "Set this machine's clock (NTP).")
    monkeypatch.setattr("normfed_client.operation.link.link", lambda _: iter([finding]))
    ended = "node: ended (exit code 1); starting again in 2 s."
    heard = said(hospital, [ended, ended, "runner: ended (exit code 1); starting again in 2 s."], 4)
    explanation = "clock: 3600 s ahead of the server's. Set this machine's clock (NTP)."
    assert heard.count(explanation) == 1
    assert len(heard) == 4


def test_a_site_that_is_not_let_in_is_told_why(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfed_client.operation.link.link", lambda _: iter([Finding(0, "link", "answers")]))
    heard = said(hospital, ["node: ended (exit code 1); starting again in 2 s."], 2)
    assert "has not accepted the key yet" in heard[1]
    assert "a copy of this site's folder that runs elsewhere" in heard[1]


def test_a_connection_is_said_once_per_change(hospital: Hospital) -> None:
    heard: list[str] = []
    explained = station.Explained(hospital, heard.append)
    failed = "WARNING: Connection attempt failed, retrying in 1.00 seconds"
    for line in (
        *("Starting Flower SuperNode", failed, failed, "INFO: Connection successful after 2.00 seconds and 3 tries."),
        *("INFO: SuperNode ID: 5", "INFO: Receiving: train.round", failed, failed),
        "INFO: Connection successful after 9.00 seconds and 4 tries.",
    ):
        explained.heard(line)
    assert heard == [
        "fed.example.org:8000 does not answer; trying again.",
        "connected to fed.example.org:8000.",
        "the connection to fed.example.org:8000 is lost; trying again.",
        "connected to fed.example.org:8000 again.",
    ]


def test_a_node_that_died_and_came_back_is_said_to_be_connected_again(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normfed_client.operation.link.link", lambda _: iter([]))
    heard: list[str] = []
    explained = station.Explained(hospital, heard.append)
    explained.heard("INFO: SuperNode ID: 5")
    explained("node: ended (killed by signal 9); starting again in 2 s.")
    explained.heard("INFO: SuperNode ID: 5")
    assert [text for text in heard if "connected to" in text] == [
        "connected to fed.example.org:8000.",
        "connected to fed.example.org:8000 again.",
    ]


def test_what_a_process_says_reaches_whoever_listens(tmp_path: Path) -> None:
    heard: list[str] = []
    stop = threading.Event()

    def listen(line: str) -> None:
        heard.append(line)
        stop.set()

    speaker = Service("s", (sys.executable, "-c", "print('hello')"), heard=listen)
    Supervisor([speaker], tmp_path, lambda _: None).run(stop)
    assert heard[0] == "hello"


DIGEST = "0123456789abcdef" * 4
FINDINGS = [
    Finding(0, "key", f"/a/very/long/path/{'x' * 90}/site.key, for its owner only"),
    Finding(1, "versions", "normfed 1", "If the operator announced this version, add to `bundles`:", DIGEST),
    Finding(2, "certificate", "not [valid] " + "words " * 30, "Run: normfed server accept a.pub"),
]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_check_cuts_nothing_that_is_to_be_pasted_at_any_width(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    settings.write(hospital.folder / "site.yaml", hospital.config)
    monkeypatch.setattr("normfed_client.operation.checking.examine", lambda *_, **__: iter(FINDINGS))
    monkeypatch.setenv("COLUMNS", str(columns))
    result = normfed("site", "check", "--home", hospital.folder)
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert DIGEST in lines  # alone on its line
    assert f"/a/very/long/path/{'x' * 90}/site.key," in result.output
    assert "[valid]" in result.output
    assert all(len(line) <= columns for line in lines if "xxx" not in line and line != DIGEST)


COMMENTED = """\
# our hospital
site: a
server: 'old.example.org:8000'  # as the operator wrote on 3 May
data: /data
ca: ca.crt
# asked for by IT
keep_days: 7
"""


def moved(hospital: Hospital, monkeypatch: pytest.MonkeyPatch, finding: Finding, address: str) -> str:
    path = hospital.folder / "site.yaml"
    path.write_text(COMMENTED)
    monkeypatch.setattr("normfed_client.operation.moving.link", lambda _: iter([finding]))
    with contextlib.suppress(UserError):
        normfed("site", "move", address, "--home", hospital.folder)
    return path.read_text()


@pytest.mark.parametrize("address", ["new.example.org:9000", "[2001:db8::1]:8000", "192.0.2.7:443"])
def test_a_site_moves_to_another_address_and_its_file_stays_as_it_was(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    text = moved(hospital, monkeypatch, Finding(0, "link", "answers"), address)
    assert open_hospital(hospital.folder).config.server == address
    assert text.replace(f'"{address}"', "'old.example.org:8000'") == COMMENTED


@pytest.mark.parametrize("address", ["new.example.org", "https://new.example.org:9000", "a:1: b", "new:8000\nx: 1"])
def test_a_site_does_not_move_to_what_is_no_address(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert moved(hospital, monkeypatch, Finding(0, "link", "answers"), address) == COMMENTED


def test_a_site_does_not_move_to_a_server_that_is_not_the_federations_nor_while_it_runs(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = Finding(2, "certificate", "was issued by somebody else", "Ask.")
    assert moved(hospital, monkeypatch, strange, "new.example.org:9000") == COMMENTED
    with only_one(hospital.log, "it"):
        assert moved(hospital, monkeypatch, Finding(0, "link", "answers"), "new.example.org:9000") == COMMENTED


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("", "calling the server"),
        ("SuperNode ID: 5\nReceiving: train.round", "at work"),
        ("SuperNode ID: 5\nReceiving: x\nSending: x\nSent successfully", "connected; the last answer was sent"),
        ("SuperNode ID: 5\nFailed to send message", "an answer could not be sent; it waits in the outbox"),
        ("SSL/TLS handshake error detected.\nExit Code: 305", "run normfed site check"),
        ("Sent successfully\nExit Code: 305\n[code: 2004] Failed to activate SuperNode.", "of a copy of this folder"),
        ("Sent successfully\nStarting gRPC health server on 127.0.0.1:1", "calling the server"),
    ],
)
def test_a_status_says_what_the_node_does(hospital: Hospital, log: str, sentence: str) -> None:
    (hospital.log / "node.log").write_text(log)
    assert not status(hospital).running
    with only_one(hospital.log, "it"):
        assert sentence in status(hospital).sentence
        assert status(hospital).well == ("site check" not in sentence and "copy" not in sentence)
