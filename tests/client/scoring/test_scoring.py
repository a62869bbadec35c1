"""Scans scored with the model of a finished run: nobody stops the others, and nothing half-written stays."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bids_oracle
import cohorts
import nibabel
import numpy as np
import pytest
import torch
from finished_runs import THREADS, set_threshold, written
from nibabel.affines import apply_affine
from scipy import ndimage

from normfed_client.scoring import person_maps, scoring
from normfed_client.scoring.rows import PersonScore, Scores
from normfed_client.scoring.scoring import ScoreListener, score_inputs
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.metrics.calibration import FILE, NormalVoxels
from normfed_common.metrics.tissue import CLASSES
from normfed_common.models.intensity import Intensity


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


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> Path:
    return written(tmp_path / "run")


def person(dataset: Path, number: int) -> Path:
    return dataset / f"sub-acontrol{number:02d}"


def copied(dataset: Path, number: int, folder: Path, name: str) -> list[Path]:
    """The scans of a person under another name, in a folder without a dataset and without their brain mask."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for path in sorted((person(dataset, number) / "anat").iterdir()):
        scans.append(folder / path.name.replace(person(dataset, number).name, name))
        shutil.copy(path, scans[-1])
    return scans


def only(scores: Scores) -> PersonScore:
    (row,) = scores.people
    assert row.status == "scored", row.reason
    return row


def values(path: Path | None) -> np.ndarray:
    assert path is not None
    found: np.ndarray = nibabel.load(path).get_fdata()
    return found


def table(path: Path | None) -> list[dict[str, str]]:
    assert path is not None
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def changed_score(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    whole = Intensity.score

    def score(model: Intensity, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return change(whole(model, visits, rng))  # type: ignore[no-any-return]

    monkeypatch.setattr(Intensity, "score", score)


def test_between_maps_the_caller_computes_as_before(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[int] = []
    between: list[int] = []

    class Counting(ScoreListener):
        def done(self, row: PersonScore) -> None:
            between.append(torch.get_num_threads())

    changed_score(monkeypatch, lambda found: within.append(torch.get_num_threads()) or found)
    score_inputs(run, [dataset], tmp_path / "maps", listener=Counting())
    assert within == [THREADS] * 3
    assert between == [THREADS + 1] * 3


def test_one_bad_scan_stops_nobody_and_the_tables_say_why(dataset: Path, run: Path, tmp_path: Path) -> None:
    scans = [*copied(dataset, 0, tmp_path / "in", "sub-good"), *copied(dataset, 1, tmp_path / "in", "sub-bad")]
    next(path for path in scans if "bad" in path.name and "FLAIR" in path.name).write_bytes(b"no scan")
    copied(dataset, 2, tmp_path / "in", "sub-alone")[0].unlink()  # its FLAIR
    found = score_inputs(run, [tmp_path / "in"], tmp_path / "maps")
    assert [(row.name, row.status) for row in found.people] == [
        ("sub-alone", "failed"),
        ("sub-bad", "failed"),
        ("sub-good", "scored"),
    ]
    alone, bad, _ = found.people
    assert "FLAIR is missing" in alone.reason
    assert "not readable as NIfTI" in bad.reason
    rows = table(tmp_path / "maps" / "scores.tsv")
    assert [row["reason"] for row in rows] == [alone.reason, bad.reason.replace(f"{tmp_path}/in/", ""), "n/a"]
    assert [path.name for path in (tmp_path / "maps").glob("sub-*")] == ["sub-good"]
    assert bids_oracle.faults(tmp_path / "maps") == []


def test_nothing_in_the_dataset_says_where_it_was_made(dataset: Path, run: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "Ward 7" / "in", tmp_path / "maps"
    copied(dataset, 0, place, "sub-good")
    score_inputs(run, [place], out)
    copied(dataset, 1, tmp_path / "again", "sub-good")  # whose maps are there
    copied(dataset, 1, place, "sub-bad")[0].write_bytes(b"no scan")
    second = copied(dataset, 2, place, "sub-two")[1]
    shutil.copy(second, second.with_name(second.name.replace("sub-two_", "sub-two_acq-3d_")))
    (place / "unnamed.nii.gz").write_bytes(b"")
    found = score_inputs(run, [place, place / "unnamed.nii.gz"], out)
    assert {row.name for row in found.failed} == {"sub-bad", "sub-two", "sub-unnamed"}
    assert all(str(place) in row.reason for row in found.failed)  # on the screen
    assert [row.name for row in score_inputs(run, [tmp_path / "again"], out).failed] == ["sub-good"]
    texts = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".gz"]
    assert len(texts) > 5
    for path in texts:
        for part in (str(tmp_path), tmp_path.name, "Ward 7"):
            assert part not in path.read_text(), path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("four dimensions", "4-D"),
        ("not finite", "not finite"),
        ("constant", "there is no image in it"),
        ("voxels", "Are the units right"),
        ("no orientation", "left and right are unknown"),
        ("mask empty", "the mask is empty"),
        ("mask elsewhere", "not on the grid of its image"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_prepared(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, said: str
) -> None:
    t1 = next(path for path in copied(dataset, 0, tmp_path, "sub-x") if "T1w" in path.name)
    image = nibabel.load(t1)
    data = image.get_fdata(dtype=np.float32)
    mask = None
    if what == "four dimensions":
        image = nibabel.Nifti1Image(np.stack([data, data], -1), image.affine)
    elif what == "not finite":
        data[20, 20, 20] = np.nan
        image = nibabel.Nifti1Image(data, image.affine)
    elif what == "constant":
        image = nibabel.Nifti1Image(np.ones_like(data), image.affine)
    elif what == "voxels":
        image = nibabel.Nifti1Image(data, np.diag([4000.0, 4000, 4000, 1]))
    elif what == "no orientation":
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
    else:
        mask = tmp_path / t1.name.replace("T1w", "desc-brain_mask")
        cut = (data > 0) if what == "mask elsewhere" else np.zeros_like(data)
        nibabel.save(nibabel.Nifti1Image(cut[2:].astype(np.uint8) if cut.any() else cut, image.affine), mask)
    nibabel.save(image, t1)
    monkeypatch.setattr(scoring, "prepare", lambda *_: pytest.fail("prepared"))
    masks = [] if mask is None else [mask]
    (row,) = score_inputs(run, [t1], tmp_path / "maps", brain_masks=masks).people
    assert row.status == "failed"
    assert said in row.reason
    assert str(tmp_path) in row.reason


def test_a_person_with_a_mask_of_a_dataset_keeps_it_and_a_loose_one_is_found(
    dataset: Path, run: Path, tmp_path: Path
) -> None:
    inside = only(score_inputs(run, [person(dataset, 0)], tmp_path / "inside"))
    assert inside.brain == "given"
    scans = copied(dataset, 0, tmp_path / "in", "sub-acontrol00")
    assert only(score_inputs(run, scans, tmp_path / "found")).brain != "given"
    mask = next((dataset / "derivatives" / "masks" / person(dataset, 0).name).rglob("*brain_mask.nii.gz"))
    given = only(score_inputs(run, scans, tmp_path / "given", brain_masks=[mask]))
    shutil.copy(mask, tmp_path / "in")
    beside = only(score_inputs(run, scans, tmp_path / "beside"))
    for row in (given, beside):
        assert row.brain == "given"
        np.testing.assert_array_equal(values(row.map), values(inside.map))


def test_scans_whose_names_say_nothing_are_what_the_caller_says(dataset: Path, run: Path, tmp_path: Path) -> None:
    scans = dict(zip(("FLAIR", "T1w"), copied(dataset, 0, tmp_path / "in", "sub-x"), strict=True))
    expected = only(score_inputs(run, list(scans.values()), tmp_path / "named"))
    given = {
        modality: path.rename(tmp_path / f"{number}.nii.gz") for number, (modality, path) in enumerate(scans.items())
    }
    row = only(score_inputs(run, [], tmp_path / "said", modalities=given))
    assert row.participant_id == "sub-0"
    assert row.sources == ("0.nii.gz", "1.nii.gz")
    # The name says no longer that the scans lie in the template's space, so they are registered: alike, not equal.
    both = (values(row.map) > 0) & (values(expected.map) > 0)
    assert np.corrcoef(values(row.map)[both], values(expected.map)[both])[0, 1] > 0.9


def test_what_is_there_of_other_scans_stays_and_of_the_same_is_written_again(
    dataset: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    first = only(score_inputs(run, copied(dataset, 0, tmp_path / "a", "sub-x"), out))
    before = values(first.map)
    (refused,) = score_inputs(run, copied(dataset, 1, tmp_path / "b", "sub-x"), out).people
    assert "is there, made of other scans or by another model" in refused.reason
    np.testing.assert_array_equal(values(first.map), before)
    assert [row["status"] for row in table(out / "scores.tsv")] == ["scored"]
    assert only(score_inputs(run, [tmp_path / "a"], out)).subject_score == first.subject_score
    others = score_inputs(run, [dataset], out)
    assert len(others.scored) == 3
    assert len(table(out / "scores.tsv")) == 4
    assert bids_oracle.faults(out) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_breaks_off_leaves_what_is_whole_and_nothing_half_written(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write, calls = person_maps.write_map, list[str]()

    def failing(*arguments: Any, **more: Any) -> Path:
        calls.append("")
        if len(calls) == 2:
            raise error
        return write(*arguments, **more)

    monkeypatch.setattr(person_maps, "write_map", failing)
    with pytest.raises((KeyboardInterrupt, RunError)) as broken:
        score_inputs(run, [dataset], tmp_path / "maps")
    if isinstance(error, OSError):
        assert "the disk is full" in str(broken.value)
    assert [row["participant_id"] for row in table(tmp_path / "maps" / "scores.tsv")] == ["sub-acontrol00"]
    assert [path.name for path in (tmp_path / "maps").iterdir() if "sub-" in path.name] == ["sub-acontrol00"]
    assert not list((tmp_path / "maps").glob(".writing-*"))
    assert bids_oracle.faults(tmp_path / "maps") == []


def test_a_broken_map_is_not_written_and_the_reason_is_said(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_score(monkeypatch, lambda found: Score(found.anomaly + np.float32(0.1)))
    (row,) = score_inputs(run, [person(dataset, 1)], tmp_path / "maps").people
    assert row.reason.startswith("sub-acontrol01: the anomaly map is not 0 outside the brain")
    assert not list((tmp_path / "maps").rglob("*.nii.gz"))


def test_an_error_of_the_model_is_one_persons(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    def second_fails(found: Score) -> Score:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return found

    changed_score(monkeypatch, second_fails)
    found = score_inputs(run, [dataset], tmp_path / "maps")
    assert [row.status for row in found.people] == ["scored", "failed", "scored"]
    assert "cannot be scored (out of memory)" in found.people[1].reason


def test_what_a_model_remarks_on_a_scan_is_in_its_row(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_score(monkeypatch, lambda found: replace(found, remarks=("T1w is unlike all others.",)))
    assert only(score_inputs(run, [person(dataset, 0)], tmp_path / "maps")).remarks == ("T1w is unlike all others.",)


def test_the_share_above_the_threshold_is_counted_in_the_brain(dataset: Path, run: Path, tmp_path: Path) -> None:
    """The intensity baseline ranks the brain's voxels, so that a share q of them is at or above 1 - q."""
    without = only(score_inputs(run, [person(dataset, 0)], tmp_path / "without"))
    assert (without.abnormal_share, without.clusters, without.cluster_table) == (None, None, None)
    set_threshold(run, 0.9)
    row = only(score_inputs(run, [person(dataset, 0)], tmp_path / "maps"))
    assert row.abnormal_share == pytest.approx(0.1, abs=0.01)
    assert row.subject_score == without.subject_score == pytest.approx(0.98, abs=0.01)
    shown = values(row.map)
    assert (shown >= 0.9).sum() / (shown > 0).sum() == pytest.approx(0.1, abs=0.01)


def test_clusters_at_the_threshold_stand_beside_the_map_at_the_places_where_it_shows_them(
    dataset: Path, run: Path, tmp_path: Path
) -> None:
    """The scans lie on the common grid, so that the map itself has the clusters, of one voxel of 64 mm3 or more."""
    set_threshold(run, 0.9998)
    row = only(score_inputs(run, [person(dataset, 0)], tmp_path / "maps"))
    assert row.map is not None
    assert row.cluster_table == row.map.with_name(row.map.name.replace("_map.nii.gz", "_clusters.tsv"))
    rows, image = table(row.cluster_table), nibabel.load(row.map)
    shown = image.get_fdata()
    labels, _ = ndimage.label(shown >= np.float32(0.9998), np.ones((3, 3, 3)))
    assert 1 < len(rows) < 10  # so few that the threshold stays
    assert row.clusters == len(rows)
    assert row.largest_cluster_ml == pytest.approx(max(float(line["volume_ml"]) for line in rows))
    for line in rows:
        place = [float(line[f"{axis}_mm"]) for axis in "xyz"]
        assert [float(line[f"mni_{axis}_mm"]) for axis in "xyz"] == place  # the scan is in the template's space
        voxel = tuple(apply_affine(np.linalg.inv(image.affine), place).round().astype(int))
        cluster = shown[labels == labels[voxel]]
        assert shown[voxel] == cluster.max() == pytest.approx(float(line["peak_score"]), abs=1e-5)
        assert float(line["volume_ml"]) == pytest.approx(0.064 * cluster.size)
        assert float(line["mean_score"]) == pytest.approx(cluster.mean(), abs=1e-5)
        assert line["p_value"] == "n/a"
        assert line["tissue"] in CLASSES


def test_where_classes_have_thresholds_of_their_own_the_share_is_by_those(
    dataset: Path, run: Path, tmp_path: Path
) -> None:
    shares = {}
    for name in (*CLASSES, "none"):
        set_threshold(run, 0.9, **{other: 0.9 if other == name else 2.0 for other in CLASSES})  # no rank is 2
        shares[name] = only(score_inputs(run, [person(dataset, 0)], tmp_path / name)).abnormal_share or 0.0
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
    named.save(run / FILE, NormalVoxels(edges, counts).arrays())
    row = only(score_inputs(run, [person(dataset, 0)], tmp_path / "maps"))
    scores, p = values(row.map), values(row.p_map)
    assert (p[scores == 0] == 1).all()
    grey = (scores > 0) & (p < 0.999)
    if by == "whole-brain":
        np.testing.assert_allclose(p[scores > 0], 1 - scores[scores > 0], atol=0.0105)
    else:
        assert 0.1 < grey.sum() / (scores > 0).sum() < 0.9
        np.testing.assert_allclose(p[grey], 1 - scores[grey], atol=0.0105)


def test_a_calibration_that_holds_something_else_is_named(dataset: Path, run: Path, tmp_path: Path) -> None:
    named.save(run / FILE, {"edges": np.zeros(2)})
    with pytest.raises(RunError, match=rf"{FILE}: there are edges instead of edges and counts"):
        score_inputs(run, [person(dataset, 0)], tmp_path / "maps")


def test_a_sidecar_says_what_a_map_is_made_of_and_by_what(dataset: Path, run: Path, tmp_path: Path) -> None:
    set_threshold(run, 0.9)
    row = only(score_inputs(run, [person(dataset, 0)], dataset / "derivatives" / "normfed"))
    assert row.map is not None
    told = json.loads(Path(str(row.map).replace(".nii.gz", ".json")).read_text())
    described = json.loads((dataset / "derivatives" / "normfed" / "dataset_description.json").read_text())
    assert described["DatasetLinks"] == {"raw": "../.."}
    for source in [*told["Sources"], told["SpatialReference"]]:
        assert (dataset / source.removeprefix("bids:raw:")).is_file()
    assert told["Threshold"] == {"brain": pytest.approx(0.9)}
    assert told["Study"]["Name"] == "done"
    assert told["BrainMask"]["From"] == "given"
    assert nibabel.load(row.map).header.get_xyzt_units()[0] == "mm"
    assert bids_oracle.faults(dataset / "derivatives" / "normfed") == []
    shutil.rmtree(dataset / "derivatives" / "normfed")


@pytest.mark.parametrize(
    ("on", "names"),
    [("FLAIR", ["FLAIR"]), ("T1w", ["T1w"]), ("T1w", ["FLAIR", "T1w"]), ("T2w", ["T2w", "FLAIR"])],
    ids=["FLAIR", "T1w", "both", "one that the study lacks, first"],
)
def test_maps_lie_on_the_scan_that_is_named_or_on_the_t1_where_it_is_among_them(
    tmp_path: Path, run: Path, on: str, names: list[str]
) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 1}})
    shutil.rmtree(data / "derivatives")  # the brain mask lies on the grid that all scans had
    (whose,) = data.glob("sub-*")
    flair = nibabel.load(next(whose.glob("anat/*_FLAIR.nii.gz")))
    smaller = nibabel.Nifti1Image(flair.get_fdata()[2:, 1:, :-3].astype(np.float32), flair.affine @ shift(2, 1, 0))
    nibabel.save(smaller, flair.get_filename())
    nibabel.save(nibabel.Nifti1Image(smaller.get_fdata()[::2], smaller.affine @ np.diag([2, 1, 1, 1])), _t2_of(flair))
    set_threshold(run, 0.9998)
    scans = [next(whose.glob(f"anat/*_{modality}.nii.gz")) for modality in names]
    row = only(score_inputs(run, scans, tmp_path / "maps"))
    assert row.map is not None
    lies_on, shown = nibabel.load(next(whose.glob(f"anat/*_{on}.nii.gz"))), nibabel.load(row.map)
    assert f"_space-{on}_" in row.map.name
    assert shown.shape == lies_on.shape
    np.testing.assert_allclose(shown.affine, lies_on.affine, atol=1e-6)
    peaks = [[float(line[f"{axis}_mm"]) for axis in "xyz"] for line in table(row.cluster_table)]
    assert len(peaks) > 1
    for peak in peaks if on != "T2w" else []:  # on half the slices a peak may fall between two
        assert shown.get_fdata()[tuple(apply_affine(np.linalg.inv(shown.affine), peak).round().astype(int))] > 0.9997


def shift(*voxels: int) -> np.ndarray:
    """The affine of an image that begins so many voxels later."""
    found = np.eye(4)
    found[:3, 3] = voxels
    return found


def _t2_of(flair: nibabel.Nifti1Image) -> str:
    return str(flair.get_filename()).replace("_FLAIR", "_T2w")
