"""Synthetic hospitals in which some people lack a scan."""

from __future__ import annotations

from pathlib import Path

import bids_oracle
import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import PhantomConfig
from normfed_common.study.validation import validate
from normfed_simulation.phantom.hospitals import digest, people, visits, write, write_person

SITE = {"name": "a", "vendor": "siemens", "field_tesla": 3.0, "controls": 400}


def phantom(**site: object) -> PhantomConfig:
    return validate(PhantomConfig, {"sites": [{**SITE, **site}], "voxel_size_mm": 4}, "test")


def test_about_the_share_asked_for_lacks_a_modality_and_nobody_both() -> None:
    config = phantom(without={"T1w": 0.1, "FLAIR": 0.4})
    found = [person.absent(3) for person in people(config)]
    assert found == [person.absent(3) for person in people(phantom(without={"FLAIR": 0.4, "T1w": 0.1}))]
    assert abs(found.count("T1w") / 400 - 0.1) < 4 * (0.1 * 0.9 / 400) ** 0.5
    assert abs(found.count("FLAIR") / 400 - 0.4) < 4 * (0.4 * 0.6 / 400) ** 0.5
    assert {person.absent(3) for person in people(phantom())} == {None}


def test_who_lacks_a_scan_has_the_same_others_and_the_same_masks(tmp_path: Path) -> None:
    whole, lacking = (people(phantom(controls=1, **site))[0] for site in ({}, {"without": {"FLAIR": 1.0}}))  # type: ignore[arg-type]
    files = []
    for person, root in ((whole, tmp_path / "whole"), (lacking, tmp_path / "lacking")):
        write_person(person, 3, 4, root)
        files.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.nii.gz")})
    assert {path.name for path in files[0].keys() - files[1].keys()} == {
        "sub-01001_space-MNI152NLin2009aSym_FLAIR.nii.gz"
    }
    assert all(files[0][path] == content for path, content in files[1].items())


def test_people_who_lack_nothing_are_the_dataset_that_they_were_before_any_could() -> None:
    assert digest(phantom(without={}), 3) == digest(phantom(), 3) != digest(phantom(without={"FLAIR": 0.1}), 3)
    assert "without" not in phantom().model_dump(mode="json")["sites"][0]


def test_what_is_planned_is_what_is_read_once_it_is_written(tmp_path: Path) -> None:
    sites = [
        {**SITE, "controls": 2, "patients": {"MS": 1}, "without": {"T1w": 0.5}},
        {**SITE, "name": "b", "controls": 1, "patients": {"tumour": 1}, "native": True, "without": {"T1w": 1.0}},
        {**SITE, "name": "c", "controls": 1, "patients": {}, "native": True},
    ]
    config = validate(PhantomConfig, {"sites": sites, "voxel_size_mm": 4}, "test")
    planned = visits(config, 3, tmp_path)
    assert not any(tmp_path.iterdir())
    write(config, 3, tmp_path, 0)
    assert {len(visit.images) for visit in planned} == {1, 2}
    assert sorted(planned, key=lambda visit: visit.name) == list(read_dataset(tmp_path).visits)
    for dataset in (tmp_path, tmp_path / "derivatives" / "masks"):
        assert bids_oracle.faults(dataset) == []


@pytest.mark.parametrize("without", [{"FLAIR": 1.1}, {"T2w": 0.1}, {"FLAIR": 0.6, "T1w": 0.5}])
def test_shares_that_cannot_be_are_one_sentence(without: dict[str, float]) -> None:
    with pytest.raises(StudyError, match=r"sites\.0\.without"):
        phantom(without=without)
