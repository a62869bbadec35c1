"""The cohorts of tiny synthetic hospitals in figures, through the command line, beside a count of the files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import nibabel
import numpy as np
import pytest
import yaml
from commands import normfed, run_folder
from conftest import TINY

from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_common.foundation.errors import RunError
from normfed_common.statistics.tables import INTENSITY_BINS, SEXES, by_name
from normfed_common.studies import load_study
from normfed_server.results import cohorts
from normfed_server.results.cohorts import CohortFigures, Statistics
from normfed_server.results.schemas import PACKAGE

pytestmark = pytest.mark.xdist_group("journeys")


@pytest.fixture(scope="module")
def run(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("statistics")
    study = out / "study.yaml"
    study.write_text(yaml.safe_dump({**TINY, "federation": {"minimum_cohort": 1}}))
    result = normfed("statistics", study, "--out", out / "runs", "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    folder = run_folder(out / "runs")
    assert Path(result.stdout.strip()) == folder / "statistics.html"
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> Statistics:
    return cohorts.read(run)


@pytest.fixture(scope="module")
def people(hospitals: Path) -> list[dict[str, str]]:
    with open(hospitals / "participants.tsv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def counts(figures: CohortFigures, *tables: str) -> dict[str, float]:
    return {cell.what: cell.people for table in tables for cell in figures.tables[table]}


def test_merged_counts_are_those_of_all_people_in_one_place(found: Statistics, people: list[dict[str, str]]) -> None:
    assert found.merged.people == len(people)
    groups = Counter("healthy" if row["group"] == "control" else "patients" for row in people)
    assert counts(found.merged, "group") == groups
    for sex in SEXES:
        of = [float(row["age"]) for row in people if row["sex"] == sex]
        decades = Counter(f"{age // 10 * 10:.0f} to {age // 10 * 10 + 10:.0f} years" for age in of)
        assert counts(found.merged, f"age-{sex}") == decades
    assert counts(found.merged, "visits") == {"1": len(people)}
    for site in "abc":
        assert found.sites[site].people == sum(row["site"] == site for row in people)


def test_merged_histograms_are_those_of_all_scans_in_one_place(found: Statistics, run: Path) -> None:
    study = load_study(run / "study.yaml")
    pooled = next(config for config in read_sites(run / "sites.json") if len(config.owns) == 3)
    site = Site(pooled, study)
    cases = [*site.train, *site.held_out, *site.test]
    for channel, modality in enumerate(study.data.modalities):
        curves = []
        for case in cases:
            scan = case.scan()
            values = np.asarray(scan.images[channel])[scan.mask]
            curves.append(np.histogram(values, np.linspace(0, 2, INTENSITY_BINS + 1))[0] / values.size)
        told = np.zeros(INTENSITY_BINS)
        for cell in found.merged.tables[f"intensity-{modality}"]:
            told[cell.first] = cell.people
        np.testing.assert_allclose(told, np.sum(curves, 0), atol=1e-5)
    volumes = [case.entry.mask().sum() * 4**3 / 1000 for case in cases]
    stretches = [abs(np.linalg.det(np.array(case.entry.meta()["to_reference"])[:3, :3])) for case in cases]
    native = np.multiply(volumes, stretches)
    masks = [nibabel.load(case.visit.brain.path) for case in cases if case.visit.brain is not None]
    scanned = [np.asarray(m.dataobj).astype(bool).sum() * abs(np.linalg.det(m.affine[:3, :3])) / 1000 for m in masks]
    if len(scanned) == len(native):
        np.testing.assert_allclose(native, scanned, rtol=0.1)  # the mask was resampled in between
    bins = Counter(int(np.clip((volume - 700) // 100, 0, 12)) for volume in native)
    assert {cell.first: cell.people for cell in found.merged.tables["brain"]} == bins


def test_what_files_hold_is_that_of_the_brain_masks_on_the_files_own_voxels(found: Statistics, run: Path) -> None:
    """But for voxels at the rim, as the brain went to the template's grid and back."""
    study = load_study(run / "study.yaml")
    pooled = next(config for config in read_sites(run / "sites.json") if len(config.owns) == 3)
    site = Site(pooled, study)
    for modality in study.data.modalities:
        table = by_name(study)[f"raw-{modality}"]
        expected, told = np.zeros(len(table.bins)), np.zeros(len(table.bins))
        for case in (*site.train, *site.held_out, *site.test):
            assert case.visit.brain is not None
            inside = np.asarray(nibabel.load(case.visit.brain.path).dataobj) > 0
            values = np.asarray(nibabel.load(case.visit.images[modality]).dataobj)[inside]
            expected += np.histogram(values, [-np.inf, *table.edges[1:], np.inf])[0] / values.size
        for cell in found.merged.tables[table.name]:
            told[cell.first] = cell.people
        assert np.abs(told - expected).sum() < 0.1 * expected.sum()


def test_the_merged_figures_are_the_sum_of_the_sites(found: Statistics) -> None:
    for name, cells in found.merged.tables.items():
        total: Counter[tuple[int, int]] = Counter()
        for of in found.sites.values():
            total.update({(cell.first, cell.last): cell.people for cell in of.tables[name]})
        assert {(cell.first, cell.last): cell.people for cell in cells} == pytest.approx(dict(total), abs=1e-5)


def test_the_run_leaves_a_page_and_figures_that_another_program_can_read(run: Path) -> None:
    schema = json.loads((PACKAGE / "results" / "statistics.schema.json").read_text())
    written = json.loads((run / "statistics.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(written)
    page = (run / "statistics.html").read_text()
    assert all(f">{site}<" in page for site in (*"abc", "all sites"))
    assert 'src="http' not in page
    assert not (run / "metrics.json").exists()
    for command in (("simulate", "--resume", run), ("audit-privacy", run)):
        with pytest.raises(RunError, match=r"(trains|trained) nothing"):
            normfed(*command)
    result = normfed("report", run)
    assert result.stdout.strip() == str(run / "statistics.html")


def test_with_epsilon_the_figures_say_how_much_noise_is_in_them(hospitals: Path, tmp_path: Path) -> None:
    raw: dict[str, Any] = {**TINY, "model": {"name": "atlas"}, "privacy": {"epsilon": 20}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    result = normfed("statistics", tmp_path / "study.yaml", "--out", tmp_path / "runs", "--workers", 0)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stderr.splitlines()[1:-1])) <= 80
    found = cohorts.read(run_folder(tmp_path / "runs"))
    assert 0 < found.noise[0] < found.noise[1]
    assert all(
        sum(cell.people for cell in cells) <= of.people + 1e-3
        for of in found.sites.values()
        for cells in of.tables.values()
    )
