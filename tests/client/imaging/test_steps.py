"""What was worked out of a scan for one study is there for the next, and gives the same bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normfed_client.imaging import registration
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cache import Cache, Entry
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.steps import Steps
from normfed_common.learning.cohort import Person
from normfed_common.study.data import PhantomSite
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_simulation.phantom.hospitals import SyntheticPerson, write_person

pytestmark = pytest.mark.xdist_group("registration")

CORRECTED = PreprocessingConfig(voxel_size_mm=4, bias_correction=True)
BOTH = Recipe(CORRECTED, ("T1w", "FLAIR"), None)
LONG = ("rigid", "affine", "affine_of_head", "bias_corrected")  # what takes long


@pytest.fixture(scope="module", autouse=True)
def worked_once() -> Iterator[None]:
    """What takes long is worked out once of the same voxels: whether it repeats itself to the last bit is tested
    elsewhere."""

    def once(work: Callable[..., object]) -> Callable[..., object]:
        known: dict[str, object] = {}

        def found(*given: Image | np.ndarray | None) -> object:
            parts = [part for one in given for part in ((one.data, one.affine) if isinstance(one, Image) else (one,))]
            voxels = b"".join(b"-" if part is None else np.ascontiguousarray(part).tobytes() for part in parts)
            key = hashlib.sha256(voxels).hexdigest()
            if key not in known:
                known[key] = work(*given)
            return known[key]

        return found

    with pytest.MonkeyPatch.context() as patch:
        for name in LONG:
            patch.setattr(registration, name, once(getattr(registration, name)))
        yield


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A person with a tumour whose scans lie tilted in a space of their own."""
    root = tmp_path_factory.mktemp("native")
    site = PhantomSite(name="a", vendor="siemens", field_tesla=3.0, controls=0, native=True)
    write_person(SyntheticPerson("sub-01", site, "tumour"), 12, 4, root)
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\ta\n")
    (found,) = read_dataset(root).visits
    return found


@pytest.fixture(scope="module")
def kept(visit: Visit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a study of T1 and FLAIR."""
    root = tmp_path_factory.mktemp("kept")
    prepare(visit, BOTH, Cache(root))
    return root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What takes long and is done, by name."""
    done: list[str] = []

    def count(name: str, work: Callable[..., object]) -> Callable[..., object]:
        return lambda *given: (done.append(name), work(*given))[1]

    for name in LONG:
        monkeypatch.setattr(registration, name, count(name, getattr(registration, name)))
    return done


def arrays(entry: Entry) -> list[np.ndarray]:
    scan = entry.scan(Person(0))
    return [np.asarray(scan.images), entry.mask(), entry.lesion(), np.asarray(scan.normal_index)]


@pytest.mark.parametrize(
    "recipe",
    [
        replace(BOTH, modalities=("T1w",)),
        replace(BOTH, modalities=("FLAIR",)),  # through the T1
        replace(BOTH, modalities=("FLAIR", "T1w")),
        replace(BOTH, config=CORRECTED.model_copy(update={"normalisation": "z-score", "clip": (0.0, 1.0)})),
        replace(BOTH, config=CORRECTED.model_copy(update={"bias_correction": False})),
        replace(BOTH, lesion_labels=("WMH",), whole_slices=True),
    ],
    ids=["T1", "FLAIR", "another order", "another normalisation", "uncorrected", "other lesions"],
)
def test_another_study_of_the_same_scans_registers_and_corrects_nothing_and_has_the_bits_of_a_first_one(
    visit: Visit, kept: Path, tmp_path: Path, counted: list[str], recipe: Recipe
) -> None:
    found = prepare(visit, recipe, Cache(kept))
    assert counted == []
    alone = prepare(visit, recipe, Cache(tmp_path))
    assert "affine" in counted
    for one, other in zip(arrays(found), arrays(alone), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.meta() == alone.meta()


def test_other_scans_are_registered_anew(visit: Visit, kept: Path, counted: list[str], tmp_path: Path) -> None:
    """A FLAIR whose bytes differ, beside the same T1: only the FLAIR is worked on."""
    import nibabel

    image = nibabel.load(visit.images["FLAIR"])
    other = tmp_path / "sub-01_FLAIR.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32) * 1.5, image.affine), other)
    changed = replace(visit, images={**visit.images, "FLAIR": other}, lesions=())
    prepare(changed, BOTH, Cache(kept))
    assert counted == ["rigid", "bias_corrected"]


def test_a_step_is_found_by_all_that_decides_and_by_nothing_else(tmp_path: Path) -> None:
    made: list[int] = []
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")

    def step(name: str = "s", files: tuple[Path, ...] = (one, two), others: object = 1, version: int = 1) -> float:
        steps = Steps(Cache(tmp_path / "cache"), (version,))
        return float(steps.array(name, list(files), [others], lambda: (made.append(1), np.array(len(made)))[1]))

    assert step() == step() == 1
    assert [step(name="t"), step(files=(two, one)), step(others=2), step(version=2)] == [2, 3, 4, 5]
    two.rename(tmp_path / "three")
    assert step(files=(one, tmp_path / "three")) == 1
