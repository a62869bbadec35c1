"""A site stays open between requests, while people tidy up its folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from normfed_client.hospital.releases import Releases
from normfed_client.operation.home import Hospital, HospitalConfig
from normfed_client.site import site_for
from normfed_common.study.config import StudyConfig


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
    Releases.create(hospital.record)
    hospital.prepare("run")
    site = site_for(hospital.site_config("run"), study.model_dump_json())
    before = len(site.training_cohort())
    shutil.rmtree(tmp_path / deleted)
    hospital.prepare("run")
    assert len(site_for(hospital.site_config("run"), study.model_dump_json()).training_cohort()) == before
