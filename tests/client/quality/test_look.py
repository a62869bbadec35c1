"""A cohort with a fault of each kind: who is listed, and for what; who decides, and when it counts."""

from __future__ import annotations

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
from normfed_client.quality.doubts import Doubt
from normfed_client.quality.kept import DECISIONS, LOOK, KeptLook, Records, people_of, seen
from normfed_client.quality.look import Look, look_at
from normfed_client.quality.standing import why_not
from normfed_common.deployment import settings
from normfed_common.foundation.errors import UserError
from normfed_common.study.preprocessing import PreprocessingConfig

RECIPE = Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w", "FLAIR"), None)
PEOPLE = 16


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen healthy people, whose heads are brighter on the left, as a coil makes them."""
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


FAULTS: dict[str, tuple[int, str, Callable[[np.ndarray], np.ndarray]]] = {
    "noise": (1, "intensity", _noisy),
    "mirrored": (2, "flipped", lambda data: data[::-1]),
    "elsewhere": (3, "registration", _turned),
    "clipped": (4, "intensity", lambda data: np.minimum(data, np.percentile(data[data > 0], 80))),
}
HALF, TWO_HEADERS, NO_AGE, NO_FLAIR = 5, 6, 7, 8
STORED_OTHERWISE, BRIGHTER = (9, 10), (11, 12)  # a copy, and whose scan it is


def _stored_otherwise(path: Path, of: Path) -> None:
    image = nibabel.load(of)
    turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nibabel.save(nibabel.Nifti1Image(turned.get_fdata().astype(np.float64), turned.affine), path)


def _brighter(path: Path, of: Path) -> None:
    image = nibabel.load(of)
    data = image.get_fdata()
    noise = 0.01 * np.random.default_rng(0).standard_normal(data.shape)
    cohorts.save(path, np.where(data > 0, 300 * (data + noise), 0), image.affine)


@pytest.fixture(scope="module")
def faulty(clean: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """The same cohort with a fault in most of its people, each in another."""
    root = shutil.copytree(clean, tmp_path_factory.mktemp("faulty") / "data")
    for person, _, change in FAULTS.values():
        _changed(_scan(root, person), change)
    for path in root.glob(f"**/sub-acontrol{HALF:02d}*.nii.gz"):
        _changed(path, lambda data: np.where(np.arange(data.shape[2]) < 13, 0, data))
    header = nibabel.load(_scan(root, TWO_HEADERS, "T1w"))
    header.set_qform(header.affine @ np.diag([-1, 1, 1, 1]), code=1)
    header.set_sform(header.affine, code=1)
    nibabel.save(header, _scan(root, TWO_HEADERS, "T1w"))
    table, who = (root / "participants.tsv").read_text(), f"sub-acontrol{NO_AGE:02d}\ta\tcontrol\t"
    (root / "participants.tsv").write_text(table.replace(f"{who}50\tF", f"{who}0\tF"))
    _scan(root, NO_FLAIR).unlink()
    for again, (copy, of) in ((_stored_otherwise, STORED_OTHERWISE), (_brighter, BRIGHTER)):
        again(_scan(root, copy), _scan(root, of))
    return _look(root, cache)


def _kinds(look: Look, person: int) -> set[str]:
    return {doubt.kind for doubt in look.doubts if doubt.subject == f"sub-acontrol{person:02d}"}


def test_nobody_of_a_clean_cohort_has_to_be_decided_on(clean: Path, cache: Path) -> None:
    assert [doubt for doubt in _look(clean, cache).doubts if doubt.serious] == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_listed_with_whose_it_is(name: str, faulty: Look) -> None:
    person, kind, _ = FAULTS[name]
    assert kind in _kinds(faulty, person)


def test_whoever_has_none_is_not_listed(faulty: Look) -> None:
    assert [_kinds(faulty, person) for person in (0, 13, 14, 15)] == [set()] * 4


def test_half_a_brain_is_listed(faulty: Look) -> None:
    assert "coverage" in _kinds(faulty, HALF)


def test_the_same_scan_under_two_names_is_listed_under_both(faulty: Look) -> None:
    """Stored along other axes as another type, and in other units with a little noise."""
    for person in range(PEOPLE):
        assert ("duplicate" in _kinds(faulty, person)) == (person in (*STORED_OTHERWISE, *BRIGHTER))


def test_headers_that_say_two_things_are_listed(faulty: Look) -> None:
    (found,) = [doubt for doubt in faulty.doubts if doubt.kind == "orientation"]
    assert found.subject == f"sub-acontrol{TWO_HEADERS:02d}"
    assert "which side is left" in found.text


def test_an_age_that_nobody_has_is_to_be_decided_and_a_modality_that_is_missing_is_not(faulty: Look) -> None:
    found = {(doubt.kind, doubt.serious) for doubt in faulty.doubts if doubt.kind in ("age", "missing")}
    assert found == {("age", True), ("missing", False)}
    assert "age" in _kinds(faulty, NO_AGE)
    assert "missing" in _kinds(faulty, NO_FLAIR)


def test_the_map_is_high_where_the_lesion_is(clean: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(clean, tmp_path / "data")
    _changed(_scan(root, 4), _lesion)
    look = _look(root, cache)
    assert "unusual" in _kinds(look, 4)
    one = next(one for one in look.cohort if one.visit.name == "sub-acontrol04")
    found = look.atlases["FLAIR"].map(look.open(one, "FLAIR"))
    lesion = _lesion(np.zeros(common_grid(4).shape)) > 0
    assert found[lesion].mean() > np.percentile(found[found != 0], UPPER - 1)


@pytest.fixture
def hospital(clean: Path, tmp_path: Path) -> Hospital:
    """With a lesion in person 4, whose site.yaml has comments."""
    root = shutil.copytree(clean, tmp_path / "data")
    _changed(_scan(root, 4), _lesion)
    made = cohorts.hospital(tmp_path / "site", root, 4, 4)
    config = made.config.model_copy(update={"quality_gate": "required"})
    settings.write(made.folder / "site.yaml", config)
    return open_hospital(made.folder)


def _kept(hospital: Hospital) -> None:
    """A look that has a doubt about person 4, without looking."""
    doubt = Doubt(subject="sub-acontrol04", visit="sub-acontrol04", kind="unusual", text="far.")
    people = {name: seen(visits) for name, visits in people_of(hospital).items()}
    look = KeptLook(time="now", modalities=("T1w",), healthy=("control",), people=people, doubts=(doubt,))
    Records(hospital.quality).keep(look)


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
    assert "data:image/jpeg;base64," in page.read_text()
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
    assert (kept.by, kept.subject) == ("A. Nurse", "sub-acontrol04")
    assert "unusual" in kept.kinds
    assert (hospital.quality / DECISIONS).stat().st_mode & 0o077 == 0
    _changed(_scan(tmp_path / "data", 4), lambda data: data * 1.5)
    assert why_not(hospital, ("T1w",), ("control",)).startswith("1 people are new, or their scans are others")
    with pytest.raises(UserError, match="others than at the latest look"):
        _quality(hospital, "--keep", "sub-acontrol04", "--by", "A. Nurse", "--why", "again")
    assert next(looked_at(hospital)).severity == 1


def test_whoever_is_excluded_is_written_to_site_yaml_and_its_comments_stay(hospital: Hospital) -> None:
    path = hospital.folder / "site.yaml"
    before = path.read_text()
    _kept(hospital)
    code, _ = _quality(hospital, "--exclude", "sub-acontrol04", "--by", "B", "--why", "a lesion")
    assert code == 0
    now = open_hospital(hospital.folder)
    assert now.config.exclude == ("sub-acontrol04",)
    assert why_not(now, ("T1w",), ("control",)) == ""
    assert [line for line in path.read_text().splitlines() if line.startswith("#")] == [
        line for line in before.splitlines() if line.startswith("#")
    ]


def test_a_bit_that_flips_in_what_is_kept_is_noticed(hospital: Hospital) -> None:
    _kept(hospital)
    path = hospital.quality / LOOK
    path.write_text(path.read_text().replace('"kind": "unusual"', '"kind": "missing"'))
    with pytest.raises(UserError, match="damaged"):
        why_not(hospital, ("T1w",), ("control",))
    _kept(hospital)
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
