"""What a hospital's people read when the node cannot connect."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from normfed_client.operation import station
from normfed_client.operation.checking import Finding
from normfed_client.operation.home import Hospital, HospitalConfig
from normfed_client.operation.standing import standing
from normfed_common.operation.processes import only_one


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
    monkeypatch.setattr("normfed_client.operation.checking.link", lambda _: iter([finding]))
    ended = "node: ended (exit code 1); starting again in 2 s."
    heard = said(hospital, [ended, ended, "runner: ended (exit code 1); starting again in 2 s."], 4)
    explanation = "clock: 3600 s ahead of the server's. Set this machine's clock (NTP)."
    assert heard.count(explanation) == 1
    assert len(heard) == 4


def test_a_site_that_is_not_let_in_is_told_why(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfed_client.operation.checking.link", lambda _: iter([Finding(0, "link", "answers")]))
    heard = said(hospital, ["node: ended (exit code 1); starting again in 2 s."], 2)
    assert "has not accepted the key yet" in heard[1]


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("", "calling the server"),
        ("SuperNode ID: 5\nReceiving: train.round", "at work"),
        ("SuperNode ID: 5\nReceiving: x\nSending: x\nSent successfully", "connected; the last answer was sent"),
        ("SuperNode ID: 5\nFailed to send message", "an answer could not be sent; it waits in the outbox"),
        ("SSL/TLS handshake error detected.", "run normfed site check"),
    ],
)
def test_a_status_says_what_the_node_does(hospital: Hospital, log: str, sentence: str) -> None:
    (hospital.log / "node.log").write_text(log)
    assert not standing(hospital).running
    with only_one(hospital.log, "it"):
        assert sentence in standing(hospital).sentence
