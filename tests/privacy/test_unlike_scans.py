"""What a server sees of how scans vary, and of a scan that is unlike the others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from attacker import MINIMUM, Server, as_sums, offered, only_one_has_the_first_slabs, study

from normfed_client.evaluating import maps
from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_client.imaging.template import common_grid
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Visits
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.study.config import StudyConfig

REMARK = "T1w is unlike what the model learnt from"


def asked(spacing_mm: float) -> StudyConfig:
    return study(model={"name": "matched-filter", "noise": "learnt", "scales_mm": [0.0], "spacing_mm": spacing_mm})


def moments(server: Server, spacing_mm: float) -> Arrays:
    server.answer("query.describe", asked(spacing_mm))
    found: Arrays = server.answer("train.sums", asked(spacing_mm), phase="moments")[1]
    return found


def test_how_scans_vary_is_not_told_of_a_place_that_few_people_have(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    """One person alone has brain in the first 14 slabs: there the squared mean would be that person's own."""
    site = Site(open_hospital(server.folder).site_config("r0"), asked(4.0))
    names = sorted({case.visit.participant.subject for case in site.train})
    only_one_has_the_first_slabs(server, cohort, names, tmp_path / "edited")
    found = moments(server, 4.0)
    assert not found["between"].reshape(*common_grid(4).shape, 2)[:14].any()
    told = found["between"].any(1)
    assert told.sum() > 1000
    assert found["count"][told].min() >= MINIMUM


def test_of_fewer_people_than_a_hospital_asks_for_per_voxel_it_is_told_of_cubes(server: Server) -> None:
    site_yaml = server.folder / "site.yaml"
    rules = {"minimum_people_per_voxel": 20, "cube_mm": 12.0}
    site_yaml.write_text(yaml.safe_dump(yaml.safe_load(site_yaml.read_text()) | rules))
    grid = moments(server, 4.0)["between"].reshape(*common_grid(4).shape, 2)
    assert grid.any()
    for x, y, z in np.ndindex(3, 3, 3):
        part = grid[x:48:3, y:57:3, z:39:3]
        np.testing.assert_array_equal(part, grid[:48:3, :57:3, :39:3])


def test_what_a_model_remarks_on_a_scan_stays_at_the_hospital(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = maps.score, []

    def unlike(model: NormativeModel, visits: Visits, name: str) -> Score:
        made.append(name)
        return replace(whole(model, visits, name), remarks=(f"{name}: {REMARK}",))

    monkeypatch.setattr("normfed_client.evaluating.kept_maps.score", unlike)
    received = offered(as_sums("moments", moments(server, 12.0)))
    answers = [server.answer("evaluate.score", asked(12.0), received)]
    low, high = map(float, answers[0][1]["range"])
    answers += [server.answer("evaluate.count", asked(12.0), low=low, high=high)]
    assert len(made) > MINIMUM
    for header, arrays in answers:
        said = header.model_dump_json()
        assert "unlike" not in said
        assert not any(name in said for name in made)
        assert all(array.dtype.kind in "fi" for array in arrays.values())


def test_how_scans_vary_within_a_place_is_not_that_of_few_people(server: Server, cohort: Path, tmp_path: Path) -> None:
    """In the first slabs two voxels of a place have half of the people each, and one person alone has both: sums over
    voxels less those of scans would be half the squared difference of that person's two."""
    site = Site(open_hospital(server.folder).site_config("r0"), asked(8.0))
    names = sorted({case.visit.participant.subject for case in site.train})
    half = len(names) // 2 + 1
    assert half >= MINIMUM
    other = tmp_path / "edited"
    shutil.copytree(cohort, other)
    for number, name in enumerate(names):
        path = next(other.glob(f"derivatives/masks/{name}/anat/*desc-brain_mask.nii.gz"))
        image = nibabel.load(path)
        brain = np.asarray(image.dataobj) > 0
        mask = brain.copy()
        mask[:14] = False
        mask[:14:2, ::2, ::2] = brain[:14:2, ::2, ::2] & (number < half)
        mask[1:14:2, ::2, ::2] = brain[1:14:2, ::2, ::2] & (number >= half - 1)
        nibabel.save(nibabel.Nifti1Image(mask.astype(np.float32), image.affine), path)
    site_yaml = server.folder / "site.yaml"
    site_yaml.write_text(yaml.safe_dump(yaml.safe_load(site_yaml.read_text()) | {"data": str(other)}))
    found = moments(server, 8.0)
    within = found["products"][:, [0, 2]] - found["between"]  # of two modalities
    grid = within.reshape(25, 30, 21, 2)
    assert (grid[7:] > 1e-6).any()
    assert not (grid[:7] > 1e-6).any()
