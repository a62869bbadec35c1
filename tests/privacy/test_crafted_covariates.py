"""A server that chooses what age and sex are measured by, so that a sum of products is one person's scan."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from attacker import MINIMUM, Server, as_sums, offered, study

from normfed_client.hospital import site as site_module
from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.covariates import REACH
from normfed_common.wire.messages import error_code

NAMES = [f"sub-northcontrol{number:02d}" for number in range(14)]


def dataset(server: Server, cohort: Path, tmp_path: Path, demographics: list[str]) -> Site:
    """The hospital whose controls have these ages and sexes, as it reads them from now on; the site of a run."""
    site_module.site_for.cache_clear()
    other = tmp_path / "edited"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(cohort, other)
    header, *rows = (other / "participants.tsv").read_text().splitlines()
    given = iter(demographics)
    changed = ["\t".join(r.split("\t")[:3]) + "\t" + (next(given) if "northcontrol" in r else "50\tF") for r in rows]
    (other / "participants.tsv").write_text("\n".join([header, *changed]) + "\n")
    path = server.folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"data": str(other)}))
    return Site(open_hospital(server.folder).site_config("r0"), asked("age"))


def asked(*regress: str) -> Any:
    return study(model={"name": "atlas", "regress": list(regress)})


def moments(server: Server, regress: str, run: str, made_up: Arrays) -> Arrays:
    """Sums of the atlas after made-up ones of ages and sexes."""
    who = asked(regress)
    server.answer("query.describe", who, run=run)
    crafted = offered(as_sums("covariates", made_up))
    found: Arrays = server.answer("train.sums", who, crafted, run=run, phase="moments")[1]
    return found


def of_mean_and_sd(mean: float, sd: float) -> dict[str, float]:
    n = 1e4
    return {"scans": n, "aged": n, "age": n * mean, "squares": n * (mean**2 + sd**2), "women": n / 2, "men": n / 2}


def older(found: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """How many people are older than the mean, and the sum of their intensities."""
    people = (found["covariates"][0] / REACH + found["count"]) / 2
    return people, (found["products"][0] / REACH + found["sum"]) / 2


@pytest.mark.parametrize("oldest", [1, MINIMUM - 1])
def test_no_made_up_mean_age_sets_the_oldest_apart(server: Server, cohort: Path, tmp_path: Path, oldest: int) -> None:
    """Ages count as at most two deviations from the mean: with a small one everybody is on one side or the other."""
    site = dataset(server, cohort, tmp_path, [f"{30 + number}\tF" for number in range(14)])
    ages = sorted({case.visit.participant.subject: case.visit.participant.age for case in site.train}.values())
    between = (ages[-oldest - 1] + ages[-oldest]) / 2
    people, intensities = older(moments(server, "age", "r1", of_mean_and_sd(between, 0.2)))
    few = (people > 1e-3) & (people < MINIMUM - 1e-3)
    assert not few.any()
    assert np.abs(intensities[:, people < 1e-3]).max(initial=0) < 1e-9


@pytest.mark.parametrize(("regress", "cubes"), [((), False), (("age",), True)])
def test_sums_of_ages_are_means_of_cubes_where_a_group_has_fewer_than_a_voxel_asks_for(
    server: Server, cohort: Path, tmp_path: Path, regress: tuple[str, ...], cubes: bool
) -> None:
    dataset(server, cohort, tmp_path, [f"{30 + number}\tF" for number in range(14)])
    path = server.folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"minimum_people_per_voxel": MINIMUM + 2}))
    server.answer("query.describe", asked(*regress), run="r1")
    crafted = offered(as_sums("covariates", of_mean_and_sd(37, 4)) if regress else {})
    answer, _ = server.answer("train.sums", asked(*regress), crafted, run="r1", phase="moments")
    assert any("means of cubes" in note for note in answer.notes) == cubes


def test_where_few_of_those_who_are_told_alike_have_brain_nothing_is_told(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    """Everybody else has brain there, but is younger."""
    site = dataset(server, cohort, tmp_path, [f"{30 + number}\tF" for number in range(14)])
    ages = {case.visit.participant.subject: case.visit.participant.age or 0.0 for case in site.train}
    oldest = sorted(ages, key=lambda name: ages[name])[-MINIMUM + 1 :]
    for name in oldest[:-1]:
        path = next(tmp_path.glob(f"edited/derivatives/masks/{name}/anat/*desc-brain_mask.nii.gz"))
        image = nibabel.load(path)
        mask = np.asarray(image.dataobj).copy()
        mask[:, :, :12] = 0
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    found = moments(server, "age", "r1", of_mean_and_sd(ages[oldest[0]] - 1.5, 0.2))
    assert found["count"][..., 12:].any()
    assert not found["count"][..., :12].any()


def test_where_few_have_an_age_nobody_s_is_used(server: Server, cohort: Path, tmp_path: Path) -> None:
    site = dataset(server, cohort, tmp_path, ["n/a\tF"] * 14)
    first = site.train[0].visit.participant.subject
    dataset(server, cohort, tmp_path, ["70\tF" if name == first else "n/a\tF" for name in NAMES])
    server.answer("query.describe", asked("age"), run="r1")
    told = server.answer("train.sums", asked("age"), run="r1", phase="covariates")[1]
    assert told["aged"] == told["age"] == 0
    assert not moments(server, "age", "r1", of_mean_and_sd(50, 10))["products"].any()


@pytest.mark.parametrize("rare", ["M", "n/a"])
def test_where_few_have_another_sex_nobody_s_is_used(server: Server, cohort: Path, tmp_path: Path, rare: str) -> None:
    """Else their sum follows from everybody's and that of the products."""
    site = dataset(server, cohort, tmp_path, ["50\tF"] * 14)
    first = site.train[0].visit.participant.subject
    dataset(server, cohort, tmp_path, [f"50\t{rare if name == first else 'F'}" for name in NAMES])
    server.answer("query.describe", asked("sex"), run="r1")
    told = server.answer("train.sums", asked("sex"), run="r1", phase="covariates")[1]
    assert told["men"] == told["women"] == 0
    found = moments(server, "sex", "r1", of_mean_and_sd(50, 10))
    assert not found["products"].any()


COMBAT = {"name": "combat", "minimum_people": 2, "places_mm": 32, "covariates": ["age"]}


def test_sums_before_and_after_one_person_s_age_is_corrected_are_not_both_told(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    """The same scans of the same people: the difference of the sums is that of one person's two ages."""
    ages = [f"{30 + number}\tF" for number in range(14)]
    site = dataset(server, cohort, tmp_path, ages)
    corrected = NAMES.index(next(case.visit.participant.subject for case in site.train))
    who, phase = study(model={"name": "atlas"}, transforms=[COMBAT]), "transform-1-moments"
    found = []
    for run in ("r1", "r2", "r3"):
        server.answer("query.describe", who, run=run)
        found.append(server.answer("train.sums", who, offered({}), run=run, phase=phase))
        ages[corrected] = "91\tF"
        dataset(server, cohort, tmp_path, ages)
    people = [answer.subjects for answer, _ in found]
    assert people[0] - people[1] >= MINIMUM
    assert people[1] == people[2] >= MINIMUM
    np.testing.assert_equal(found[1][1], found[2][1])


def test_a_run_in_whose_middle_an_age_is_corrected_is_refused(server: Server, cohort: Path, tmp_path: Path) -> None:
    ages = [f"{30 + number}\tF" for number in range(14)]
    site = dataset(server, cohort, tmp_path, ages)
    server.answer("query.describe", asked("age"))
    server.answer("train.sums", asked("age"), offered({}), phase="covariates")
    ages[NAMES.index(next(case.visit.participant.subject for case in site.train))] = "91\tF"
    dataset(server, cohort, tmp_path, ages)
    made_up = offered(as_sums("covariates", of_mean_and_sd(40, 9)))
    reply = server.ask("train.sums", asked("age"), made_up, phase="moments")
    assert error_code(reply) == SiteCode.TOO_CLOSE_TO_EARLIER
