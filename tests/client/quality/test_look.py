"""A cohort with one fault of each kind: who is listed, and for what; who decides, and when it counts."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import cohorts
import nibabel
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from normfed_client.hospital.folder import Hospital, HospitalConfig, open_hospital
from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.imaging.template import common_grid
from normfed_client.operation import looking
from normfed_client.operation.checking import looked_at
from normfed_client.operation.cli import site
from normfed_client.quality.atlas import UPPER
from normfed_client.quality.kept import DECISIONS, LOOK, Records
from normfed_client.quality.look import Look, look_at
from normfed_client.quality.standing import why_not
from normfed_common.deployment import settings
from normfed_common.foundation.errors import UserError
from normfed_common.study.preprocessing import PreprocessingConfig

RECIPE = Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w", "FLAIR"), None)
PEOPLE = 12


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve healthy people, whose heads are brighter on the left, as a coil makes them."""
    root = cohorts.write(tmp_path_factory.mktemp("clean") / "data", {"a": {"control": PEOPLE}})
    for path in root.glob("sub-*/anat/*.nii.gz"):
        _changed(path, lambda data: data * np.linspace(1.1, 0.9, len(data))[:, None, None])
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _changed(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nibabel.load(path)
    cohorts.save(path, change(image.get_fdata()), image.affine)


def _scan(root: Path, person: int, modality: str = "FLAIR") -> Path:
    return root / f"sub-acontrol{person:02d}" / "anat" / f"sub-acontrol{person:02d}_{cohorts.SPACE}_{modality}.nii.gz"


def _look(root: Path, cache: Path) -> Look:
    return look_at(read_dataset(root).visits, RECIPE, cache, ("control",))


def _lesion(data: np.ndarray) -> np.ndarray:
    found = data.copy()
    found[24:30, 26:32, 18:24] += 0.5
    return found


def _noisy(data: np.ndarray) -> np.ndarray:
    return np.where(data > 0, data + 0.3 * np.random.default_rng(3).standard_normal(data.shape), 0)


def _turned(data: np.ndarray) -> np.ndarray:
    return np.roll(data, (5, 6, 3), (0, 1, 2))


FAULTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "a lesion": ("unusual", _lesion),
    "noise": ("intensity", _noisy),
    "mirrored": ("flipped", lambda data: data[::-1]),
    "elsewhere": ("registration", _turned),
    "clipped": ("intensity", lambda data: np.minimum(data, np.percentile(data[data > 0], 80))),
}


def test_nobody_of_a_clean_cohort_has_to_be_decided_on(clean: Path, cache: Path) -> None:
    assert [doubt for doubt in _look(clean, cache).doubts if doubt.serious] == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_listed_with_whose_it_is(name: str, clean: Path, cache: Path, tmp_path: Path) -> None:
    kind, change = FAULTS[name]
    root = shutil.copytree(clean, tmp_path / "data")
    _changed(_scan(root, 4), change)
    found = [doubt for doubt in _look(root, cache).doubts if doubt.serious]
    assert kind in {doubt.kind for doubt in found}
    assert {doubt.subject for doubt in found} == {"sub-acontrol04"}


def test_half_a_brain_is_listed(clean: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    for path in root.glob("**/sub-acontrol03*.nii.gz"):
        _changed(path, lambda data: np.where(np.arange(data.shape[2]) < 13, 0, data))
    found = {doubt.kind for doubt in _look(root, cache).doubts if doubt.subject == "sub-acontrol03"}
    assert "coverage" in found


def _stored_otherwise(path: Path, of: Path) -> None:
    image = nibabel.load(of)
    turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nibabel.save(nibabel.Nifti1Image(turned.get_fdata().astype(np.float64), turned.affine), path)


def _brighter(path: Path, of: Path) -> None:
    image = nibabel.load(of)
    data = image.get_fdata()
    noise = 0.01 * np.random.default_rng(0).standard_normal(data.shape)
    cohorts.save(path, np.where(data > 0, 300 * (data + noise), 0), image.affine)


@pytest.mark.parametrize("again", [_stored_otherwise, _brighter])
def test_the_same_scan_under_two_names_is_listed_under_both(
    again: Callable[[Path, Path], None], clean: Path, cache: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    again(_scan(root, 2), _scan(root, 7))
    found = [doubt for doubt in _look(root, cache).doubts if doubt.kind == "duplicate"]
    assert {doubt.subject for doubt in found} == {"sub-acontrol02", "sub-acontrol07"}


def test_headers_that_say_two_things_are_listed(clean: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    path = _scan(root, 1, "T1w")
    image = nibabel.load(path)
    image.set_qform(image.affine @ np.diag([-1, 1, 1, 1]), code=1)
    image.set_sform(image.affine, code=1)
    nibabel.save(image, path)
    (found,) = [doubt for doubt in _look(root, cache).doubts if doubt.kind == "orientation"]
    assert found.subject == "sub-acontrol01"
    assert "which side is left" in found.text


def test_ages_that_nobody_has_and_modalities_that_are_missing(clean: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    table = (
        (root / "participants.tsv")
        .read_text()
        .replace("sub-acontrol05\ta\tcontrol\t50\tF", "sub-acontrol05\ta\tcontrol\t0\t9")
    )
    (root / "participants.tsv").write_text(table)
    _scan(root, 6).unlink()
    found = {(doubt.subject, doubt.kind, doubt.serious) for doubt in _look(root, cache).doubts}
    assert ("sub-acontrol05", "age", True) in found
    assert ("sub-acontrol06", "missing", False) in found


def test_the_map_is_high_where_the_lesion_is(clean: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    _changed(_scan(root, 4), _lesion)
    seen = _look(root, cache)
    one = next(one for one in seen.cohort if one.visit.name == "sub-acontrol04")
    found = seen.atlases["FLAIR"].map(seen.open(one, "FLAIR"))
    lesion = _lesion(np.zeros(common_grid(4).shape)) > 0
    assert found[lesion].mean() > np.percentile(found[found != 0], UPPER - 1)
    # Left out of the median or not: one of twelve hardly moves it.
    others = dataclasses.replace(seen.atlases["FLAIR"], median=np.zeros(1)).spread
    assert others.shape == lesion.shape


@pytest.fixture
def hospital(clean: Path, tmp_path: Path) -> Hospital:
    """With a lesion in person 4, whose site.yaml has comments."""
    root = shutil.copytree(clean, tmp_path / "data")
    _changed(_scan(root, 4), _lesion)
    made = cohorts.hospital(tmp_path / "site", root, 4, 4)
    config = made.config.model_copy(update={"quality_gate": "required"})
    settings.write(made.folder / "site.yaml", config)
    return open_hospital(made.folder)


def _quality(hospital: Hospital, *options: str) -> tuple[int, str]:
    found = CliRunner().invoke(site, ["quality", *options, "--home", str(hospital.folder)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, " ".join(found.output.split())


def test_from_a_look_to_a_decision_and_a_new_export(hospital: Hospital, tmp_path: Path) -> None:
    assert why_not(hospital, ("FLAIR",), ("control",)).startswith("nobody has looked")
    page = tmp_path / "page.html"
    study = _study(tmp_path)
    code, text = _quality(hospital, str(study), "--page", str(page), "--workers", "1")
    assert code == 3
    assert "sub-acontrol04" in text
    assert "data:image/png;base64," in page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    assert (hospital.quality / LOOK).stat().st_mode & 0o077 == 0
    assert "1 people wait for a decision" in why_not(hospital, ("T1w", "FLAIR"), ("control",))
    assert "not at T2w" in why_not(hospital, ("T2w",), ("control",))
    assert "not well" in why_not(hospital, ("T1w",), ("well",))
    with pytest.raises(UserError, match="--by NAME --why TEXT"):
        _quality(hospital, "--keep", "sub-acontrol04")
    code, text = _quality(hospital, "--keep", "sub-acontrol04", "--by", "A. Nurse", "--why", "an old infarct, stays")
    assert code == 0
    assert why_not(hospital, ("T1w",), ("control",)) == ""
    assert next(looked_at(hospital)).severity == 0
    (kept,) = Records(hospital.quality).decisions()
    assert (kept.by, kept.subject, kept.kinds) == ("A. Nurse", "sub-acontrol04", ("unusual",))
    assert (hospital.quality / DECISIONS).stat().st_mode & 0o077 == 0
    _changed(_scan(tmp_path / "data", 4), lambda data: data * 1.5)
    assert why_not(hospital, ("T1w",), ("control",)).startswith("1 people are new, or their scans are others")
    with pytest.raises(UserError, match="others than at the latest look"):
        _quality(hospital, "--keep", "sub-acontrol04", "--by", "A. Nurse", "--why", "again")
    assert next(looked_at(hospital)).severity == 1


def test_whoever_is_excluded_is_written_to_site_yaml_and_its_comments_stay(hospital: Hospital, tmp_path: Path) -> None:
    path = hospital.folder / "site.yaml"
    before = path.read_text()
    _quality(hospital, str(_study(tmp_path)), "--workers", "1")
    code, _ = _quality(hospital, "--exclude", "sub-acontrol04", "--by", "B", "--why", "a lesion")
    assert code == 0
    now = open_hospital(hospital.folder)
    assert now.config.exclude == ("sub-acontrol04",)
    assert why_not(now, ("T1w",), ("control",)) == ""
    assert [line for line in path.read_text().splitlines() if line.startswith("#")] == [
        line for line in before.splitlines() if line.startswith("#")
    ]


def test_a_bit_that_flips_in_what_is_kept_is_noticed(hospital: Hospital, tmp_path: Path) -> None:
    _quality(hospital, str(_study(tmp_path)), "--workers", "1")
    path = hospital.quality / LOOK
    path.write_text(path.read_text().replace('"kind": "unusual"', '"kind": "missing"'))
    with pytest.raises(UserError, match="damaged"):
        why_not(hospital, ("T1w",), ("control",))
    _quality(hospital, str(_study(tmp_path)), "--workers", "1")
    (hospital.quality / DECISIONS).write_text("{}\n")
    with pytest.raises(UserError, match="damaged"):
        why_not(hospital, ("T1w",), ("control",))


def test_a_decision_needs_a_look(hospital: Hospital) -> None:
    with pytest.raises(UserError, match="Nobody has looked"):
        looking.decide(hospital, "keep", ["sub-acontrol04"], "B", "so")


def _study(folder: Path) -> Path:
    path = folder / "study.yaml"
    raw = {"name": "s", "data": {"modalities": ["T1w", "FLAIR"]}, "preprocessing": {"voxel_size_mm": 4}}
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exclude: []\nsite: a\n", 'exclude: ["sub-1"]\nsite: a\n'),
        ("exclude: [sub-2] # moved\n", 'exclude: [sub-2, "sub-1"] # moved\n'),
        ("exclude:\n- sub-2 # moved\n# next\nsite: a\n", 'exclude:\n- sub-2 # moved\n- "sub-1"\n# next\nsite: a\n'),
        ("site: a\n", 'site: a\nexclude: ["sub-1"]\n'),
    ],
)
def test_an_item_is_added_to_a_list_and_comments_stay(text: str, expected: str) -> None:
    from normfed_common.foundation.plain_yaml import with_item

    assert with_item(text, "exclude", "sub-1", "f") == expected


def test_off_is_a_word_in_site_yaml() -> None:
    raw = yaml.safe_load("{site: a, server: 'f:1', data: d, quality_gate: off}")
    assert HospitalConfig.model_validate(raw | {"data": Path("d")}).quality_gate == "off"
