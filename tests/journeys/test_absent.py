"""People without a modality take part from end to end: prepared, learnt from, scored, shown."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import toys
import yaml
from commands import normfed, run_folder
from conftest import TINY

from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import load_study
from normfed_server.results import layout
from normfed_server.runs.folder import reopen
from normfed_simulation import patients, pictured
from normfed_simulation.phantom import hospitals

pytestmark = pytest.mark.xdist_group("journeys")


def asked() -> dict[str, Any]:
    """Of a some people have no FLAIR, of b everybody has all, of c nobody has a FLAIR."""
    raw = copy.deepcopy(TINY)
    first, _, last = raw["data"]["phantom"]["sites"]
    first["without"], last["without"] = {"FLAIR": 0.5}, {"FLAIR": 1.0}
    raw["data"]["may_lack"] = ["FLAIR"]
    raw["model"] = {"name": "atlas"}
    baselines = [{"name": "intensity", "modality": "T1w"}, {"name": "toy-mixture", "rounds": 2}]
    raw["comparisons"] = {"local": True, "pooled": True, "baselines": baselines}
    return raw


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("absent") / "data"
    with toys.registered():
        path = root.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(asked()))
        study = load_study(path)
    assert study.data.phantom is not None
    hospitals.write(study.data.phantom, study.seed, root, workers=1)
    return root


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    (out / "study.yaml").write_text(yaml.safe_dump(asked()))
    with toys.registered():
        made = normfed(
            "simulate", out / "study.yaml", "--data", dataset, "--out", out / "runs", "--workers", 0, "--quiet"
        )
    assert made.exit_code == 0, made.output
    return run_folder(out / "runs")


def opened(run: Path, name: str) -> Site:
    with toys.registered():
        study = load_study(run / "study.yaml")
    return Site(next(config for config in read_sites(run / "sites.json") if config.name == name), study)


def test_everybody_takes_part_and_each_sum_is_over_those_who_have_the_modality(run: Path) -> None:
    assert json.loads((run / "left_out.json").read_text()) == []
    train = [case for name in "abc" for case in opened(run, name).train]
    people = [sum(modality in case.visit.images for case in train) for modality in ("T1w", "FLAIR")]
    assert 0 < people[1] < people[0] == len(train)
    found = named.load(run / "model.safetensors")
    assert found["sums.moments.count"].max((1, 2, 3)).tolist() == people
    pooled = named.load(run / "arms" / "pooled" / "model.safetensors")
    for array in found:
        np.testing.assert_allclose(found[array], pooled[array], rtol=1e-9, atol=1e-9)


def test_every_model_has_figures_of_the_site_where_nobody_has_the_modality(run: Path) -> None:
    evaluation = json.loads((run / "metrics.json").read_text())["evaluation"]
    assert {"federated", "local", "pooled", "t1w-intensity", "toy-mixture"} <= set(evaluation)
    for model in ("federated", "local", "pooled", "t1w-intensity", "toy-mixture"):
        assert evaluation[model]["sites"]["c"]["auprc"]["mean"] is not None, model


def test_the_report_shows_what_a_patient_has(run: Path) -> None:
    with toys.registered():
        opened = reopen(run)
        cases = pictured.cases(opened, layout.read(run), patients.sites_of(opened))
        shown = {case.site: [modality for modality, _ in case.scans] for case in cases if case.ill}
    assert shown
    for site, modalities in shown.items():
        assert modalities == {"b": ["T1w", "FLAIR"], "c": ["T1w"]}.get(site, modalities)


def test_score_takes_a_person_without_the_modality_and_none_without_another(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    visit = next(visit for visit in read_dataset(dataset).visits if "FLAIR" not in visit.images and visit.lesions)
    with toys.registered():
        assert normfed("score", run, *visit.images.values(), "--out", tmp_path).exit_code == 0
        written = sorted(tmp_path.rglob("*_map.nii.gz"))
        assert written[0].name.endswith("desc-anomaly_map.nii.gz")
        for path in written:
            expected = nibabel.load(run / "maps" / path.name)
            np.testing.assert_array_equal(nibabel.load(path).get_fdata(), expected.get_fdata())
        alone = tmp_path / "sub-x_FLAIR.nii.gz"
        alone.write_bytes(b"")
        refused = normfed("score", run, alone, "--out", tmp_path)
        assert refused.exit_code == 2
        assert "sub-x: the model needs T1w; T1w is missing" in refused.output


def test_a_model_that_needs_the_modality_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(asked() | {"model": TINY["model"]}))
    with toys.registered(), pytest.raises(StudyError, match=r"may have no FLAIR, which siamese \(model\) needs"):
        normfed("simulate", tmp_path / "study.yaml", "--data", tmp_path / "nowhere", "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_inspect_says_how_many_people_lack_what(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = {line.split("│")[1].strip(): line for line in normfed("inspect", dataset).stdout.splitlines() if "│" in line}
    without = {
        site: sum(1 for v in visits if "FLAIR" not in v.images)
        for site, visits in read_dataset(dataset).sites().items()
    }
    assert without["b"] == 0 < without["a"] <= without["c"]
    for site in "ac":
        assert f"│ FLAIR {without[site]} " in rows[site]
