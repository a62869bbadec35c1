"""What a site tells of its people, by the scans that they have; and what it makes again of what was deleted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cohorts
import numpy as np
import pytest
import synthetic

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.places import coarsened, cohort_of_places
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.site import Case, Site, site_for
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.participants import Participant
from normfed_common.learning.cohort import Person, Scan
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig


@pytest.mark.parametrize(("lacking", "waiting"), [(0, 0), (2, 2), (3, 0), (7, 2), (9, 0)])
def test_a_hospital_tells_of_a_modality_where_enough_people_have_it_and_enough_have_not(
    tmp_path: Path, lacking: int, waiting: int
) -> None:
    """Of nine people and a minimum of three: the sum of a modality is about those alone who have it."""
    data = cohorts.write(tmp_path / "data", {"a": {"control": 9}})
    cohorts.take_away(data, "FLAIR", lacking)
    hospital = cohorts.hospital(tmp_path / "hospital", data, 3, 5)
    raw = {"name": "x", "data": {"modalities": ["T1w", "FLAIR"], "may_lack": ["FLAIR"]}, "model": {"name": "atlas"}}
    raw |= {"preprocessing": {"voxel_size_mm": 4}, "comparisons": {"baselines": []}}
    study = resolve(raw | {"federation": {"minimum_cohort": 3}}, "test")
    site = Site(hospital.site_config("run"), study)
    assert site.training_people == 9 - waiting
    site.release("learning", site.train, "sums")
    model, cohort = site.model(study.model, study.seed), cohort_of_places(site)
    sums = model.statistics("moments", cohort, np.random.default_rng(0))
    having = [sum(modality in case.visit.images for case in site.train) for modality in ("T1w", "FLAIR")]
    assert having == sums["count"].max((1, 2, 3)).tolist()
    assert all(count == 0 or count >= 3 for people in sums["count"] for count in np.unique(people))
    apart = np.unique(sums["count"][0] - sums["count"][1])  # those without, by subtraction
    assert all(count == 0 or count >= 3 for count in apart)
    assert site.custody is not None
    assert {len(members) for members in Releases(hospital.record, PeopleSecret(b"secret")).sets()} == {
        people for people in (having[1], having[0] - having[1]) if people
    }
    coarse, notes = coarsened(site, model, "moments", sums)
    assert bool(notes) == (min(count for count in having if count) < 5)
    assert (coarse is sums) == (not notes)


def test_sums_over_visits_that_have_all_are_not_those_of_the_one_person_with_such_a_visit(tmp_path: Path) -> None:
    """All nine people have three modalities, eight of them never all at one visit."""
    data = cohorts.write(tmp_path / "data", {"a": {"control": 9}})
    for number, person in enumerate(sorted(data.glob("sub-*"))):
        flair = next(person.glob("anat/*_FLAIR.nii.gz"))
        shutil.copy(flair, str(flair).replace("_FLAIR", "_T2w"))
        if number:
            masks = data / "derivatives" / "masks" / person.name
            for session, lacking in (("1", "T2w"), ("2", "T1w")):
                for folder in (person, masks):
                    for path in folder.glob("anat/*.nii.gz"):
                        if not path.name.endswith(f"_{lacking}.nii.gz"):
                            name = path.name.replace(person.name, f"{person.name}_ses-{session}")
                            (folder / f"ses-{session}" / "anat").mkdir(parents=True, exist_ok=True)
                            shutil.copy(path, folder / f"ses-{session}" / "anat" / name)
            for folder in (person, masks):
                shutil.rmtree(folder / "anat")
    hospital = cohorts.hospital(tmp_path / "hospital", data, 3, 5)
    modalities = {"modalities": ["FLAIR", "T1w", "T2w"], "may_lack": ["T1w", "T2w"]}
    model = {"name": "matched-filter", "beside": 1.0, "spacing_mm": 4.0}
    raw = {"name": "x", "data": modalities, "model": model, "preprocessing": {"voxel_size_mm": 4}}
    raw |= {"comparisons": {"baselines": []}, "federation": {"minimum_cohort": 3}}
    site = Site(hospital.site_config("run"), resolve(raw, "test"))
    site.release("learning", site.train, "sums")
    learner = site.model(model, 0)
    cohort = cohort_of_places(site, places=learner.places("moments"))
    assert len(cohort.people()) == 8
    assert not learner.statistics("moments", cohort, np.random.default_rng(0))["count"].any()


@pytest.mark.parametrize("deleted", ["cache", "state"])
def test_a_folder_that_was_deleted_under_an_open_site_is_made_again(
    hospitals: Path, tmp_path: Path, study: StudyConfig, deleted: str
) -> None:
    config = HospitalConfig(
        site="a",
        server="f:1",
        data=hospitals,
        owns=("a",),
        device="cpu",
        minimum_people=2,
        minimum_people_per_voxel=2,
        held_out_share=0.0,
    )
    hospital = Hospital(tmp_path, config)
    hospital.people_secret.write_bytes(b"secret")
    Releases.create(hospital.record, PeopleSecret.read(hospital.people_secret))
    hospital.prepare("run")
    site = site_for(hospital.site_config("run"), study.model_dump_json())
    before = len(site.training_cohort())
    shutil.rmtree(tmp_path / deleted)
    hospital.prepare("run")
    assert len(site_for(hospital.site_config("run"), study.model_dump_json()).training_cohort()) == before


def test_a_scan_that_could_not_be_read_for_a_moment_is_read_the_next_time(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3}})
    raw = {"name": "warm", "data": {"modalities": ["T1w"]}, "preprocessing": {"voxel_size_mm": 4}}
    study = resolve(raw | {"federation": {"minimum_cohort": 1}}, "test")
    folders = {"cache": tmp_path / "cache", "output": tmp_path / "out"}
    site = Site(SiteConfig(name="a", data=data, owns=("a",), device="cpu", **folders), study)
    scan = next(data.glob(f"{site.roles.train[0].name}/anat/*T1w.nii.gz"))
    away = scan.rename(scan.with_suffix(".away"))
    assert len(site.train) == len(site.train) == 1
    assert len(site.problems) == 1
    away.rename(scan)
    assert len(site.train) == 2


@dataclass
class Stored:
    """An entry of the cache whose scan is in memory."""

    whole: Scan
    size: int = 1

    def scan(self, person: Person) -> Scan:
        return replace(self.whole, person=person)


@pytest.mark.parametrize(
    ("whom", "expected"),
    [("nobody", ()), ("held-out", ("sub-1", "sub-2")), ("everybody", ("sub-1", "sub-2", "sub-3", "sub-4"))],
)
def test_transforms_may_adapt_to_those_whom_the_study_says_and_learn_of_no_lesion(
    whom: str, expected: tuple[str, ...]
) -> None:
    scan = synthetic.scan(np.random.default_rng(0))
    scan = replace(scan, normal_index=scan.normal_index[::2])  # the rest are lesions
    visits = [Visit(Participant(f"sub-{number}", "a", "", 60.0, "F", "3T"), None, {}) for number in (1, 2, 3, 4)]
    cases = [Case(visit, cast(Entry, Stored(scan)), "none") for visit in visits]
    study = resolve({"name": "s", "data": {"modalities": ["T1w"], "adapt_unseen": whom}}, "test")
    for minimum, enough in ((2, True), (3, False)):
        site = SimpleNamespace(study=study, held_out=cases[:2], test=cases[2:], minimum=minimum)
        cohort, who = Site.unseen_cohort(cast(Site, site))
        assert tuple(case.visit.participant.subject for case in who) == (expected if enough else ())
        assert len(cohort) == len(who)
        for index in range(len(cohort)):
            found = cohort.scan(index)
            assert found.person.scanner == "a/3T"
            assert len(found.normal_index) == (scan.mask.sum() if whom == "everybody" else len(scan.normal_index))
