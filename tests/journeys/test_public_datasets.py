"""Healthy people of one public dataset and patients of another, as they came, become one simulated federation."""

from __future__ import annotations

import json
from pathlib import Path

import cohorts
import downloads
import numpy as np
import pytest
import yaml
from commands import normfed, run_folder

from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.template import whole

STUDY = {
    "name": "hospitals",
    "data": {"modalities": ["T1w"], "dataset": {"name": "wmh", "part": "training"}, "held_out_people": 1},
    "preprocessing": {"voxel_size_mm": 4, "bias_correction": False},
    "model": {"name": "atlas"},
    "federation": {"minimum_cohort": 2},
    "comparisons": {"local": False, "pooled": False, "baselines": []},
    "evaluation": {"bins": 50, "bootstrap": 0},
}


def scans(root: Path, images: list[str], segmentations: list[str] = []) -> Path:  # noqa: B006 - never changed
    """The template with noise; segmentations with a lesion and another pathology."""
    t1, affine = whole("t1", 4)
    rng = np.random.default_rng(len(images))
    for place in images:
        cohorts.save(root / place, t1 * 100 + rng.standard_normal(t1.shape), affine)
    labels = np.zeros(t1.shape)
    labels[22:25, 28:31, 24:27], labels[28:30, 28:30, 24:27] = 1, 2
    for place in segmentations:
        cohorts.save(root / place, labels, affine)
    return root


@pytest.mark.usefixtures("on_the_template")
def test_folders_as_they_came_are_simulated_and_the_run_names_their_hospitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    names = [f"IXI{n}-{site}-0{n}" for site, first in (("Guys", 100), ("HH", 200)) for n in range(first, first + 3)]
    healthy = scans(tmp_path / "ixi", [f"IXI-T1/{name}-T1.nii.gz" for name in names])
    (healthy / "IXI.xls").write_bytes(downloads.XLS.read_bytes())
    cases = [f"training/{place}" for place in ("Utrecht/0", "Utrecht/2", "Singapore/50", "Singapore/51")]
    files = [f"{case}/pre/{kind}.nii.gz" for case in cases for kind in ("T1", "FLAIR")]
    ill = scans(tmp_path / "wmh", files, [f"{case}/wmh.nii.gz" for case in cases])
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY))
    options = ("--out", tmp_path / "runs", "-q", "--workers", 0)
    result = normfed("simulate", tmp_path / "s.yaml", "--data", healthy, "--data", ill, *options)
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "runs")
    assert {path.name for path in (folder / "sites").iterdir()} == {"Guys", "HH", "Utrecht", "Singapore"}
    (data,) = {config.data for config in read_sites(folder / "sites.json")}
    assert data.parent.name == "ixi+wmh"
    (table,) = (folder / "sites" / "Utrecht" / "people").iterdir()
    people = json.loads(table.read_text())
    assert [(row["name"], row["kind"]) for row in people] == [("sub-Utrecht0", "WMH"), ("sub-Utrecht2", "WMH")]
    assert all(0 <= row["auroc"] <= 1 for row in people)
