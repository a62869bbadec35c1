"""Figures of a site: of whom, of which maps, and what stays on its disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cohorts
import nibabel
import numpy as np
import pytest
from common_edges import common

from normfed_client.evaluating import evaluation as evaluation_module
from normfed_client.evaluating import kept_maps
from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.evaluating.levels import at_thresholds
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.site import Site
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.metrics import histograms
from normfed_common.metrics.cluster_list import list_clusters
from normfed_common.metrics.tissue import CLASSES, tissue_classes
from normfed_common.models.intensity import Intensity
from normfed_common.studies import resolve
from normfed_common.wire.evaluation import CommonEdges


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Four controls and four patients; the mask of one of them is empty."""
    data = cohorts.write(tmp_path / "data", {"a": {"control": 4, "WMH": 4}})
    mask = next(data.glob("derivatives/masks/sub-aWMH01/anat/*label-WMH_mask.nii.gz"))
    image = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), mask)
    study = resolve(
        {
            "name": "empty",
            "data": {"modalities": ["T1w", "FLAIR"], "held_out_people": 2},
            "preprocessing": {"voxel_size_mm": 4},
            "model": {"name": "intensity"},
            "federation": {"minimum_cohort": 2},
            "evaluation": {"bins": 50, "bootstrap": 10},
        },
        "test",
    )
    config = SiteConfig(
        name="a", data=data, owns=("a",), cache=tmp_path / "cache", output=tmp_path / "out", device="cpu"
    )
    return Site(config, study)


def test_a_patient_without_a_lesion_voxel_is_tested_but_is_not_ill(site: Site, tmp_path: Path) -> None:
    assert [scan.kind for scan in site.test] == ["WMH", "none", "WMH", "WMH"]
    evaluation = Evaluation(site, "intensity", site.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    edges = np.linspace(low, high, 40)
    measured = evaluation.measure(common(edges, 0.9), 0.9, maps=False)
    assert measured.patients.sum() == 3
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "people" / "intensity.json").read_text())}
    empty = rows["sub-aWMH01"]
    assert empty["auroc"] is None
    assert empty["dice"] is None
    assert empty["conformal_p"] is None
    assert empty["false_clusters"] >= 0
    whole = [row["subject_score"] for name, row in rows.items() if name != "sub-aWMH01"]
    healthy = [evaluation._person(scan) for scan in site.held_out]
    above = np.mean([[(ill > well) + (ill == well) / 2 for well in healthy] for ill in whole])
    assert measured.image_auroc == pytest.approx(above)


@pytest.fixture
def by_tissue(site: Site) -> Site:
    """The site in a study with thresholds by tissue."""
    raw = site.study.model_dump(mode="json")
    study = resolve({**raw, "evaluation": {**raw["evaluation"], "threshold_by": "tissue"}}, "test")
    return Site(site.config, study)


def test_held_out_voxels_are_counted_by_class(site: Site) -> None:
    evaluation = Evaluation(site, "intensity", site.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    found = evaluation.count(low, high)["held_out"]
    tissues, expected = site.setting.anatomy.tissues(), np.zeros_like(found)
    for case in site.held_out:
        mask, normal = case.entry.mask(), case.entry.normal()
        classes = tissue_classes(tissues, mask, 4.0)
        scores = np.zeros(mask.shape, np.float32)
        scores[mask] = evaluation._scores(case)
        for number in range(len(CLASSES)):
            expected[number] += histograms.coarse_counts(scores[mask & normal & (classes == number)], low, high)
    np.testing.assert_array_equal(found, expected)
    assert (found.sum(1) > 100).all()


def test_each_class_is_judged_by_its_own_threshold(by_tissue: Site, tmp_path: Path) -> None:
    evaluation = Evaluation(by_tissue, "intensity", by_tissue.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    levels = np.array([0.9, 0.95, 0.5, 2.0])  # no rank is 2
    asked = CommonEdges(**{**common(np.linspace(low, high, 40), 0.9).arrays(), "thresholds": levels})
    expected = {}
    for case in by_tissue.test:
        scores, mask, truth = evaluation._grid(case)
        classes = tissue_classes(by_tissue.setting.anatomy.tissues(), mask, 4.0)
        abnormal = mask & (scores >= np.float32(levels)[classes])
        expected[case.visit.name] = 2 * (abnormal & truth).sum() / (abnormal.sum() + truth.sum())
    evaluation.measure(asked, 0.9, maps=False)
    rows = json.loads((tmp_path / "out" / "people" / "intensity.json").read_text())
    for row in rows:
        assert row["dice"] is None or row["dice"] == pytest.approx(expected[row["name"]])
    assert sum(row["dice"] is not None and row["dice"] > 0 for row in rows) >= 2


def test_where_nothing_reaches_the_threshold_the_metrics_count_no_cluster_as_score_lists_none(
    site: Site, tmp_path: Path
) -> None:
    raw = site.study.model_dump(mode="json")
    study = resolve({**raw, "evaluation": {**raw["evaluation"], "minimum_cluster_mm3": 0}}, "test")
    evaluation = Evaluation(Site(site.config, study), "intensity", study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    for threshold, counted in ((high, True), (high + 0.01, False)):  # of all sites, of which another reaches higher
        evaluation.measure(common(np.linspace(low, high + 0.02, 40), threshold), threshold, maps=False)
        levels = np.full(len(CLASSES) + 1, threshold, np.float32)
        listed = 0
        for case in evaluation.people.test:
            scores, mask, truth = evaluation._grid(case)
            classes = evaluation._places(case)
            listed += len(list_clusters(at_thresholds(scores, mask, truth, classes, levels, study), classes, np.eye(4)))
        rows = json.loads((tmp_path / "out" / "people" / "intensity.json").read_text())
        assert (sum(row["false_clusters"] for row in rows) > 0) == counted
        assert (listed > 0) == counted


@pytest.mark.parametrize("tissue", [False, True])
def test_p_values_lie_beside_the_anomaly_and_compare_with_the_class_or_with_the_whole_brain(
    site: Site, by_tissue: Site, tmp_path: Path, tissue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = by_tissue if tissue else site
    evaluation = Evaluation(chosen, "intensity", chosen.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    edges = np.linspace(low, high, 60)
    held_out = np.stack([histograms.rebinned(row, low, high, edges) for row in evaluation.count(low, high)["held_out"]])
    written: dict[tuple[str, str], np.ndarray] = {}
    write = evaluation_module.write_map

    def remember(values: np.ndarray, *more: Any, **named: Any) -> Path:
        path = write(values, *more, **named)
        written[more[0].name, path.name.split("desc-")[1]] = values
        return path

    monkeypatch.setattr(evaluation_module, "write_map", remember)
    expected = {}
    for case in chosen.test:
        scores, mask, _ = evaluation._grid(case)
        classes = tissue_classes(chosen.setting.anatomy.tissues(), mask, 4.0)
        p = np.ones(mask.shape)
        for number, row in enumerate(held_out):
            counts = row if tissue else held_out.sum(0)
            for place in zip(*np.nonzero(mask & (classes == number)), strict=True):
                p[place] = (1 + counts[histograms.bin_of(scores[place], edges) :].sum()) / (1 + counts.sum())
        expected[case.visit.name] = p
    evaluation.measure(common(edges, 0.9, held_out), 0.9, maps=True)
    for name, p in expected.items():
        np.testing.assert_allclose(written[name, "pvalue_map.nii.gz"], p, rtol=1e-6)
    assert len(list((tmp_path / "out" / "maps").glob("*desc-pvalue_map.nii.gz"))) == len(chosen.test)


def test_where_nobody_is_held_out_there_are_no_p_values(site: Site, tmp_path: Path) -> None:
    evaluation = Evaluation(site, "intensity", site.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    evaluation.measure(common(np.linspace(low, high, 40), 0.9), 0.9, maps=True)
    names = {path.name.split("desc-")[1] for path in (tmp_path / "out" / "maps").iterdir()}
    assert names == {"anomaly_map.nii.gz"}


def test_a_simulated_site_keeps_nothing_of_the_scoring(site: Site, tmp_path: Path) -> None:
    evaluation = Evaluation(site, "intensity", site.study.seed)
    evaluation.close()  # before anybody was scored
    evaluation.score({"name": "intensity"}, {})
    assert len(list((tmp_path / "out" / "scores").rglob("*.safetensors"))) == 7
    evaluation.close()
    assert not list((tmp_path / "out" / "scores").rglob("*.safetensors"))


@pytest.mark.parametrize("step", ["score", "rank"])
def test_a_broken_map_is_refused_and_the_sites_own_log_says_whose_of_which_model(
    site: Site, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Intensity.score

    def negative(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return Score(-whole(model, visits, rng).anomaly)

    monkeypatch.setattr(Intensity, "score", negative)
    with pytest.raises(SiteError) as caught:
        getattr(Evaluation(site, "intensity~2", site.study.seed), step)({"name": "intensity"}, {})
    assert caught.value.code is SiteCode.MAP_UNUSABLE
    assert caught.value.detail == "intensity~2: sub-aWMH00: the anomaly map is negative, -1 at the lowest"


def test_everybody_is_scored_anew_with_one_model_when_all_scores_are_gone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model learns at the site may take hours; it is learnt once."""
    expected = Evaluation(site, "intensity", site.study.seed).score({"name": "intensity"}, {})
    for path in (tmp_path / "out" / "scores" / "intensity").glob("sub-*"):
        path.unlink()
    made: list[str] = []
    personalise = kept_maps.personalise
    monkeypatch.setattr(kept_maps, "personalise", lambda *values: made.append("x") or personalise(*values))
    assert Evaluation(site, "intensity", site.study.seed)._range == expected
    assert made == ["x"]


def test_in_a_hospital_every_count_is_of_nobody_or_of_enough_with_a_modality_and_of_enough_without(
    tmp_path: Path,
) -> None:
    """A made-up atlas can give all those without a FLAIR the same scores: they must not hide one person who has it."""
    data = cohorts.write(tmp_path / "data", {"a": {"WMH": 7}})
    cohorts.take_away(data, "FLAIR", 3)
    raw = {"name": "x", "data": {"modalities": ["T1w", "FLAIR"], "may_lack": ["FLAIR"]}, "model": {"name": "atlas"}}
    raw |= {"preprocessing": {"voxel_size_mm": 4}, "comparisons": {"baselines": []}}
    study = resolve(raw | {"federation": {"minimum_cohort": 3}}, "test")
    site = Site(cohorts.hospital(tmp_path / "hospital", data, 3, 5).site_config("run"), study)
    assert [len(people) for people in site.groups(site.test).values()] == [3, 4]
    shape = site.setting.shape
    sums = {"count": np.full((2, *shape), 4.0), "sum": np.zeros((2, *shape)), "squares": np.full((2, *shape), 4.0)}
    model = site.model(study.model, study.seed)
    model.absorb("moments", sums)
    evaluation = Evaluation(site, "atlas", study.seed)
    low, high = evaluation.score(study.model, model.share())
    told = evaluation.count(low, high)
    for name, lesion in (("normal", False), ("lesion", True)):
        starts = np.flatnonzero(told[name])
        for group in site.groups(site.test).values():
            people = np.zeros((len(group), histograms.COARSE_BINS), bool)
            for number, person in enumerate(group):
                case = next(case for case in site.test if case.visit.participant.subject == person)
                scores = evaluation._clipped(case)[evaluation._lesion(case) == lesion]
                people[number] = histograms.coarse_counts(scores, low, high) > 0
            runs = np.add.reduceat(people, starts, axis=1) > 0
            assert set(runs.sum(0)) <= {0, 3, 4}
    assert len(np.flatnonzero(told["normal"])) > 5


def test_volumes_stay_with_the_patient_and_are_those_of_the_masks(by_tissue: Site, tmp_path: Path) -> None:
    evaluation = Evaluation(by_tissue, "intensity", by_tissue.study.seed)
    low, high = evaluation.score({"name": "intensity"}, {})
    levels = np.array([0.9, 0.95, 0.5, 2.0])
    asked = CommonEdges(**{**common(np.linspace(low, high, 40), 0.9).arrays(), "thresholds": levels})
    evaluation.measure(asked, 0.9, maps=False)
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "people" / "intensity.json").read_text())}
    for case in by_tissue.test:
        scores, mask, truth = evaluation._grid(case)
        row = rows[case.visit.name]
        classes = tissue_classes(by_tissue.setting.anatomy.tissues(), mask, 4.0)
        assert row["lesion_ml"] == pytest.approx(0.064 * truth.sum())  # voxels of 4 mm
        assert row["lesion_share"] == pytest.approx((truth & mask).sum() / mask.sum())
        assert row["found_ml"] == pytest.approx(0.064 * (mask & (scores >= np.float32(levels)[classes])).sum())
        assert sum(lesion["ml"] for lesion in row["lesions"]) == pytest.approx(row["lesion_ml"])
        if row["lesions"]:
            assert np.mean([lesion["found"] for lesion in row["lesions"]]) == pytest.approx(row["lesion_sensitivity"])
    assert rows["sub-aWMH01"]["lesions"] == []
