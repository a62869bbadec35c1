"""Nothing is learnt from a cohort before its look, and how a study asks has no say in it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cohorts
import pytest
from jobs import STUDY, job

from normfed_client.answering.guards.looked_at import LookedAt
from normfed_client.hospital.folder import Hospital
from normfed_client.quality.doubts import Doubt
from normfed_client.quality.kept import KeptLook, Records, decision, people_of, seen
from normfed_common.foundation.damage import told
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.requests import Canary, Describe, FineTune, Measure, Payload, Sums, TrainRound

PERSON = "sub-acontrol01"
LEARNING = (
    TrainRound(round=1, compression="fp16"),
    Canary(compression="fp16"),
    Sums(phase="moments"),
    FineTune(round=1),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohorts.write(tmp_path_factory.mktemp("cohort") / "data", {"a": {"control": 3, "WMH": 1}})


@pytest.fixture
def hospital(data: Path, tmp_path: Path) -> Hospital:
    made = cohorts.hospital(tmp_path / "site", data, 2, 2)
    return Hospital(made.folder, made.config.model_copy(update={"quality_gate": "required"}))


def _look(hospital: Hospital, *doubts: Doubt) -> KeptLook:
    people = {name: seen(visits) for name, visits in people_of(hospital).items()}
    found = KeptLook(time="now", modalities=("T1w", "FLAIR"), healthy=("control",), people=people, doubts=doubts)
    Records(hospital.quality).keep(found)
    return found


def _refused(hospital: Hospital, payload: Payload, study: StudyConfig = STUDY) -> str | None:
    """The detail of a refusal; None where there is none."""
    asked: Any = job(hospital.folder, payload)
    asked.__dict__["site"] = SimpleNamespace(study=study, custody=None)
    try:
        LookedAt(hospital).inbound(asked)
    except SiteError as error:
        return error.detail if error.code is SiteCode.COHORT_NOT_LOOKED_AT else f"another code: {error}"
    return None


@pytest.mark.parametrize("payload", LEARNING, ids=lambda one: one.task)
def test_learning_waits_for_a_look(hospital: Hospital, payload: Payload) -> None:
    assert "nobody has looked" in (_refused(hospital, payload) or "")
    _look(hospital)
    assert _refused(hospital, payload) is None


def test_who_is_there_and_figures_of_maps_do_not_wait(hospital: Hospital) -> None:
    assert _refused(hospital, Describe()) is None
    assert _refused(hospital, Measure(threshold=0.5)) is None


def test_it_waits_for_a_decision_on_everybody_with_a_serious_doubt(hospital: Hospital) -> None:
    doubts = [Doubt(subject=PERSON, visit=PERSON, kind=kind, text="x.") for kind in ("unusual", "missing")]
    look = _look(hospital, *doubts)
    assert "1 people wait" in (_refused(hospital, LEARNING[0]) or "")
    decided = decision(look, "keep", PERSON, "A", "looked", people_of(hospital)[PERSON])
    assert decided.kinds == ("unusual",)
    Records(hospital.quality).decide(decided)
    assert _refused(hospital, LEARNING[0]) is None
    _look(hospital, Doubt(subject=PERSON, visit=PERSON, kind="flipped", text="x."))  # nobody knew of this
    assert "1 people wait" in (_refused(hospital, LEARNING[0]) or "")
    excluded = Hospital(hospital.folder, hospital.config.model_copy(update={"exclude": (PERSON,)}))
    assert _refused(excluded, LEARNING[0]) is None


def test_no_study_of_the_same_modalities_learns_more_than_another(hospital: Hospital) -> None:
    """Otherwise a server could ask with one recipe after another, and learn of whom there is a doubt, and why."""
    raw = STUDY.model_dump(mode="json")
    varied = [
        {"seed": 8},
        {"preprocessing": {**raw["preprocessing"], "voxel_size_mm": 4, "normalisation": "z-score"}},
        {"data": {**raw["data"], "held_out_share": 0.5, "exclude": {"a": "why"}}},
        {"data": {**raw["data"], "normal": "lesion-free-tissue"}},
        {"data": {**raw["data"], "modalities": ["FLAIR"]}},
        {"data": {**raw["data"], "modalities": ["T1w", "FLAIR"], "lesion_labels": ["MS"]}},
        {"model": {"name": "atlas"}},
    ]
    studies = [STUDY, *(StudyConfig.model_validate_json(_json(raw | one)) for one in varied)]
    for doubt in ((), (Doubt(subject=PERSON, visit=PERSON, kind="intensity", text="FLAIR is noisy."),)):
        _look(hospital, *doubt)
        assert len({_refused(hospital, payload, study) for study in studies for payload in LEARNING}) == 1


def _json(raw: dict[str, Any]) -> str:
    return json.dumps(raw)


@pytest.mark.parametrize(("rule", "said"), [("off", []), ("warn", ["quality_gate is only to warn: nobody has looked"])])
def test_a_hospital_may_be_warned_only_or_not_at_all(hospital: Hospital, rule: str, said: list[str]) -> None:
    found: list[str] = []
    other = Hospital(hospital.folder, hospital.config.model_copy(update={"quality_gate": rule}))
    with told(found.append):
        assert _refused(other, LEARNING[0]) is None
    assert [line.split(" at the cohort")[0] for line in found] == said


def test_what_was_answered_before_may_leave_once_more(hospital: Hospital) -> None:
    asked: Any = job(hospital.folder, LEARNING[0])
    asked.__dict__["kept"] = ("answer", {})
    LookedAt(hospital).inbound(asked)


def test_what_is_kept_and_damaged_refuses(hospital: Hospital) -> None:
    _look(hospital)
    (hospital.quality / "look.json").write_text("{}")
    assert "damaged" in (_refused(hospital, LEARNING[0]) or "")
