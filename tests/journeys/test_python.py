"""A study from Python: the weights, figures and maps of the command, in frames and images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from commands import assert_same, normfed, run_folder, weights
from conftest import TINY
from sklearn.metrics import roc_auc_score

import normfed as python
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.models.intensity import Intensity
from normfed_simulation import experiment
from normfed_simulation.api.opened import OpenRun
from normfed_simulation.watcher import Silent

pytestmark = pytest.mark.xdist_group("journeys")
STUDY: dict[str, Any] = {**TINY, "name": "python", "comparisons": {"baselines": [{"name": "atlas"}], "pooled": False}}
ALONE = {**STUDY, "comparisons": {"local": False, "pooled": False, "baselines": []}}  # which has the same weights


@pytest.fixture(scope="module")
def run(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenRun:
    """The tiny study, changed and run from Python."""
    out = tmp_path_factory.mktemp("runs")
    return python.simulate(STUDY, out=out, workers=0, progress=False, **{"federation.rounds": 2})


def test_python_trains_the_weights_of_the_command(run: OpenRun, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(ALONE))
    out = tmp_path / "runs"
    done = normfed(
        "simulate", tmp_path / "study.yaml", "--set", "federation.rounds=2", "--out", out, "--workers", 0, "-q"
    )
    assert done.exit_code == 0, done.output
    assert_same(weights(run_folder(out)), weights(run.folder))
    assert run.study.federation.rounds == 2


def test_the_frames_are_the_figures_of_the_run(run: OpenRun) -> None:
    metrics = json.loads((run.folder / "metrics.json").read_text())
    patients = run.patients
    assert set(patients.model) == {"federated", "local", "atlas"}
    assert len(patients.groupby(["site", "subject", "model"])) == 7 * 3
    means = patients.groupby(["model", "metric"]).value.mean()
    for model, figures in metrics["evaluation"].items():
        for metric in ("auroc", "auprc", "dice"):
            assert means[model, metric] == pytest.approx(figures["all"][metric]["mean"])
    read = {visit.name: visit.participant for visit in read_dataset(scans(run)).visits}
    ages = patients.drop_duplicates("subject").set_index("subject").age
    assert ages.to_dict() == {name: pytest.approx(read[name].age) for name in ages.index}
    federated = run.sites[run.sites.model == "federated"]
    at_a = federated[(federated.site == "a") & (federated.metric == "auroc")]
    assert at_a["mean"].item() == metrics["evaluation"]["federated"]["sites"]["a"]["auroc"]["mean"]
    losses = run.rounds[run.rounds.model == "federated"].pivot(index="round", columns="site", values="loss")
    assert losses.loc[2].to_dict() == metrics["rounds"][1]["loss"]
    assert list(run.league.model)[-1] == "local"
    assert set(run.gains.other) == set(metrics["differences"])
    assert set(run.kinds.kind) == set(metrics["evaluation"]["federated"]["kinds"])
    assert set(run.matrix.trained) == set(metrics["matrix"]["auroc"])
    assert set(run.calibration.model) <= set(metrics["evaluation"])
    assert list(run.cohorts.site) == [site["name"] for site in metrics["sites"]]


def test_maps_are_those_of_the_run_and_of_its_other_models(run: OpenRun) -> None:
    subject = run.patients.subject.iloc[0]
    (kept,) = run.folder.glob(f"maps/{subject}_space-*_desc-anomaly_map.nii.gz")
    ours, expected = run.map(subject), nibabel.load(kept)
    np.testing.assert_array_equal(ours.get_fdata(), expected.get_fdata())
    again = python.OpenRun(run.folder).map(subject, "local")
    assert again.shape == ours.shape
    np.testing.assert_allclose(again.affine, ours.affine)
    assert not np.array_equal(again.get_fdata(), ours.get_fdata())
    on_flair = run.map(subject, modality="FLAIR")
    assert on_flair.shape == run.scan(subject, "FLAIR").shape
    np.testing.assert_allclose(on_flair.affine, run.scan(subject, "FLAIR").affine, atol=1e-5)
    lesion = run.lesion(subject)
    assert lesion is not None
    assert lesion.get_fdata().any()


def test_a_model_of_a_run_scores_a_scan_as_the_run_did(run: OpenRun) -> None:
    site = Site(next(config for config in read_sites(run.folder / "sites.json") if config.name == "a"), run.study)
    case = site.test[0]
    row = run.patients.query("subject == @case.visit.name and model == 'federated' and metric == 'auroc'")
    mask, lesion = case.entry.evaluated(), case.entry.lesion()
    for model in (run.model(), run.model("federated", "a")):
        rng = seeds.generator(run.study.seed, "score", case.visit.name)
        found = model.score([case.scan()], rng).anomaly
        assert roc_auc_score(lesion[mask], found[mask]) == pytest.approx(row.value.item())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"subject": "sub-nobody"}, "nobody is called sub-nobody"),
        ({"modality": "T2w"}, "has no T2w, only FLAIR, T1w"),
        ({"model": "krum"}, r"has no model called krum\. Its models are atlas, federated"),
        ({"model": "atlas", "which": "doubt"}, r"atlas makes no map called doubt\. Its maps are anomaly"),
    ],
)
def test_a_map_that_is_none_is_said(run: OpenRun, asked: dict[str, str], said: str) -> None:
    with pytest.raises(RunError, match=said):
        run.map(**{"subject": run.patients.subject.iloc[0], **asked})


def test_a_run_of_a_server_has_no_patients(run: OpenRun, tmp_path: Path) -> None:
    for name in ("study.yaml", "metrics.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    served = python.open_run(tmp_path)
    assert len(served.sites) == len(run.sites)
    with pytest.raises(RunError, match="no figures of single patients, which never leave a hospital"):
        _ = served.patients
    with pytest.raises(RunError, match="has no scans: it is a server's"):
        served.map("sub-01")
    with pytest.raises(RunError, match="is a server's run, whose sites are elsewhere"):
        served.model(site="a")
    with pytest.raises(RunError, match=r"every site has a local model of its own\. Say whose with site="):
        served.model("local")


def test_whoever_interrupts_a_run_is_told_what_goes_on_and_it_ends_with_the_same_weights(
    run: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment.runs, "forget_sums", _interrupt)  # all is trained, and no report is there
        with pytest.raises(KeyboardInterrupt) as stopped:
            python.simulate(ALONE, out=tmp_path, workers=0, progress=False, **{"federation.rounds": 2})
    folder = run_folder(tmp_path)
    note = f"All figures are there: normfed.open_run({str(folder)!r}). Its report: normfed report {folder}"
    assert stopped.value.__notes__ == [note]  # once normfed.resume, which says that nothing is left to do
    (folder / "metrics.json").unlink()
    again = python.resume(folder, workers=0, progress=False)
    assert_same(weights(again.folder), weights(run.folder))
    assert again.report.exists()


def test_a_script_without_a_main_guard_runs_a_study_on_worker_processes(run: OpenRun, tmp_path: Path) -> None:
    """As a notebook does, whose cells are no module that a worker could import."""
    call = f"{ALONE!r}, out={str(tmp_path)!r}, workers=2, **{{'federation.rounds': 2}}"
    undrawn = "from normfed_simulation import experiment; experiment.write_paper = lambda run: []"
    script = f"import normfed; {undrawn}; run = normfed.simulate({call})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Evaluation: 1 of 1" in done.stderr
    assert_same(weights(run_folder(tmp_path)), weights(run.folder))


def test_a_model_of_ones_own_is_tried_out_in_this_process(hospitals: Path, tmp_path: Path, trying: None) -> None:
    class Twice(Intensity):
        """Twice another model's score orders voxels as it does."""

        def score(self, scans: Sequence[Scan], rng: np.random.Generator) -> Score:
            return Score(2 * super().score(scans, rng).anomaly)

    python.try_model("twice", Twice)
    beside = {"local": False, "pooled": False, "baselines": [{"name": "intensity"}]}
    study = {**TINY, "model": {"name": "twice"}, "comparisons": beside}
    with pytest.raises(StudyError, match=r"twice: tried out in this process, .* Give workers=0"):
        python.simulate(study, out=tmp_path, workers=2, progress=False)
    assert not list(tmp_path.iterdir())
    run = python.simulate(study, out=tmp_path, progress=False)
    ranked = run.patients[run.patients.metric == "auroc"].pivot(index="subject", columns="model", values="value")
    assert len(ranked) == 7
    np.testing.assert_array_equal(ranked["federated"], ranked["flair-intensity"])
    subject = ranked.index[0]
    ours, theirs = (run.map(subject, model).get_fdata() for model in ("federated", "flair-intensity"))
    np.testing.assert_allclose(ours, 2 * theirs, atol=1e-5)


def test_new_scans_are_scored_into_a_frame_that_names_who_was_not(
    run: OpenRun, hospitals: Path, tmp_path: Path
) -> None:
    subject = run.patients.subject.iloc[0]
    (tmp_path / "stranger_T1w.nii.gz").write_bytes(b"no image")
    told = Telling()
    scan = next(hospitals.glob(f"{subject}/**/*_T1w.nii.gz"))
    found = python.score(run, [scan, tmp_path / "stranger_T1w.nii.gz"], out=tmp_path / "out", progress=told)
    assert list(found.status) == ["scored", "failed"]
    assert "FLAIR is missing" in found.reason[1]
    assert told.warned == [found.reason[1]]
    assert found.attrs["notes"] == []
    assert found.subject[0] == subject
    ours = nibabel.Nifti1Image.from_filename(found.anomaly_map[0])
    np.testing.assert_array_equal(ours.get_fdata(), run.map(subject).get_fdata())


class Telling(Silent):
    """Remembers what is to be known."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


def test_who_is_in_a_dataset_is_a_frame(hospitals: Path) -> None:
    assert python.example_data(TINY, progress=False) == hospitals
    found = python.inspect(hospitals)
    read = read_dataset(hospitals)
    assert len(found) == len(read.visits) == 22
    row = found[found.subject == read.visits[0].participant.subject].iloc[0]
    assert (row.site, row.age) == (read.visits[0].participant.site, read.visits[0].participant.age)
    assert row.modalities == "FLAIR, T1w"
    assert found[found.lesions != ""].groupby("site").subject.nunique().sum() == 7
    assert found.attrs["problems"] == []


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def scans(run: OpenRun) -> Path:
    sites = json.loads((run.folder / "sites.json").read_text())
    return Path(sites[0]["data"])
