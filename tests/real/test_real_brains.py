"""Real scans of eleven places, where they are at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.cohort import assign, select
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_common.foundation.errors import ScanError
from normfed_common.learning.cohort import Person
from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study, resolve
from normfed_common.study.names import check_names
from normfed_common.study.preprocessing import PreprocessingConfig

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("real")]


def test_all_people_sites_and_modalities_are_found(real_brains: Path) -> None:
    dataset = read_dataset(real_brains)
    sites = dataset.sites()
    people = {name: len({v.participant.subject for v in visits}) for name, visits in sites.items()}
    assert people == {
        "ageing-a": 11,
        "ageing-b": 4,
        "controls-hammersmith": 51,
        "controls-novosibirsk": 13,
        "controls-oasis": 14,
        "ms-clinic": 2,
        "ms-followup": 3,
        "routine-clinic": 3,
        "tumour-centre": 4,
        "wmh-clinic-a": 3,
        "wmh-clinic-b": 1,
    }
    assert sum(people.values()) == 109
    assert all("ce-GD_T1w" in v.images and "T1w" not in v.images for v in sites["tumour-centre"])
    assert {v.session for v in sites["ms-followup"]} == {"01", "02"}
    assert all("lies on no scan's grid" in problem.why for problem in dataset.problems)
    assert all(v.brain is None for v in sites["controls-novosibirsk"])


@pytest.mark.parametrize(
    ("subject", "modalities"),
    [
        ("sub-AA001", ("T1w", "FLAIR")),  # 2 mm, head with neck, brain mask given
        ("sub-IX001", ("T1w",)),  # axes PSR
        ("sub-NO004", ("T1w",)),  # whole head, no brain mask
        ("sub-MS001", ("T1w", "FLAIR")),  # in MNI space, but its name does not say so
        ("sub-TU003", ("FLAIR",)),  # tumour, no plain T1
        ("sub-WM001", ("FLAIR",)),  # 8 mm slices
        ("sub-HH052", ("T1w",)),  # 2 mm, axes PSR
        ("sub-WC001", ("T1w", "FLAIR")),  # skull-stripped, 3 mm slices
    ],
)
def test_every_kind_of_scan_comes_to_lie_on_the_template(
    real_brains: Path, tmp_path: Path, subject: str, modalities: tuple[str, ...]
) -> None:
    visit = next(v for v in read_dataset(real_brains).visits if v.name == subject)
    entry = prepare(visit, Recipe(PreprocessingConfig(voxel_size_mm=4), modalities, None), Cache(tmp_path))
    overlap = float(str(entry.meta()["overlap"]))
    assert overlap > (0.85 if visit.brain else 0.4)
    assert bool(entry.lesion().any()) == bool(visit.lesions)


@pytest.mark.parametrize("name", ["real-brains", "real-flair", "real-t1-controls"])
def test_every_person_and_site_of_the_shipped_studies_is_there_and_has_a_role(real_brains: Path, name: str) -> None:
    study = load_study(shipped_study(name))
    dataset = read_dataset(real_brains)
    sites = dataset.sites()
    check_names(study.data, sites, {visit.participant.subject for visit in dataset.visits}, name)
    assert set(study.data.sites or ()) | set(study.data.exclude) == set(sites)  # nobody is left out without a reason
    for site in study.data.sites or ():
        roles = assign(select(sites[site], site, study.data)[0], site, study)
        assert bool(roles.train) == study.data.trains(site), site
        tests = site not in (study.data.train_sites or ())
        assert bool(roles.test) == tests, site


def test_a_registration_that_fails_is_noticed(real_brains: Path, tmp_path: Path) -> None:
    visit = next(v for v in read_dataset(real_brains).visits if v.name == "sub-ML001_ses-01")
    scan = nibabel.load(visit.images["T1w"])
    upside_down = tmp_path / "sub-ML001_T1w.nii"
    nibabel.save(nibabel.Nifti1Image(scan.get_fdata(dtype=np.float32)[:, :, ::-1], scan.affine), upside_down)
    with pytest.raises(ScanError, match="registration to MNI152 failed, likeness"):
        prepare(
            replace(visit, images={"T1w": upside_down}),
            Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w",), None),
            Cache(tmp_path),
        )


def test_places_without_a_t1_or_a_flair_take_part_where_a_study_lets_them(real_brains: Path, tmp_path: Path) -> None:
    sites, raw = read_dataset(real_brains).sites(), {"name": "x", "model": {"name": "atlas"}}
    people: dict[str, dict[str, int]] = {}
    for may_lack in ([], ["FLAIR"], ["T1w"]):
        data = {"modalities": ["T1w", "FLAIR"], "may_lack": may_lack}
        study = resolve({**raw, "data": data, "comparisons": {"baselines": []}}, "test")
        chosen = {site: select(visits, site, study.data)[0] for site, visits in sites.items()}
        people[",".join(may_lack)] = {site: len(visits) for site, visits in chosen.items()}
    everybody = {site: len(visits) for site, visits in sites.items()}
    for site, lacking, found in (("controls-oasis", "FLAIR", 14), ("tumour-centre", "T1w", 4)):
        assert people[""][site] == 0
        assert people[lacking][site] == everybody[site] == found
    for name, there in (("sub-TU003", [False, True]), ("sub-NO004", [True, False])):
        visit = next(v for visits in sites.values() for v in visits if v.name == name)
        recipe = Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w", "FLAIR"), None)
        scan = prepare(visit, recipe, Cache(tmp_path)).scan(Person(0))
        assert scan.present.tolist() == there
        assert [image.any() for image in scan.images] == there
