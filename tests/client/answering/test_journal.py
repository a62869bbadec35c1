"""A hospital's own log: a line per request, and of a refusal what the server is not told."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from jobs import STUDY, job

from normfed_client.answering.journal import LOG, Journal
from normfed_client.hospital.rules import Rules
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.requests import Describe, Sums, TrainRound

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


def lines(folder: Path) -> list[str]:
    """What was written, without the moments."""
    found = (folder / LOG).read_text().splitlines()
    assert all(re.match(MOMENT, line) for line in found)
    return [line.partition(" ")[2] for line in found]


def test_every_request_has_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new")
    journal.answered(job(tmp_path, TrainRound(round=2)), 1.25)
    journal.answered(job(tmp_path, Sums(phase="moments"), arm="atlas"), 0.04)
    journal.repeated(job(tmp_path, TrainRound(round=2)).request)
    journal.damaged("train.round", "x.safetensors: damaged")
    assert lines(tmp_path / "new") == [
        "train.round federated round 2: worked 1.2 s",
        "train.sums atlas: worked 0.0 s",
        "train.round federated round 2: answered from the outbox",
        "train.round: x.safetensors: damaged",
    ]


def scan(person: str) -> SimpleNamespace:
    visit = SimpleNamespace(participant=SimpleNamespace(subject=person), name=person)
    return SimpleNamespace(visit=visit, kind="MS")


def test_the_first_line_of_a_study_says_what_it_is_and_how_many_take_part(tmp_path: Path) -> None:
    asked = job(tmp_path, Describe())
    people = {"train": [scan("sub-1"), scan("sub-1"), scan("sub-2")], "held_out": [], "test": [scan("sub-3")]}
    custody = SimpleNamespace(waiting={"train": 4, "test": 0}, rules=Rules(exclude=("sub-9",)))
    asked.__dict__["site"] = SimpleNamespace(study=STUDY, custody=custody, **people)
    Journal(tmp_path).answered(asked, 0.5)
    (line,) = lines(tmp_path)
    assert line.startswith(f"query.describe federated: worked 0.5 s; study asked ({STUDY.digest}), model siamese, ")
    for part in (
        "strategy fedprox, 3 rounds of 1 epochs, seed ",
        "; take part: 2 train, 0 held out, 1 test; wait: 4 train; limits of site.yaml: {",
        '"minimum_people":10',
    ):
        assert part in line
    assert "sub-" not in line


@pytest.mark.parametrize("code", [SiteCode.TOO_MUCH_ASKED, SiteCode.INTERNAL])
def test_a_refusal_is_written_with_its_detail_and_our_own_fault_with_the_whole_story(
    tmp_path: Path, code: SiteCode
) -> None:
    try:
        raise SiteError(code, "sub-07 is not readable")
    except SiteError as error:
        Journal(tmp_path).refused("train.round", code, error)
    text = (tmp_path / LOG).read_text()
    assert f" train.round {code.name} ({int(code)}): sub-07 is not readable\n" in text
    assert ("Traceback" in text) is (code is SiteCode.INTERNAL)


def test_of_an_exception_of_a_plug_in_the_first_line_says_what_and_where(tmp_path: Path) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    for error in (KeyError("patches"), Broken()):
        try:
            raise error
        except Exception as caught:  # noqa: BLE001
            Journal(tmp_path).refused("train.round", SiteCode.INTERNAL, caught)
    first, second = (line for line in (tmp_path / LOG).read_text().splitlines() if re.match(MOMENT, line))
    assert re.search(r" train\.round INTERNAL \(200\): KeyError: 'patches'; .*test_journal\.py:\d+$", first)
    assert "Broken, which has no text" in second


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Journal(tmp_path / "file").damaged("train.round", "x")
    Journal(None).damaged("train.round", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_text_of_a_server_makes_a_line_of_its_own(tmp_path: Path) -> None:
    """Once a key of a study with a line break in it was a line, of whatever the server wanted to be read there."""
    forged = "2026-01-01T00:00:00+00:00 query.describe federated: worked 1.0 s"
    for code in (SiteCode.STUDY_REFUSED, SiteCode.INTERNAL):
        Journal(tmp_path).refused("query.describe", code, SiteError(code, f"evil\n{forged}\x1b[2J\r is no key"))
    text = (tmp_path / LOG).read_text()
    assert [line.split()[2] for line in text.splitlines() if re.match(MOMENT, line)] == ["STUDY_REFUSED", "INTERNAL"]
    assert not {"\x1b", "\r"} & set(text)
