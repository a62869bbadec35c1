"""Segmentations of several kinds: which number is which lesion, and what is in neither truth nor evaluation."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import cohorts
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.site import Site
from normfed_client.imaging import labels
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import common_grid
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.models.intensity import Intensity
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire.bounds import Label

TABLE = "index\tname\n0\tbackground\n1\tWMH\n2\tignore\n3\tMS\n4\tWMH\n"
LESION, OTHER = np.s_[15:18, 15:18, 20:22], np.s_[15:18, 15:18, 26:28]


def study(**data: object) -> StudyConfig:
    return resolve(
        {
            "name": "x",
            "data": {"modalities": ["T1w", "FLAIR"], **data},
            "preprocessing": {"voxel_size_mm": 4},
            "model": {"name": "intensity"},
            "federation": {"minimum_cohort": 1},
            "evaluation": {"bins": 50, "bootstrap": 0},
        },
        "test",
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A patient with a lesion (label 1) and another pathology (label 2) in one segmentation, and a control."""
    root = cohorts.write(tmp_path / "data", {"a": {"WMH": 1, "control": 1}})
    (mask,) = root.glob("derivatives/masks/*/anat/*label-WMH_mask.nii.gz")
    found = np.zeros(common_grid(4).shape, np.uint8)
    found[LESION], found[OTHER] = 1, 2
    cohorts.save(
        mask.with_name(mask.name.replace("label-WMH_mask", "desc-lesions_dseg")), found, nibabel.load(mask).affine
    )
    mask.unlink()
    (root / "derivatives" / "masks" / "dseg.tsv").write_text(TABLE)
    return root


def patient(root: Path) -> Visit:
    (found,) = (visit for visit in read_dataset(root).visits if visit.participant.group == "WMH")
    return found


def entry(root: Path, tmp_path: Path, **changes: object) -> Entry:
    return prepare(patient(root), Recipe.of(study(**changes)), Cache(tmp_path / "cache"))


def test_the_table_says_which_numbers_are_which_lesion(data: Path) -> None:
    visit = patient(data)
    assert [(m.label, m.modality, m.values) for m in visit.lesions] == [("WMH", "FLAIR", (1, 4)), ("MS", "FLAIR", (3,))]
    assert [(m.label, m.values) for m in visit.ignored] == [("ignore", (2,))]


@pytest.mark.parametrize(
    "name", ["sub-aWMH00/anat/{stem}.tsv", "desc-lesions_dseg.tsv", "../dseg.tsv", "../../dseg.tsv"]
)
def test_the_nearest_table_counts_up_to_the_datasets_root(data: Path, name: str) -> None:
    path = patient(data).lesions[0].path
    (data / "derivatives" / "masks" / "dseg.tsv").unlink()
    table = data / "derivatives" / "masks" / name.format(stem=path.name.removesuffix(".nii.gz"))
    table.write_text("index\tname\n1\tFCD\n")
    (data.parent / "dseg.tsv").write_text("index\tname\n1\tabove the dataset\n")
    assert labels.names(path, data) == {"FCD": (1,)}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (None, "has no dseg.tsv (columns index and name) that says which label is which lesion"),
        ("label\tname\n1\tWMH\n", "is described by dseg.tsv, which lacks the column index or name"),
        ("index\tname\n1.5\tWMH\n", "is described by dseg.tsv, where the index '1.5' is no whole number"),
        ("index\tname\n\u00b2\tWMH\n", "is described by dseg.tsv, where the index '\u00b2' is no whole number"),
        (
            f"index\tname\n1\t{200_000 * 'x'}\n",
            "is described by dseg.tsv, which cannot be read as UTF-8 text (field larger than field limit (131072))",
        ),
    ],
    ids=["none", "column", "index", "exponent", "endless"],
)
def test_a_segmentation_that_nothing_explains_is_left_out_and_said(data: Path, table: str | None, why: str) -> None:
    path = data / "derivatives" / "masks" / "dseg.tsv"
    path.unlink() if table is None else path.write_text(table)
    (problem,) = read_dataset(data).problems
    assert problem.why.endswith(f"_desc-lesions_dseg.nii.gz {why}: it is left out")
    assert patient(data).lesions == ()


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=150), st.text(max_size=150))
def test_whatever_a_kind_of_lesion_is_called_it_can_be_told(tmp_path_factory: Any, name: str, other: str) -> None:
    root = tmp_path_factory.mktemp("dseg")
    with open(root / "dseg.tsv", "w", newline="", encoding="utf-8", errors="ignore") as file:
        csv.writer(file, delimiter="\t").writerows([("index", "name"), (1, name), (2, other)])
    with suppress(ValueError):
        for kind in labels.names(root / "x_dseg.nii.gz", root):
            TypeAdapter(Label).validate_python(kind)


def test_a_name_of_a_label_that_no_figure_can_carry_becomes_one(data: Path) -> None:
    (data / "derivatives" / "masks" / "dseg.tsv").write_text("index\tname\n1\tWMH (deep)\n2\tLäsion/../x\n3\t\u75c5\n")
    assert [(m.label, m.values) for m in patient(data).lesions] == [
        ("WMH-deep", (1,)),
        ("L-sion-x", (2,)),
        ("label-3", (3,)),
    ]


def test_other_segmentations_are_of_tissue(data: Path) -> None:
    path = patient(data).lesions[0].path
    path.rename(path.with_name(path.name.replace("_desc-lesions", "")))
    assert patient(data).masks == (patient(data).brain,)


def test_what_is_ignored_is_neither_lesion_nor_normal_nor_evaluated(data: Path, tmp_path: Path) -> None:
    found = entry(data, tmp_path)
    brain = found.mask()
    lesion, other = np.zeros(brain.shape, bool), np.zeros(brain.shape, bool)
    lesion[LESION], other[OTHER] = True, True
    assert (brain & other).sum() > 10
    np.testing.assert_array_equal(found.lesion(), brain & lesion)
    np.testing.assert_array_equal(found.evaluated(), brain & ~other)
    assert not (found.normal() & (lesion | other)).any()
    near = np.s_[15:18, 15:18, 28]  # within the margin of 6 mm
    assert brain[near].all()
    assert not found.normal()[near].any()
    assert found.meta()["lesion_voxels_by_label"] == {"WMH": int((brain & lesion).sum()), "MS": 0}


def test_whole_slices_with_a_lesion_are_not_normal_and_all_others_are(data: Path, tmp_path: Path) -> None:
    found = entry(data, tmp_path, normal="lesion-free-slices")
    expected = found.mask()
    expected[:, :, [20, 21, 26, 27]] = False
    np.testing.assert_array_equal(found.normal(), expected)
    assert found.folder != entry(data, tmp_path, normal="lesion-free-tissue").folder


def test_no_figure_of_a_patient_depends_on_the_score_of_what_is_ignored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, other = Intensity.score, np.zeros(common_grid(4).shape, bool)
    other[OTHER] = True
    figures = []
    for times in (1.0, 50.0):

        def scored(model: Intensity, visits: list[Scan], rng: np.random.Generator, times: float = times) -> Score:
            return Score(np.where(other, times, 1.0).astype(np.float32) * whole(model, visits, rng).anomaly)

        monkeypatch.setattr(Intensity, "score", scored)
        out = tmp_path / str(times)
        config = SiteConfig(name="a", data=data, owns=("a",), cache=tmp_path / "c", output=out, device="cpu")
        evaluation = Evaluation(Site(config, study()), "intensity", 0)
        low, high = evaluation.score({"name": "intensity"}, {})
        counts = evaluation.count(low, high)
        assert counts["normal"].sum() + counts["lesion"].sum() == evaluation.people.test[0].entry.evaluated().sum()
        figures.append((low, high, {name: array.tolist() for name, array in counts.items()}))
        ranked = Evaluation(Site(config, study()), "ranked", 0).rank({"name": "intensity"}, {})
        figures.append((low, high, repr(ranked)))
        people = json.loads((out / "people" / "ranked.json").read_text())
        assert [row["name"] for row in people] == [case.visit.name for case in evaluation.people.test]
    assert figures[:2] == figures[2:]
