"""Beside what has noise, nothing that leaves a hospital depends on one person to learn from: no count, time or code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from attacker import Server, offered, study

from normfed_client.answering import tasks
from normfed_client.answering.journal import LOG
from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_common.foundation.errors import DatasetError, SiteCode, SiteError, StudyError
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.messages import error_code

ATLAS = {"name": "atlas"}
PRIVACY = {"epsilon": 4.0, "sampling_rate": 0.5, "steps_per_round": 1, "samples_per_patient": 4}


def private(**changes: Any) -> StudyConfig:
    return study(privacy=PRIVACY, **changes)


def damaged(server: Server, cohort: Path, folder: Path, asked: StudyConfig) -> Path:
    """The hospital's folder with a copy of the cohort in which a scan of one person to learn from is no scan."""
    site = Site(open_hospital(server.folder).site_config("r0"), asked)
    visit = next(visit for visit in site.roles.train if "northcontrol" in visit.participant.subject)
    shutil.copytree(cohort, folder / "data")
    path = folder / "data" / visit.images["T1w"].relative_to(site.config.data)
    path.unlink()
    path.write_bytes(b"no scan")
    shutil.copytree(server.folder, folder / "site", symlinks=True)
    site_yaml = folder / "site" / "site.yaml"
    site_yaml.write_text(yaml.safe_dump(yaml.safe_load(site_yaml.read_text()) | {"data": str(folder / "data")}))
    return folder / "site"


def headers(server: Server, run: str) -> list[Answer]:
    """All that a run's answers say beside their arrays, which have noise."""
    rounds, sums = private(), private(model=ATLAS)
    first = offered(build(MODELS, rounds.model, Setting(rounds.data.modalities, 4, (1, 1, 1), rounds.seed)).share())
    found = [server.answer("query.describe", rounds, run=run)[0]]
    found.append(server.answer("train.canary", rounds, first, run=run)[0])
    found.append(server.answer("train.round", rounds, first, run=run)[0])
    found.append(server.answer("query.describe", sums, run=f"{run}-sums")[0])
    found.append(server.answer("train.sums", sums, run=f"{run}-sums")[0])
    return [answer.model_copy(update={"ledger": None, "head": None}) for answer in found]


def told_of(answers: list[Answer]) -> list[dict[str, Any]]:
    """The same without what is free of the machine."""
    return [answer.model_dump(exclude={"payload": {"machine"}}) for answer in answers]


def test_whether_a_persons_scan_can_be_prepared_is_not_told(
    server: Server, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once who could not be prepared was missing in the number of people, and in every training."""
    folders = [damaged(server, cohort, tmp_path / name, private()) for name in ("private", "plain")]
    before = headers(server, "r")
    assert told_of(headers(Server(folders[0], monkeypatch), "r")) == told_of(before)
    told = before[0].told(Described)
    assert told.counts["train"] == before[2].subjects == before[4].subjects > 0
    # Without epsilon the operator learns how many there are to learn from.
    counts = Server(folders[1], monkeypatch).answer("query.describe", study(), run="plain")[0].told(Described).counts
    assert counts["train"] == told.counts["train"] - 1


def test_how_long_the_work_took_is_not_told(server: Server) -> None:
    """Once the seconds were those of opening and training on these very scans."""
    answers = headers(server, "r")
    assert {answer.seconds for answer in answers} == {0.0}
    machine = answers[0].told(Described).machine
    assert machine is not None
    assert all(size % 1 == 0 for size in (machine.memory_gb, machine.disk_gb))
    assert server.answer("train.sums", study(model=ATLAS), run="plain")[0].seconds > 0


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("/data/sub-007"),
        MemoryError(),
        TypeError("x"),
        DatasetError("sub-007"),
        StudyError("x"),
        SiteError(SiteCode.NOT_FINITE),
        SiteError(SiteCode.OUT_OF_SPACE),
    ],
    ids=lambda error: str(getattr(error, "code", type(error).__name__)),
)
def test_why_training_failed_is_one_code_whatever_happened(
    server: Server, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each kind of error had a code of its own, and one person could decide which."""

    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(tasks, "private_sums", fails)
    assert error_code(server.ask("train.sums", private(model=ATLAS))) is SiteCode.NOT_SAID
    log = (server.folder / "state" / "run-1" / LOG).read_text()
    assert "NOT_SAID (227): " in log
    assert "Traceback" in log


def test_that_a_file_of_one_person_cannot_be_read_is_not_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the work, too: who takes part is settled by what the files hold."""

    def fails(_: object) -> str:
        raise PermissionError(13, "Permission denied", "sub-007_T1w.nii.gz")

    monkeypatch.setattr("normfed_client.hospital.custody.content_of", fails)
    assert error_code(server.ask("train.sums", private(model=ATLAS))) is SiteCode.NOT_SAID
    assert error_code(server.ask("train.sums", study(model=ATLAS), run="plain")) is SiteCode.INTERNAL


def test_what_follows_from_the_request_alone_keeps_its_code(server: Server) -> None:
    asked = private(model=ATLAS)
    assert error_code(server.ask("train.sums", asked, phase="nothing")) is SiteCode.BAD_REQUEST
    server.answer("query.describe", asked)
    few = study(model=ATLAS, privacy=PRIVACY, federation={"minimum_cohort": 1000})
    assert error_code(server.ask("train.sums", few, run="few")) is SiteCode.COHORT_TOO_SMALL
