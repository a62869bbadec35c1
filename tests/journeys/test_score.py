"""A map of a person of the run is the same wherever it is made: by the evaluation, by `score`, for the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from commands import normfed, run_folder

from normfed_client.evaluating import evaluation
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.mosaic import MapStrip
from normfed_client.scoring.rows import PersonScore
from normfed_client.scoring.scoring import score_inputs
from normfed_server.results import layout
from normfed_server.runs.folder import reopen
from normfed_simulation import patients, pictured

pytestmark = pytest.mark.xdist_group("journeys")


@dataclass
class Run:
    """A finished run, and the maps that its evaluation made, on the common grid by visit."""

    folder: Path
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def people(self) -> list[dict[str, Any]]:
        """Rows of the federated model's people, with their site."""
        files = sorted(self.folder.glob("sites/*/people/federated.json"))
        return [{"site": path.parts[-3], **row} for path in files for row in json.loads(path.read_text())]


MACHINES = {"location": {"minimum_subjects": 3, "spacing_mm": 16}}


@pytest.fixture(scope="module", params=["location", "patient"])
def run(
    request: pytest.FixtureRequest, study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The tiny study; under `location` sites a and b have people enough for machines of their own, and c has not."""
    raw = yaml.safe_load(study_file.read_text())
    raw["model"]["one_class"] = {"fit_on": request.param} | MACHINES.get(request.param, {})
    raw["federation"]["rounds"] = 1
    raw["comparisons"] = {"local": False, "pooled": False, "baselines": []}
    out = tmp_path_factory.mktemp(request.param)
    (out / "study.yaml").write_text(yaml.safe_dump(raw))
    write, made = evaluation.write_map, dict[str, np.ndarray]()

    def remember(values: np.ndarray, visit: Visit, *more: Any, **beside: Any) -> Path:
        path = write(values, visit, *more, **beside)
        if "desc-anomaly" in path.name:
            made[visit.name] = values.copy()
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "write_map", remember)
        result = normfed("simulate", out / "study.yaml", "--out", out / "runs", "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    return Run(run_folder(out / "runs"), made)


def one(run: Path, scans: list[Path], out: Path, site: str) -> PersonScore:
    (row,) = score_inputs(run, scans, out, device="cpu", site=site).people
    assert row.status == "scored", row.reason
    return row


def test_score_gives_the_maps_of_the_evaluation_to_the_last_bit(run: Run, hospitals: Path, tmp_path: Path) -> None:
    visits = {visit.name: visit for visit in read_dataset(hospitals).visits}
    people = run.people()
    assert {row["site"] for row in people} == {"a", "b", "c"}
    for row in people:
        scans = visits[row["name"]].images.values()
        assert normfed("score", run.folder, *scans, "--site", row["site"], "--out", tmp_path).exit_code == 0
        written = sorted(tmp_path.rglob(f"{row['name']}_*.nii.gz"))
        assert [path.name.partition("desc-")[2] for path in written] == ["anomaly_map.nii.gz", "pvalue_map.nii.gz"]
        for path in written:
            expected = nibabel.load(run.folder / "maps" / path.name)
            np.testing.assert_array_equal(nibabel.load(path).get_fdata(), expected.get_fdata())


def test_the_report_shows_the_map_of_the_evaluation_to_the_last_bit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []

    def look(_image: np.ndarray, anomaly_map: np.ndarray, *_: Any) -> MapStrip:
        shown.append(anomaly_map)
        return MapStrip("data:image/jpeg;base64,", 0.0, 1.0)

    monkeypatch.setattr(pictured, "map_strip", look)
    assert normfed("report", run.folder).exit_code == 0
    cases = sorted((row for row in run.people()), key=lambda row: -row["auprc"])
    chosen = [cases[0], cases[len(cases) // 2], cases[-1]]
    assert len(shown) == len(chosen) + 1  # somebody healthy last; there is no baseline beside
    for case, found in zip(chosen, shown[:-1], strict=True):
        np.testing.assert_array_equal(found, run.maps[case["name"]])


def test_the_reports_clusters_are_those_of_the_metrics_and_of_score(run: Run, hospitals: Path, tmp_path: Path) -> None:
    rows = {row["name"]: row for row in run.people()}
    visits = {visit.name: visit for visit in read_dataset(hospitals).visits}
    found = json.loads((run.folder / "metrics.json").read_text())
    threshold = found["evaluation"]["federated"]["threshold"]["value"]
    compared = 0
    opened = reopen(run.folder)
    for case in pictured.cases(opened, layout.read(run.folder), patients.sites_of(opened))[:-1]:  # healthy: the last
        assert case.clusters is not None
        row = rows[case.name]
        hits = [cluster.rank for cluster in case.clusters if cluster.hit]
        highest = max(run.maps[name].max() for name, other in rows.items() if other["site"] == case.site)
        if threshold <= highest:  # else the site's metrics are at its own highest score
            assert (hits[0] if hits else None) == row["cluster_rank"]
            assert len(case.clusters) - len(hits) == row["false_clusters"]
            assert case.detected == pictured.detected(row["lesion_sensitivity"])
            assert (case.detected == "missed") == (not hits)
            compared += 1
        images = visits[case.name].images.values()
        scored = one(run.folder, list(images), tmp_path / case.title, case.site)
        assert scored.cluster_table is not None
        table = [line.split("\t") for line in scored.cluster_table.read_text().splitlines()[1:]]
        expected = [(f"{cluster.volume_mm3 / 1000:.4g}", f"{cluster.peak_score:.6g}") for cluster in case.clusters]
        assert [(line[1], line[2]) for line in table] == expected
        assert all(0 < float(line[4]) <= 1 for line in table)
    assert compared


def test_the_abnormal_share_is_by_the_runs_threshold_and_by_none_of_another_scale(
    run: Run, hospitals: Path, tmp_path: Path
) -> None:
    row = next(row for row in run.people() if row["site"] == "c")
    scans = next(visit for visit in read_dataset(hospitals).visits if visit.name == row["name"]).images.values()
    scored = one(run.folder, list(scans), tmp_path / "maps", "c")
    found = json.loads((run.folder / "metrics.json").read_text())
    inside = run.maps[row["name"]][run.maps[row["name"]] > 0]
    threshold = found["evaluation"]["federated"]["threshold"]["value"]
    assert scored.abnormal_share == pytest.approx((inside >= np.float32(threshold)).mean())
    older = tmp_path / "older"
    shutil.copytree(run.folder, older)
    del found["lowest_score"]
    (older / "metrics.json").write_text(json.dumps(found))
    assert one(older, list(scans), tmp_path / "again", "c").abnormal_share is None


def test_other_names_and_folders_are_still_grouped_by_name(run: Run, hospitals: Path, tmp_path: Path) -> None:
    """A dataset that is none of ours, here without the column `site`, is no obstacle."""
    visit = read_dataset(hospitals).visits[0]
    (tmp_path / "participants.tsv").write_text(f"participant_id\n{visit.participant.subject}\n")
    scans = []
    for modality, path in visit.images.items():
        scans.append(tmp_path / f"new_space-MNI152NLin2009aSym_{modality}.nii.gz")
        scans[-1].write_bytes(path.read_bytes())
    assert normfed("score", run.folder, *scans, "--out", tmp_path / "maps").exit_code == 0
    (written,) = (tmp_path / "maps" / "sub-new" / "anat").glob("*desc-anomaly_map.nii.gz")
    assert written.name == "sub-new_space-T1w_desc-anomaly_map.nii.gz"
