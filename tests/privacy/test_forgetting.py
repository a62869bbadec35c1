"""A person, or the hospital, withdraws: nothing of them is read, told or kept, and nobody is told by subtraction."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from attacker import MINIMUM, Server, offered, otherwise, study
from typer.testing import CliRunner

from normfed_client.consent import approvals
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.deciding import decide
from normfed_client.consent.standing import standing_of
from normfed_client.hospital import site as site_module
from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_client.hospital.site import Site
from normfed_client.imaging import bids, nifti
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.operation.checking import examine
from normfed_client.operation.cli import site as commands
from normfed_client.operation.services import start
from normfed_client.quality.kept import Decision as Judged
from normfed_client.quality.kept import KeptLook, Records, people_of, seen
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal import erasing, people, studies
from normfed_client.withdrawal.people import check_list
from normfed_common.chain.kinds.site import PersonWithdrew, StudyWithdrawn
from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import error_code

ATLAS = {"name": "atlas"}


@pytest.fixture(scope="module")
def prepared(cohort: Path, scans: Path) -> Path:
    """The hospital's scans, for all tests."""
    for visit in bids.read_dataset(cohort).sites()["north"]:
        prepare(visit, Recipe.of(asked()), Cache(scans))
    return scans


@pytest.fixture
def server(server: Server, prepared: Path) -> Iterator[Server]:
    """Its hospital has a cache of its own, for prepared scans are erased, and knows the study that they are for."""
    cache = server.folder / "cache"
    cache.unlink()
    shutil.copytree(prepared, cache)
    Approvals(server.folder).note(asked(), "r1")
    site_module.site_for.cache_clear()
    yield server
    site_module.site_for.cache_clear()


@pytest.fixture
def hospital(server: Server) -> Hospital:
    return open_hospital(server.folder)


def learnt(server: Server) -> list[str]:
    """Whom an untouched run learns from."""
    site = Site(open_hospital(server.folder).site_config("run-1"), study(model=ATLAS))
    return sorted({visit.participant.subject for visit in site.roles.train})


def forget(server: Server, *words: str, code: int = 0) -> str:
    """`normfed site forget ...`, and what it says on one line; the client starts anew then."""
    found = CliRunner().invoke(commands, ["forget", *words, "--home", str(server.folder)], catch_exceptions=False)
    assert found.exit_code == code, found.output
    site_module.site_for.cache_clear()
    return " ".join(found.output.split())


def asked(**changes: object) -> StudyConfig:
    return study(model=ATLAS, **changes)


def exclude(server: Server, names: str) -> None:
    """Write it into the hospital's site.yaml."""
    path = server.folder / "site.yaml"
    path.write_text(path.read_text().replace("exclude: []", f"exclude:{names}"))


def counted(sums: dict[str, np.ndarray]) -> int:
    """How many people an atlas' sums are over, where most have brain."""
    return round(float(sums["count"].max()))


def refusal(server: Server, task: str, of: StudyConfig, run: str) -> SiteCode:
    return error_code(server.ask(task, of, otherwise(1), run=run))


def test_the_difference_of_two_sums_around_a_withdrawal_is_of_as_many_as_the_minimum(server: Server) -> None:
    """The attack: the sums of everybody, then of everybody but the one who left."""
    first = server.sums(asked(), "r1")
    everybody = learnt(server)
    said = forget(server, everybody[0], "--by", "Dr A", "--yes")
    assert refusal(server, "train.sums", asked(), "r1") is SiteCode.TOO_CLOSE_TO_EARLIER
    second = server.sums(asked(seed=8), "r2")
    assert counted(first) - counted(second) == MINIMUM
    of = f"of the {len(everybody) - 1} others who were in a release of what was learnt"
    assert f"{of} {len(everybody) - MINIMUM} may take part; {MINIMUM - 1} wait beside {everybody[0]}" in said


def test_where_too_few_others_are_left_nothing_more_is_told_until_as_many_new_people_come(server: Server) -> None:
    everybody = learnt(server)
    kept = everybody[: 2 * MINIMUM - 1]
    exclude(server, f" [{', '.join(everybody[2 * MINIMUM - 1 :])}]")
    server.sums(asked(), "r1")
    said = forget(server, kept[0], "--by", "Dr A", "--yes")
    of = f"of the {len(kept) - 1} others who were in a release of what was learnt"
    assert f"{of} none is answered about, until {MINIMUM} people joined who were in no release" in said
    assert refusal(server, "train.sums", asked(seed=8), "r2") is SiteCode.COHORT_TOO_SMALL


def test_who_withdrew_is_not_read_though_the_files_are_there_and_may_be_damaged(
    server: Server, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = learnt(server)[0]
    said = forget(server, name, "--by", "Dr A", "--yes")
    assert f"{name} is still there. The client reads it no more" in said
    opened: list[str] = []
    for module, function in ((nifti, "read"), (nifti, "same_grid")):
        whole = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *args, of=whole: (opened.append(str(args[0])), of(*args))[1])
    server.sums(asked(), "r1")
    server.answer("query.describe", asked(), run="r1")
    assert not [path for path in opened if name in path]
    assert name not in {v.participant.subject for v in Site(hospital_config(server), asked()).roles.everybody()}
    assert name not in people_of(open_hospital(server.folder))
    assert name in {v.participant.subject for v in bids.read_dataset(cohort).visits}


def hospital_config(server: Server) -> object:
    return open_hospital(server.folder).site_config("r1")


def furnished(server: Server, name: str) -> None:
    """A run, and files of each kind that names people here."""
    server.sums(asked(), "r1")
    hospital = open_hospital(server.folder)
    state = hospital.state / "r1"
    other = f"{name}9"
    for path in (
        state / "maps" / name / f"{name}_T1w_anomaly.nii.gz",
        state / "maps" / other / f"{other}_T1w_anomaly.nii.gz",
        state / "scores" / "federated" / f"{name}_ses-1.safetensors",
        state / "personal" / "federated" / "round-000001.safetensors",
        hospital.checkpoints("r1") / "k" / "training-1.safetensors",
        hospital.temporary / "half.nii",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (state / "people").mkdir()
    (state / "people" / "federated.json").write_text(f'[{{"name": "{name}_ses-1"}}, {{"name": "{other}"}}]')
    for log in (state / "site.log", hospital.log / "runner.log.1"):
        with open(log, "ab") as file:
            file.write(f"{name}: FLAIR has 3 NaN ({name}_FLAIR.nii.gz)\nof {other}\n".encode() + b"\xff\n")
    crowd = people_of(hospital)
    doubts = [
        {"subject": name, "visit": name, "kind": "voxels", "text": "x"},
        {"subject": other, "visit": other, "kind": "duplicate", "text": f"as {name}"},
    ]
    look = {
        "time": "t",
        "modalities": ["T1w"],
        "healthy": ["control"],
        "people": {who: seen(visits).model_dump() for who, visits in crowd.items()},
        "doubts": doubts,
    }
    records = Records(hospital.quality)
    records.keep(KeptLook.model_validate(look, strict=False))
    for who in (name, other):
        records.decide(Judged(time="t", what="keep", subject=who, content="c", kinds=(), by="A", why=f"not {name}"))
    exclude(server, f"\n- {name}  # asked for it\n- {other}")


def names(folder: Path, name: str) -> list[str]:
    """Files that name somebody, by their own names or in any byte."""
    pattern = re.compile(rf"(?<![A-Za-z0-9]){name}(?![A-Za-z0-9])".encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    texts = {str(path): str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() for path in files}
    return [path for path, text in texts.items() if name.encode() in text and pattern.search(text)]


def test_nothing_in_the_hospitals_folder_names_who_withdrew_and_others_keep_what_is_theirs(server: Server) -> None:
    name = learnt(server)[0]
    hospital = open_hospital(server.folder)
    visits = Site(hospital.site_config("r1"), asked()).roles.everybody()
    keys = {visit.participant.subject: Recipe.of(asked()).key(visit) for visit in visits}
    furnished(server, name)
    assert len(names(server.folder, name)) == 8
    before = len(names(server.folder, f"{name}9"))
    listed = forget(server, name, "--dry-run")
    assert "Nothing was changed" in listed
    assert len(names(server.folder, name)) == 8
    forget(server, name, "--by", "Dr A", "--yes")
    assert names(server.folder, name) == []
    assert len(names(server.folder, f"{name}9")) == before
    there = {path.name for path in hospital.cache.iterdir()}
    assert keys.pop(name) not in there
    assert set(keys.values()) <= there
    hospital = open_hospital(server.folder)
    state = hospital.state / "r1"
    assert {path.name for path in state.iterdir()} >= {"members.json", "ledger.json", "asked.sqlite", "site.log"}
    assert not any((folder).exists() for folder in (state / "personal", hospital.outbox("r1") / "federated"))
    assert hospital.config.exclude == (f"{name}9",)
    records = Records(hospital.quality)
    assert [decision.subject for decision in records.decisions()] == [f"{name}9"]
    look = records.latest()
    assert look is not None
    assert [doubt.subject for doubt in look.doubts] == [f"{name}9"]
    assert name not in look.people


def test_an_unknown_name_is_told_and_nothing_is_done(server: Server) -> None:
    for name in ("sub-nobody", "../etc"):
        with pytest.raises(UserError, match=r"nobody of this name|is no subject"):
            people.look_up(open_hospital(server.folder), name)
    assert open_hospital(server.folder).releases().withdrawn() == ()


class Killed(BaseException):
    """As by kill -9: nothing that catches errors catches it."""


def test_who_is_killed_again_and_again_ends_where_it_would_have_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = learnt(server)[0]
    furnished(server, name)
    hospital, done = open_hospital(server.folder), 0
    steps = {module: getattr(people, module) for module in ("erase", "rewrite")}

    def dying(step: Callable[..., None], left: Iterator[int]) -> Callable[..., None]:
        def call(*args: object) -> None:
            if next(left, None) is None:
                raise Killed
            step(*args)

        return call

    for survived in range(20):
        left = iter(range(survived))
        for step, whole in steps.items():
            monkeypatch.setattr(people, step, dying(whole, left))
        try:
            people.forget(hospital, people.look_up(hospital, name), "Dr A")
        except Killed:
            assert name not in people_of(hospital)  # from the first moment on
            continue
        done = survived
        break
    monkeypatch.undo()
    assert done > 3
    assert names(server.folder, name) == []
    said = [r.content.step for r in Audit(hospital).entries() if isinstance(r.content, PersonWithdrew)]
    assert (said.count("begun"), said.count("done"), said[-1]) == (done + 1, 1, "done")
    people.forget(hospital, people.look_up(hospital, name), "Dr A")
    assert sum(isinstance(r.content, PersonWithdrew) for r in Audit(hospital).entries()) == len(said)
    assert len(hospital.releases().withdrawn()) == 1


def test_the_audit_says_when_and_by_whom_and_not_of_whom_and_no_account_is_smaller(server: Server) -> None:
    name = learnt(server)[0]
    server.sums(asked(), "r1")
    hospital = open_hospital(server.folder)
    spent, sets = hospital.ledger().entries(), hospital.releases().sets()
    forget(server, name, "--by", "Dr A", "--yes")
    forget(server, "--study", "r1", "--by", "Dr B", "--yes")
    assert hospital.ledger().entries() == spent
    assert hospital.releases().sets() == sets
    hospital.check()
    audit = Audit(hospital)
    assert audit.verify().good
    said = [r.content for r in audit.entries() if isinstance(r.content, PersonWithdrew | StudyWithdrawn)]
    steps = ("begun", "done")
    assert [(content.step, content.by) for content in said] == [(step, by) for by in ("Dr A", "Dr B") for step in steps]
    assert name.encode() not in b"".join(audit.chain.lines())


def test_a_list_restored_from_before_a_withdrawal_stops_the_client(server: Server) -> None:
    hospital, everybody = open_hospital(server.folder), learnt(server)
    forget(server, everybody[0], "--by", "Dr A", "--yes")
    old = hospital.record.read_bytes()
    forget(server, everybody[1], "--by", "Dr A", "--yes")
    check_list(hospital)
    hospital.record.write_bytes(old)
    with pytest.raises(UserError, match="lacks somebody who withdrew since"):
        start(hospital, None, print)  # type: ignore[arg-type]
    forget(server, everybody[1], "--by", "Dr A", "--yes")
    check_list(hospital)


def test_a_client_that_was_not_started_anew_tells_nothing_of_who_withdrew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the site open, and the person in it."""
    server.answer("query.describe", asked(), run="r1")
    hospital = open_hospital(server.folder)
    people.forget(hospital, people.look_up(hospital, learnt(server)[0]), "Dr A")
    assert refusal(server, "train.sums", asked(), "r1") is SiteCode.TOO_CLOSE_TO_EARLIER


def killed(*_: object) -> None:
    raise Killed


def test_a_study_that_the_hospital_withdrew_from_is_refused_for_good_and_others_go_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = asked(seed=8)
    server.sums(asked(), "r1")
    server.sums(other, "r2")
    hospital = open_hospital(server.folder)
    (hospital.state / "r1" / "personal").mkdir()
    (hospital.state / "r1" / "personal" / "x").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(studies, "erase", killed)
        with pytest.raises(Killed):
            studies.withdraw(hospital, studies.look_up(hospital, asked().digest[:8]), "Dr A")
    assert refusal(server, "train.sums", asked(), "r1") is SiteCode.WITHDRAWN
    said = forget(server, "--study", "r1", "--by", "Dr A", "--yes")
    assert "normfed server retrain r1 --without north" in said
    for task in ("query.describe", "train.canary", "train.sums", "evaluate.score"):
        reply = server.ask(task, asked(), offered({}), run="r1")
        assert error_code(reply) is SiteCode.WITHDRAWN
        assert error_code(server.ask(task, asked(), offered({}), run="r3")) is SiteCode.WITHDRAWN
    assert {path.name for path in (hospital.state / "r1").iterdir()} <= {*erasing.ACCOUNTS, "site.log"}
    assert not hospital.outbox("r1").exists()
    server.sums(other, "r2")
    with pytest.raises(UserError, match="That is for good"):
        decide(hospital, asked(), "refused", "Dr B")
    assert "this hospital withdrew on" in standing_of(hospital, asked(), date.today()).words
    (hospital.folder / approvals.FILE).unlink()  # the audit knows
    assert "this hospital withdrew on" in standing_of(hospital, asked(), date.today()).words
    steps = [r.content.step for r in Audit(hospital).entries() if isinstance(r.content, StudyWithdrawn)]
    assert steps == ["begun", "begun", "done"]
    for which in ("r9", "ffffffffff", "", "ab"):
        with pytest.raises(UserError, match=r"no run and no study|several studies"):
            studies.look_up(hospital, which)


def test_an_older_record_does_not_read_who_withdrew_even_after_the_audit_was_archived(server: Server) -> None:
    server.sums(asked(), "r1")
    hospital = open_hospital(server.folder)
    older = hospital.record.read_bytes()
    forget(server, learnt(server)[0], "--by", "Dr A", "--yes")
    Audit(hospital).chain.archive()
    check_list(hospital)
    hospital.record.write_bytes(older)
    with pytest.raises(UserError, match="lacks somebody who withdrew since"):
        check_list(hospital)
    assert "lacks somebody who withdrew since" in next(
        finding.cure for finding in examine(hospital, opening_scans=False) if finding.what == "key, records"
    )


def test_older_decisions_catch_up_with_the_audit_before_anything_is_let_in(server: Server, hospital: Hospital) -> None:
    """A copy from a backup lets nothing in that was refused, taken back or withdrawn from since; nor does it lose what
    it has that the audit agrees with."""
    ways = ["withdrawn", "refused", "taken back", "approved"]
    four = dict(zip(ways, (asked(seed=seed) for seed in range(21, 25)), strict=True))
    for one in four.values():
        decide(hospital, one, "approved", "Dr A")
    file = server.folder / approvals.FILE
    older, kept = file.read_text(), Approvals(server.folder)
    studies.withdraw(hospital, studies.look_up(hospital, four["withdrawn"].digest), "Dr B")
    decide(hospital, four["refused"], "refused", "Dr B")
    decide(hospital, four["taken back"], "taken back", "Dr B")
    newer = kept.decisions()
    assert kept.catch_up() == ()
    assert kept.decisions() == newer
    file.write_text(older)
    added = {decision.study: decision.verdict for decision in kept.catch_up()}
    assert added == {four[way].digest: way for way in ways[:3]}
    for way, one in four.items():
        assert kept.decision(one.digest).verdict == way  # type: ignore[union-attr]
    assert kept.catch_up() == ()
    with pytest.raises(UserError, match="this hospital withdrew on"):
        decide(hospital, four["withdrawn"], "approved", "Dr C")


def test_an_older_audit_takes_nothing_back_that_was_decided_since(server: Server, hospital: Hospital) -> None:
    decide(hospital, asked(), "approved", "Dr A")
    audit = server.folder / "audit.jsonl"
    older = audit.read_bytes()
    decide(hospital, asked(), "refused", "Dr B")
    audit.write_bytes(older)
    assert Approvals(server.folder).catch_up() == ()
    assert Approvals(server.folder).decision(asked().digest).verdict == "refused"  # type: ignore[union-attr]


def test_neither_client_nor_another_withdrawal_begins_while_one_is_being_decided(
    server: Server, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, said = learnt(server)[0], []

    def meanwhile(*_: object, **__: object) -> None:
        for begin in (
            lambda: start(hospital, threading.Event(), str),
            lambda: commands(["forget", name, "--by", "Dr B", "--yes", "--home", str(server.folder)]),
        ):
            with pytest.raises(UserError, match="is running already") as refused:
                begin()
            said.append(str(refused.value))

    monkeypatch.setattr("typer.confirm", meanwhile)
    forget(server, name, "--by", "Dr A")
    assert len(said) == 2


@pytest.mark.parametrize("subject", ["sub-01\n", "sub-01 ", "sub-", "SUB-01", "sub-01/.."])
def test_what_is_no_subject_is_refused(hospital: Hospital, subject: str) -> None:
    with pytest.raises(UserError, match="is no subject"):
        people.look_up(hospital, subject)


def test_an_older_list_is_not_made_whole_by_whoever_withdraws_next(server: Server) -> None:
    first, second, third, fourth = learnt(server)[:4]
    hospital = open_hospital(server.folder)
    forget(server, first, "--by", "Dr A", "--yes")
    older = hospital.record.read_bytes()
    for name in (second, third):
        forget(server, name, "--by", "Dr A", "--yes")
    hospital.record.write_bytes(older)
    for name in (fourth, third):  # another, or one before the one who is missing
        with pytest.raises(UserError, match="lacks somebody who withdrew before"):
            forget(server, name, "--by", "Dr A", "--yes")
    for name in (second, third):
        with pytest.raises(UserError, match="lacks somebody who withdrew since"):
            check_list(hospital)
        forget(server, name, "--by", "Dr A", "--yes")
    check_list(hospital)
    forget(server, fourth, "--by", "Dr A", "--yes")
    check_list(hospital)


def test_who_withdrew_is_not_forgotten_where_that_was_broken_off_and_another_withdraws(
    server: Server, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = learnt(server)[:2]
    found = people.look_up(hospital, first)
    with monkeypatch.context() as patched:
        patched.setattr(type(hospital.releases()), "withdraw", killed)
        with pytest.raises(Killed):
            people.forget(hospital, found, "Dr A")
    with pytest.raises(UserError, match="lacks somebody who withdrew before"):
        forget(server, second, "--by", "Dr A", "--yes")
    for name in (first, second):
        forget(server, name, "--by", "Dr A", "--yes")
    check_list(hospital)


def test_a_damaged_audit_keeps_nobody_from_refusing(server: Server, hospital: Hospital) -> None:
    decide(hospital, asked(), "approved", "Dr A")
    hospital = open_hospital(server.folder)
    Audit(hospital).started()
    audit = server.folder / "audit.jsonl"
    audit.write_bytes(audit.read_bytes().replace(b'"kind":"decided"', b'"kind":"decided","x":0'))
    with pytest.raises(UserError, match="a line of it is no record"):
        decide(hospital, asked(seed=31), "approved", "Dr A")
    decide(hospital, asked(), "refused", "Dr B")
    assert Approvals(server.folder).decision(asked().digest).verdict == "refused"  # type: ignore[union-attr]
