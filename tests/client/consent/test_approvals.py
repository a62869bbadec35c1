"""What was asked of a hospital, and what its people decided: bounded, append-only, whole or nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from normfed_client.consent import approvals, asked
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.decisions import Decision
from normfed_client.recording import audit
from normfed_common.chain import files, keys
from normfed_common.chain.files import Chain
from normfed_common.chain.kinds.site import Decided
from normfed_common.foundation import digests
from normfed_common.foundation.errors import UserError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig

RULES = "a" * 32


def study(**changes: Any) -> StudyConfig:
    return resolve({"name": "asked", "data": {"modalities": ["T1w"]}, "model": "atlas", **changes}, "test")


def decision(of: StudyConfig, verdict: str = "approved", by: str = "Dr. A", **more: Any) -> Decision:
    return Decision(study=of.digest, name=of.name, rules=RULES, verdict=verdict, by=by, at="2026-11-27", **more)  # type: ignore[arg-type]


def test_a_study_is_kept_once_and_read_back_whole_for_its_owner_only(tmp_path: Path) -> None:
    found, of = Approvals(tmp_path), study(description="with: a colon, 'quotes' and\nlines")
    assert found.note(of, "run-1") == found.note(of, "run-2") == ""
    (kept,) = found.asked()
    assert (kept.name, kept.run, kept.digest, kept.config()) == ("asked", "run-1", of.digest, of)
    (path,) = (tmp_path / "asked").iterdir()
    assert path.name == f"{of.digest}.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_that_asks_for_a_thousand_studies_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "MOST_WAITING", 3)
    found, studies = Approvals(tmp_path), [study(seed=seed) for seed in range(6)]
    told = [found.note(of, "run") for of in studies]
    assert told[:3] == [""] * 3
    assert all("3 studies wait already" in why for why in told[3:])
    assert len(list((tmp_path / "asked").iterdir())) == 3
    found.decide(decision(studies[0], "refused"))  # one less waits
    assert found.note(studies[3], "run") == ""


def test_a_study_too_large_or_too_deep_to_be_shown_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Approvals(tmp_path)
    deep: Any = {}
    for _ in range(30):
        deep = {"a": deep}
    for of in (
        study(description="x" * asked.LARGEST_BYTES),
        study().model_copy(update={"model": {"name": "atlas", "b": deep}}),
    ):
        assert found.note(of, "run") == "it is too large to be shown"
    assert found.asked() == []


def test_a_file_that_holds_another_study_than_its_name_says_is_none(tmp_path: Path) -> None:
    found = Approvals(tmp_path)
    found.note(study(), "run")
    (path,) = (tmp_path / "asked").iterdir()
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    assert found.asked() == []
    with pytest.raises(UserError, match="another study"):
        found.studies.read(study().digest)


def test_the_last_decision_counts_and_none_is_ever_lost(tmp_path: Path) -> None:
    found = Approvals(tmp_path)
    made = [decision(study(), verdict) for verdict in ("approved", "refused", "approved", "taken back")]
    for one in made:
        found.decide(one)
        assert found.decision(study().digest) == one
    assert list(found.decisions()) == made
    assert found.decision(study(seed=1).digest) is None
    assert stat.S_IMODE((tmp_path / approvals.FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"refused"', '"approved"'),
        lambda text: text.replace("Dr. A", "Dr. B"),
        lambda text: json.dumps({**json.loads(text), "decisions": json.loads(text)["decisions"][:1]}),  # one cut off
        lambda text: json.dumps({**json.loads(text), "decisions": json.loads(text)["decisions"][::-1]}),
        lambda text: json.dumps({**json.loads(text), "more": 1}),
        lambda text: "[]",
    ],
)
def test_a_damaged_file_approves_nothing_and_is_not_written_over(tmp_path: Path, damage: Any) -> None:
    found, path = Approvals(tmp_path), tmp_path / approvals.FILE
    found.decide(decision(study()))
    found.decide(decision(study(), "refused"))
    path.write_text(damage(path.read_text()))
    before = path.read_text()
    for look in (lambda: found.decision(study().digest), lambda: found.decide(decision(study()))):
        with pytest.raises(UserError, match=r"decisions\.json: damaged .*, so that nothing is approved\."):
            look()
    assert path.read_text() == before


def test_a_file_that_others_may_write_approves_nothing(tmp_path: Path) -> None:
    found = Approvals(tmp_path)
    found.decide(decision(study()))
    (tmp_path / approvals.FILE).chmod(0o620)
    with pytest.raises(UserError, match="not only its owner"):
        found.decision(study().digest)


def _killed_while_writing(folder: Path) -> None:
    os.replace = lambda *_: os._exit(9)
    Approvals(folder).decide(decision(study(), "refused"))


def test_who_is_killed_while_a_decision_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    Approvals(tmp_path).decide(decision(study()))
    process = multiprocessing.get_context("fork").Process(target=_killed_while_writing, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    found = Approvals(tmp_path)
    assert found.decision(study().digest) == decision(study())
    found.decide(decision(study(), "refused"))  # and no lock is left behind
    assert len(found.decisions()) == 2


@pytest.mark.parametrize(
    ("rules", "today", "why"),
    [
        (RULES, date(2027, 1, 31), ""),
        (RULES, date(2027, 2, 1), "was until 2027-01-31"),
        ("b" * 32, date(2027, 1, 1), "rules of site.yaml that change what leaves were changed since Dr. A"),
    ],
)
def test_an_approval_holds_until_its_day_and_for_the_rules_that_a_person_saw(rules: str, today: date, why: str) -> None:
    found = decision(study(), until=date(2027, 1, 31)).lapsed(rules, today)
    assert why in found
    assert bool(found) == bool(why)


def test_decisions_that_a_version_before_runs_were_counted_wrote_are_for_one_run(tmp_path: Path) -> None:
    old = decision(study()).model_dump(mode="json", exclude={"runs", "record"})
    path = tmp_path / approvals.FILE
    path.touch(0o600)
    path.write_text(json.dumps({"decisions": [old], "digest": digests.of_json([old])}))
    assert Approvals(tmp_path).decision(study().digest) == decision(study(), runs=1)


def test_a_run_is_counted_once_and_no_more_begin_than_an_approval_is_for(tmp_path: Path) -> None:
    found, of = Approvals(tmp_path), study().digest
    found.decide(decision(study(), runs=2))
    for run in ("run-1", "run-2", "run-1", "run-2"):
        found.begin(of, run, "0", 2)
    for number in range(3, 20):
        with pytest.raises(UserError, match="for no more"):
            found.begin(of, f"run-{number}", "0", 2)
    assert [one.run for one in found.record().under("0")] == ["run-1", "run-2"]


def test_without_its_file_what_was_refused_stays_refused_and_nothing_is_approved(tmp_path: Path) -> None:
    found, key = Approvals(tmp_path), keys.make(tmp_path / "site.key")
    chain = Chain(tmp_path / audit.FILE, lambda: key, "north")
    for seed, verdict in ((1, "approved"), (1, "refused"), (2, "refused"), (2, "approved"), (3, "taken back")):
        of = study(seed=seed)
        found.decide(decision(of, verdict))
        chain.append(Decided(decision=verdict, study=of.digest, by="Dr. A"))  # type: ignore[arg-type]
    (tmp_path / approvals.FILE).unlink()
    again = {seed: found.decision(study(seed=seed).digest) for seed in (1, 2, 3, 4)}
    assert {seed: one and one.verdict for seed, one in again.items()} == {
        1: "refused", 2: "taken back", 3: "taken back", 4: None
    }  # fmt: skip
    found.decide(decision(study(seed=2)))
    assert len(found.decisions()) == 4


def test_without_its_file_and_with_a_damaged_audit_nothing_is_approved(tmp_path: Path) -> None:
    (tmp_path / audit.FILE).write_text("{}\n")
    with pytest.raises(UserError, match=r"audit\.jsonl"):
        Approvals(tmp_path).record()


@pytest.mark.parametrize(
    ("later", "by", "anew"),
    [
        (timedelta(minutes=-90), "Dr. B", False),  # the clock was set back
        (timedelta(seconds=50), "Dr. A", False),
        (timedelta(days=1), "Dr. B", True),  # numbers of another chain begin again
    ],
)
def test_an_older_copy_catches_up_whatever_the_clock_says_and_with_another_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: timedelta, by: str, anew: bool
) -> None:
    found, key, clock = Approvals(tmp_path), keys.make(tmp_path / "site.key"), [datetime(2026, 11, 27, 14, tzinfo=UTC)]
    monkeypatch.setattr(files, "datetime", type("Clock", (datetime,), {"now": classmethod(lambda *_: clock[0])}))
    chain = Chain(tmp_path / audit.FILE, lambda: key, "north")

    def decided(verdict: Any, by: str) -> None:
        record = chain.append(Decided(decision=verdict, study=study().digest, by=by))
        made = {"at": clock[0].isoformat(), "record": record.digest}
        found.decide(decision(study(), verdict, by).model_copy(update=made))

    for _ in range(3):
        decided("approved", "Dr. A")
    older = (tmp_path / approvals.FILE).read_text()
    if anew:
        chain.archive()
        chain.begin_anew()
    clock[0] += later
    decided("refused", by)
    assert found.catch_up() == ()
    (tmp_path / approvals.FILE).write_text(older)
    assert [one.verdict for one in found.catch_up()] == ["refused"]
    assert found.catch_up() == ()
