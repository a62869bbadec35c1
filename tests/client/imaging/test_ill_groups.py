"""People who are ill though nobody drew a lesion: they test, and only as whole people."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.cohort import assign
from normfed_client.imaging.labels import carried
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig


def study(**data: object) -> StudyConfig:
    return resolve({"name": "s", "data": {"modalities": ["T1w"], **data}, "model": "atlas"}, "test")


def visit(name: str, group: str, lesion: bool = False) -> Visit:
    masks = (Mask(Path("mask"), "T1w", "MS"),) if lesion else ()
    return Visit(Participant(name, "a", group, 50.0, "F"), None, {"T1w": Path("t1")}, None, masks)


PEOPLE = [visit("sub-1", "control"), visit("sub-2", "PD"), visit("sub-3", "MS", lesion=True), visit("sub-4", "MS")]


def who_tests(chosen: StudyConfig) -> list[str]:
    return [visit.participant.subject for visit in assign(PEOPLE, "a", chosen).test]


def test_only_groups_that_the_study_names_test_without_a_mask() -> None:
    assert who_tests(study()) == ["sub-3"]
    assert who_tests(study(ill_groups=["PD"])) == ["sub-2", "sub-3"]
    assert [v.participant.subject for v in assign(PEOPLE, "a", study(ill_groups=["PD"])).train] == ["sub-1"]


def test_studies_without_the_key_keep_their_digests() -> None:
    assert "ill_groups" not in study().model_dump(mode="json")["data"]
    assert study().digest != study(ill_groups=["PD"]).digest


@pytest.mark.parametrize(
    ("group", "carried_as"),
    [("PD", "PD"), ("Parkinson's disease (de novo)", "Parkinson-s-disease-de-novo"), ("???", "")],
)
def test_a_group_is_called_what_a_figure_can_carry(group: str, carried_as: str) -> None:
    assert carried(group) == carried_as


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"ill_groups": ["PD"], "normal": "lesion-free-tissue"}, "no tissue is known normal"),
        ({"ill_groups": ["PD"], "normal": "lesion-free-slices"}, "no tissue is known normal"),
        ({"ill_groups": ["control"]}, "in control_groups and in ill_groups"),
    ],
)
def test_whoever_is_ill_never_trains(data: dict[str, object], sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        study(**data)
