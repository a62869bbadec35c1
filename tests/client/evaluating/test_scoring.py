"""Scans scored with the model of a finished run: which model, which scans belong together, what stays as it was."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohorts
import nibabel
import numpy as np
import pytest
import torch
import typer
from nibabel.affines import apply_affine
from scipy import ndimage
from typer.testing import CliRunner

from normfed_client import cli
from normfed_client.evaluating.scoring import group, score_scans, visits_of
from normfed_client.evaluating.served import served_arrays
from normfed_client.hospital.personal import PersonalStore
from normfed_client.imaging.template import common_grid
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, ScanError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.metrics.calibration import FILE, NormalVoxels
from normfed_common.metrics.tissue import CLASSES
from normfed_common.models.intensity import Intensity
from normfed_common.studies import resolve

THREADS = 2
NAMES = ("anomaly", "pvalue")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), {"a": {"control": 3}})


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The caller computes with another number of threads than the study gives a site."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS + 1)
    yield
    torch.set_num_threads(before)


def written(folder: Path, arrays: Arrays | None = None, header: dict[str, Any] | None = None, **study: Any) -> Path:
    """A finished run of sites a and b, and of pooled training."""
    raw = {
        "name": "done",
        "data": {"modalities": ["T1w", "FLAIR"]},
        "preprocessing": {"voxel_size_mm": 4},
        "model": {"name": "intensity"},
        "federation": {"threads_per_site": THREADS},
    }
    for site in ("a", "b", "pooled"):
        (folder / "sites" / site).mkdir(parents=True)
    (folder / "study.yaml").write_text(resolve({**raw, **study}, "test").model_dump_json())
    named.save(folder / "model.safetensors", arrays or {}, header)
    return folder


def scans_of(dataset: Path, *people: int) -> list[Path]:
    return [path for number in people for path in sorted((dataset / f"sub-acontrol{number:02d}" / "anat").iterdir())]


def test_between_maps_and_after_an_abandoned_one_the_caller_computes_as_before(
    dataset: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[int] = []
    whole = Intensity.score

    def score(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        within.append(torch.get_num_threads())
        return whole(model, visits, rng)

    monkeypatch.setattr(Intensity, "score", score)
    maps = score_scans(written(tmp_path / "run"), scans_of(dataset, 0, 1, 2), tmp_path / "maps", "cpu")
    for _ in range(2):
        next(maps)
        assert torch.get_num_threads() == THREADS + 1
    assert within == [THREADS] * 2
    # `maps` is still alive, and never asked for the third.
    assert len(list((tmp_path / "maps").iterdir())) == 2


def test_a_broken_map_is_not_written_and_the_reason_is_said(
    dataset: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Intensity.score

    def beyond(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return Score(whole(model, visits, rng).anomaly + np.float32(0.1))

    monkeypatch.setattr(Intensity, "score", beyond)
    with pytest.raises(RunError, match=r"^sub-acontrol01: the anomaly map is not 0 outside the brain"):
        list(score_scans(written(tmp_path / "run"), scans_of(dataset, 1), tmp_path / "maps", "cpu"))
    assert not list((tmp_path / "maps").glob("*"))


@pytest.mark.parametrize("threshold", [False, True])
def test_what_a_model_remarks_on_a_scan_is_said_to_whoever_scores_it(
    dataset: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: bool
) -> None:
    whole, remark = Intensity.score, "T1w is unlike [all] others."

    def unlike(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return replace(whole(model, visits, rng), remarks=(remark,))

    run = written(tmp_path / "run", postprocessing={"edge_mm": 5})
    if threshold:
        found = {"lowest_score": 0.0, "evaluation": {"federated": {"threshold": {"value": 0.9}}}}
        (run / "metrics.json").write_text(json.dumps(found))
    scans = [*map(str, scans_of(dataset, 0))]
    app = typer.Typer()
    app.command()(cli.score)

    def said() -> str:
        result = CliRunner().invoke(app, [str(run), *scans, "--out", str(tmp_path / "maps")])
        assert result.exit_code == 0, result.output
        return result.output

    assert "!" not in said()
    monkeypatch.setattr(Intensity, "score", unlike)
    name = "sub-acontrol00_space-T1w_desc-anomaly_map.nii.gz"
    assert f"! {name}: {remark}" in said()


def test_a_scans_name_is_said_as_it_is_and_does_nothing_to_the_terminal(
    dataset: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Intensity.score

    def unlike(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return replace(whole(model, visits, rng), remarks=("It is unlike all others.",))

    monkeypatch.setattr(Intensity, "score", unlike)
    scans = []
    for path in scans_of(dataset, 0):
        scans.append(tmp_path / path.name.replace("sub-", "[red]\x1b[2J"))
        shutil.copy(path, scans[-1])
    app = typer.Typer()
    app.command()(cli.score)
    out = tmp_path / "[" / "]"  # a path that closes what is not open
    arguments = [str(written(tmp_path / "run")), *map(str, scans), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert result.output.count("[red]\\x1b[2Jacontrol00_space-") == 2


def test_the_share_above_the_threshold_is_counted_in_the_brain(dataset: Path, cache: Path, tmp_path: Path) -> None:
    """The intensity baseline ranks the brain's voxels, so that a share q of them is at or above 1 - q."""
    run = written(tmp_path / "run")
    (only,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
    assert np.isnan(only.abnormal_share)
    found = {"lowest_score": 0.0, "evaluation": {"federated": {"threshold": {"value": 0.9}}}}
    (run / "metrics.json").write_text(json.dumps(found))
    (again,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
    assert again.abnormal_share == pytest.approx(0.1, abs=0.01)
    assert again.subject_score == only.subject_score == pytest.approx(0.98, abs=0.01)
    values = nibabel.load(again.path).get_fdata()
    assert (values >= 0.9).sum() / (values > 0).sum() == pytest.approx(0.1, abs=0.01)


def test_clusters_at_the_threshold_stand_beside_the_map_at_the_places_where_it_shows_them(
    dataset: Path, cache: Path, tmp_path: Path
) -> None:
    """The scans lie on the common grid, so that the map itself has the clusters, of one voxel of 64 mm3 or more."""
    run = written(tmp_path / "run")
    (only,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
    assert only.clusters is None
    assert not list((tmp_path / "maps").glob("*_clusters*"))
    found = {"lowest_score": 0.0, "evaluation": {"federated": {"threshold": {"value": 0.9998}}}}
    (run / "metrics.json").write_text(json.dumps(found))
    (again,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
    assert again.clusters == again.path.with_name(again.path.name.replace("_map.nii.gz", "_clusters.tsv"))
    with again.clusters.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    image = nibabel.load(again.path)
    values = image.get_fdata()
    labels, _ = ndimage.label(values >= np.float32(0.9998), np.ones((3, 3, 3)))
    assert 1 < len(rows) < 10  # so few that the threshold stays
    for row in rows:
        place = [float(row[f"{axis}_mm"]) for axis in "xyz"]
        voxel = tuple(apply_affine(np.linalg.inv(image.affine), place).round().astype(int))
        cluster = values[labels == labels[voxel]]
        assert values[voxel] == cluster.max() == pytest.approx(float(row["peak_score"]), abs=1e-5)
        assert float(row["volume_mm3"]) == 64 * cluster.size
        assert float(row["mean_score"]) == pytest.approx(cluster.mean(), abs=1e-5)
        assert row["p_value"] == "n/a"
        assert row["tissue"] in CLASSES


def test_where_classes_have_thresholds_of_their_own_the_share_is_by_those(
    dataset: Path, cache: Path, tmp_path: Path
) -> None:
    run = written(tmp_path / "run")
    shares = {}
    for name in (*CLASSES, "none"):
        thresholds = {other: 0.9 if other == name else 2.0 for other in CLASSES}  # no rank is 2
        federated = {"threshold": {"value": 0.9}, "calibration": {"thresholds": thresholds}}
        (run / "metrics.json").write_text(json.dumps({"lowest_score": 0.0, "evaluation": {"federated": federated}}))
        (found,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
        shares[name] = found.abnormal_share
    assert shares.pop("none") == 0
    assert sum(shares.values()) == pytest.approx(0.1, abs=0.01)
    assert sum(share > 0 for share in shares.values()) > 1


@pytest.mark.parametrize("by", ["whole-brain", "tissue"])
def test_p_values_stand_beside_the_anomaly_where_the_run_has_normal_voxels(
    dataset: Path, cache: Path, tmp_path: Path, by: str
) -> None:
    """Of ranks that are compared with as many voxels in each hundredth, p is 1 less the rank; of other classes, 1."""
    run = written(tmp_path / "run", evaluation={"threshold_by": by})
    edges = np.linspace(0, 1, 101)
    counts = np.zeros((len(CLASSES), len(edges) + 1), np.int64)
    counts[CLASSES.index("grey"), 1:-1] = 1000
    counts[1:, -1] = 10  # all above every rank
    normal = NormalVoxels(edges, counts)
    named.save(run / FILE, normal.arrays())
    (found,) = score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu")
    anomaly, p = (nibabel.load(tmp_path / "maps" / found.path.name.replace("anomaly", name)) for name in NAMES)
    np.testing.assert_array_equal(anomaly.affine, p.affine)
    scores, values = anomaly.get_fdata(), p.get_fdata()
    assert (values[scores == 0] == 1).all()
    grey = (scores > 0) & (values < 0.999)
    if by == "whole-brain":
        np.testing.assert_allclose(values[scores > 0], 1 - scores[scores > 0], atol=0.0105)
    else:
        assert 0.1 < grey.sum() / (scores > 0).sum() < 0.9
        np.testing.assert_allclose(values[grey], 1 - scores[grey], atol=0.0105)


def test_a_calibration_that_holds_something_else_is_named(dataset: Path, cache: Path, tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    named.save(run / FILE, {"edges": np.zeros(2)})
    with pytest.raises(RunError, match=rf"{FILE}: there are edges instead of edges and counts"):
        list(score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu"))


def test_a_person_without_a_modality_of_the_study_is_named_before_anything_is_scored(
    dataset: Path, cache: Path, tmp_path: Path
) -> None:
    loose = []
    for name, source in (("p_T1w.nii.gz", 0), ("q_T1w.nii.gz", 0), ("q_FLAIR.nii.gz", 1)):
        loose.append(tmp_path / name)
        loose[-1].write_bytes(scans_of(dataset, source)[0].read_bytes())
    with pytest.raises(ScanError, match=r"^p: the model needs T1w, FLAIR; FLAIR is missing\. .* here p_FLAIR\.nii\.gz"):
        list(score_scans(written(tmp_path / "run"), loose, tmp_path / "maps", "cpu"))
    assert not (tmp_path / "maps").exists()


def test_of_a_person_of_a_dataset_it_is_said_where_the_modality_was_expected(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 1}})
    t1, flair = (next(data.glob(f"sub-*/anat/*_{modality}.nii.gz")) for modality in ("T1w", "FLAIR"))
    flair.rename(flair.with_name(flair.name.replace("FLAIR", "flair")))
    with pytest.raises(ScanError) as refused:
        list(score_scans(written(tmp_path / "run"), [t1], tmp_path / "maps", "cpu"))
    assert str(refused.value).startswith(
        "sub-acontrol00: the model needs T1w, FLAIR, and the dataset has no FLAIR (expected "
        "sub-acontrol00/anat/sub-acontrol00_FLAIR.nii.gz; found sub-acontrol00/anat/sub-acontrol00_"
    )


NETWORK = {"network.w": np.arange(3.0, dtype=np.float32)}
SIAMESE = {"name": "siamese", "patch_size": 9}


def test_a_run_without_its_model_is_not_finished(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"holds no model\.safetensors\. Finish the run first: normfed simulate"):
        served_arrays(run, None)


@pytest.mark.parametrize("what", ["study", "folder", "nothing"])
def test_what_is_no_run_is_said_with_what_is_needed_and_how_to_make_one(tmp_path: Path, what: str) -> None:
    given = {"study": tmp_path / "my.yaml", "folder": tmp_path, "nothing": tmp_path / "run"}[what]
    (tmp_path / "my.yaml").write_text("name: my")
    found = {"study": "a file", "folder": "a folder without study.yaml", "nothing": "no such folder"}[what]
    made_by = given if what == "study" else "STUDY.yaml"
    with pytest.raises(RunError) as refused:
        list(score_scans(given, [tmp_path / "sub-1_T1w.nii.gz"], tmp_path / "maps", "cpu", None))
    assert str(refused.value) == (
        f"{given}: {found}, where a run folder is needed, such as runs/demo-20260101-120000. "
        f"`normfed simulate {made_by}` makes one."
    )


def test_a_site_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no site is called pooled\. Its sites are a, b\."):
        served_arrays(written(tmp_path / "run"), "pooled")


def test_a_site_is_served_the_model_of_its_cluster_and_nobody_knows_which_without_one(tmp_path: Path) -> None:
    stacked = named.stacked([NETWORK, {"network.w": NETWORK["network.w"] + 10}])
    strategy = {"name": "ifca", "clusters": 2}
    run = written(tmp_path / "run", stacked, {"clusters": {"a": 1, "b": 0}}, model=SIAMESE, strategy=strategy)
    assert served_arrays(run, "a")["network.w"].tolist() == [10, 11, 12]
    assert served_arrays(run, "b")["network.w"].tolist() == [0, 1, 2]
    with pytest.raises(RunError, match=r"under ifca sites have models of their own\. Say whose with --site: a, b\."):
        served_arrays(run, None)


def test_a_site_that_did_not_train_has_no_whole_model_where_parts_stay_at_the_sites(tmp_path: Path) -> None:
    run = written(tmp_path / "run", NETWORK, model=SIAMESE, strategy={"name": "fedper"})
    with pytest.raises(RunError, match="b did not train, so under fedper it has no whole model"):
        served_arrays(run, "b")
    with pytest.raises(RunError, match="under fedper sites have models of their own"):
        served_arrays(run, None)


def test_another_model_of_a_run_is_served_with_its_own_personal_parts(tmp_path: Path) -> None:
    strategies = {"comparisons": {"strategies": [{"name": "fedper"}]}}
    run = written(tmp_path / "run", NETWORK, model=SIAMESE, strategy={"name": "fedavg"}, **strategies)
    named.save(run / "arms" / "fedper" / "model.safetensors", {"network.w": NETWORK["network.w"] + 5})
    PersonalStore(run / "sites" / "a" / "personal" / "fedper").save(1, {"network.own": np.ones(2, np.float32)}, 0)
    found = served_arrays(run, "a", "fedper")
    assert {name: array.tolist() for name, array in found.items()} == {"network.w": [5, 6, 7], "network.own": [1, 1]}
    assert served_arrays(run, "a")["network.w"].tolist() == [0, 1, 2]
    for arm in ("local-a", "krum"):  # one was never trained, the other is none of the study's
        with pytest.raises(RunError, match=rf"has no model called {arm}\. Its models are fedper\."):
            served_arrays(run, "a", arm)


def test_scans_whose_names_agree_up_to_the_modality_are_one_visit() -> None:
    paths = [Path(name) for name in ("x/p_T1w.nii.gz", "x/q_FLAIR.nii", "x/p_ce-GAD_T1w.nii.gz", "x/T2w.nii.gz")]
    visits = group(paths)
    assert [visit.participant.subject for visit in visits] == ["", "p", "q"]
    assert visits[1].images == {"T1w": paths[0], "ce-GAD_T1w": paths[2]}


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["p_dwi.nii.gz"], r"p_dwi\.nii\.gz: the name does not say the modality"),
        (["a/p_T1w.nii.gz", "b/p_T1w.nii.gz"], r"b/p_T1w\.nii\.gz: a second T1w of p, beside a/p_T1w\.nii\.gz"),
    ],
)
def test_a_scan_that_belongs_nowhere_or_twice_is_refused(names: list[str], why: str) -> None:
    with pytest.raises(ScanError, match=why):
        group([Path(name) for name in names])


def test_a_scan_of_a_dataset_is_of_the_visit_that_the_dataset_says(dataset: Path) -> None:
    (visit,) = visits_of(scans_of(dataset, 2)[:1])
    assert visit.name == "sub-acontrol02"
    assert set(visit.images) == {"T1w", "FLAIR"}  # what lies beside it, too
    assert visit.participant.age == 50


def test_a_scan_is_in_its_dataset_by_whatever_path_it_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    paths = [Path(os.path.relpath(scan)) for scan in scans_of(dataset, 2)[:1]]
    assert ".." in paths[0].parts
    assert [visit.name for visit in visits_of(paths)] == ["sub-acontrol02"]


@pytest.mark.parametrize(
    ("named", "on"),
    [(["FLAIR"], "FLAIR"), (["T1w"], "T1w"), (["FLAIR", "T1w"], "T1w"), (["T2w", "FLAIR"], "T2w")],
    ids=["FLAIR", "T1w", "both", "one that the study lacks, first"],
)
def test_maps_lie_on_the_scan_that_is_named_or_on_the_t1_where_it_is_among_them(
    tmp_path: Path, cache: Path, named: list[str], on: str
) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 1}})
    shutil.rmtree(data / "derivatives")  # the brain mask lies on the grid that all scans had
    (person,) = data.glob("sub-*")
    flair = nibabel.load(next(person.glob("anat/*_FLAIR.nii.gz")))
    smaller = nibabel.Nifti1Image(flair.get_fdata()[2:, 1:, :-3].astype(np.float32), flair.affine @ shift(2, 1, 0))
    nibabel.save(smaller, flair.get_filename())
    nibabel.save(nibabel.Nifti1Image(smaller.get_fdata()[::2], smaller.affine @ np.diag([2, 1, 1, 1])), _t2_of(flair))
    run = written(tmp_path / "run")
    (run / "metrics.json").write_text(
        json.dumps({"lowest_score": 0.0, "evaluation": {"federated": {"threshold": {"value": 0.9998}}}})
    )
    scans = [next(person.glob(f"anat/*_{modality}.nii.gz")) for modality in named]
    (found,) = score_scans(run, scans, tmp_path / "maps", "cpu")
    lies_on, shown = nibabel.load(next(person.glob(f"anat/*_{on}.nii.gz"))), nibabel.load(found.path)
    assert f"_space-{on}_" in found.path.name
    assert shown.shape == lies_on.shape
    np.testing.assert_allclose(shown.affine, lies_on.affine, atol=1e-6)
    assert found.clusters is not None
    assert f"_space-{on}_" in found.clusters.name
    with found.clusters.open() as file:
        peaks = [[float(row[f"{axis}_mm"]) for axis in "xyz"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(peaks) > 1
    values = shown.get_fdata()
    for peak in peaks if on != "T2w" else []:  # on half the slices a peak may fall between two
        assert values[tuple(apply_affine(np.linalg.inv(shown.affine), peak).round().astype(int))] > 0.9997


def shift(*voxels: int) -> np.ndarray:
    """The affine of an image that begins so many voxels later."""
    found = np.eye(4)
    found[:3, 3] = voxels
    return found


def _t2_of(flair: nibabel.Nifti1Image) -> str:
    return str(flair.get_filename()).replace("_FLAIR", "_T2w")


def test_a_folder_for_maps_that_cannot_be_made_is_named_before_anything_is_scored(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/maps: cannot be made \(Not a directory\)"):
        next(score_scans(written(tmp_path / "run"), scans_of(dataset, 2)[:1], tmp_path / "file" / "maps", "cpu"))


SHAPE = common_grid(4).shape
SUMS = {
    "sums.moments.count": np.full(SHAPE, 9.0),
    "sums.moments.sum": np.zeros((2, *SHAPE)),
    "sums.moments.squares": np.full((2, *SHAPE), 9.0),
}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (dict.fromkeys(SUMS), r"it holds no sums\.moments\.\*"),
        ({"sums.moments.count": None}, "there is no count"),
        ({"sums.moments.sum": np.full((2, *SHAPE), np.nan)}, r"sums\.moments\.sum holds what is no finite number"),
        ({"sums.moments.count": np.ones(SHAPE, bool)}, r"sums\.moments\.count holds what is no finite number"),
        ({"sums.moments.squares": np.zeros((3, *SHAPE))}, "squares is of shape"),
        ({"sums.moments.squares": -SUMS["sums.moments.squares"]}, "below 0"),
        ({"more": np.array([np.inf])}, "more holds what is no finite number"),
    ],
)
def test_a_tampered_model_is_refused_in_words(
    dataset: Path, cache: Path, tmp_path: Path, changed: dict[str, np.ndarray | None], why: str
) -> None:
    arrays = {name: array for name, array in (SUMS | changed).items() if array is not None}
    run = written(tmp_path / "run", arrays, model={"name": "atlas"})
    with pytest.raises(RunError, match=rf"model\.safetensors: not a model of the run's study \(.*{why}"):
        list(score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu"))


def test_a_model_with_more_in_it_than_it_needs_scores(dataset: Path, cache: Path, tmp_path: Path) -> None:
    run = written(tmp_path / "run", SUMS | {"more": np.zeros(3)}, model={"name": "atlas"})
    assert len(list(score_scans(run, scans_of(dataset, 0), tmp_path / "maps", "cpu"))) == 1
