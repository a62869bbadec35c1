"""Which brain counts, and what is believed of it: registration itself is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normfed_client.imaging import brain_extraction, placement
from normfed_client.imaging.bids import Mask, Participant, Visit, read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.placement import GIVEN, Brain, place
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.steps import Steps
from normfed_client.imaging.template import BRAIN_LEVEL, whole
from normfed_common.foundation.errors import ScanError
from normfed_common.study.preprocessing import PreprocessingConfig

CONFIG = PreprocessingConfig(voxel_size_mm=4)
RECIPE = Recipe(CONFIG, ("T1w", "FLAIR"), None)


class Afresh(Steps):
    """Keeps nothing."""

    def __init__(self) -> None:
        pass

    def array(self, name: str, files: list[Path], others: list[object], make: Callable[[], np.ndarray]) -> np.ndarray:
        return make()


AFRESH = Afresh()
VISIT = Visit(Participant("sub-01", "a", "control"), None, {"T1w": Path("x")})


@pytest.fixture
def scan() -> Image:
    """The template itself: the identity registers it."""
    t1, affine = whole("t1", 4)
    return Image(t1, affine, Path("x"))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_to_template", lambda *_: np.eye(4))


def find(monkeypatch: pytest.MonkeyPatch, *masks: np.ndarray) -> None:
    def brains(_: Image) -> Iterator[tuple[str, np.ndarray]]:
        yield from ((f"finder {number}", mask) for number, mask in enumerate(masks))

    monkeypatch.setattr(brain_extraction, "brains", brains)


def test_the_first_brain_found_that_lies_on_the_templates_counts(scan: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = scan.data > BRAIN_LEVEL
    find(monkeypatch, np.roll(brain, 15, axis=1), brain, np.ones_like(brain))
    placed = place(VISIT, {"T1w": scan}, "T1w", None, CONFIG, AFRESH)
    assert placed.brain is not None
    assert placed.brain.source == "finder 1"
    assert placed.overlap == 1.0


def test_a_brain_in_its_place_in_a_scan_that_shows_something_else_is_not_believed(
    scan: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, scan.data > BRAIN_LEVEL)
    noise = replace(scan, data=np.random.default_rng(0).random(scan.data.shape).astype(np.float32))
    with pytest.raises(ScanError, match=r"^sub-01: registration to MNI152 failed, likeness .* data.exclude\.$"):
        place(VISIT, {"T1w": noise}, "T1w", None, CONFIG, AFRESH)


def break_off(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """As SimpleITK does, of every brain mask; a whole head is registered."""

    def registered(_scan: Image, _reference: str, _within: object, brain: Brain | None, _search: object) -> np.ndarray:
        if brain is not None:
            raise RuntimeError(why)
        return np.eye(4)

    monkeypatch.setattr(placement, "_to_template", registered)


def test_a_brain_found_of_which_simpleitk_can_make_nothing_is_passed_over(
    scan: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, np.ones(scan.data.shape, bool))
    break_off(monkeypatch, "sitk::ERROR: the mask is empty")
    assert place(VISIT, {"T1w": scan}, "T1w", None, CONFIG, AFRESH).brain is None


def test_neither_a_given_mask_nor_a_lack_of_memory_is_passed_over(scan: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, np.ones(scan.data.shape, bool))
    break_off(monkeypatch, "sitk::ERROR: the mask is empty")
    with pytest.raises(RuntimeError, match="empty"):
        place(VISIT, {"T1w": scan}, "T1w", Brain(scan, "T1w", GIVEN), CONFIG, AFRESH)
    break_off(monkeypatch, "Failed to allocate memory for image.")
    with pytest.raises(RuntimeError, match="memory"):
        place(VISIT, {"T1w": scan}, "T1w", None, CONFIG, AFRESH)


@pytest.mark.parametrize("installed", [None, "deepbet 1.0.2"])
def test_who_lacks_the_extra_is_told_of_it_where_it_would_help(
    scan: Image, monkeypatch: pytest.MonkeyPatch, installed: str | None
) -> None:
    find(monkeypatch)
    monkeypatch.setattr(brain_extraction, "installed", lambda: installed)
    shifted = replace(scan, data=np.roll(scan.data, 15, axis=1))
    with pytest.raises(ScanError) as failure:
        place(VISIT, {"T1w": shifted}, "T1w", None, CONFIG, AFRESH)
    assert ("[brain-extraction]'" in str(failure.value)) == (installed is None)
    wrong = Brain(replace(scan, data=(shifted.data > BRAIN_LEVEL).astype(np.float32)), "T1w", GIVEN)
    with pytest.raises(ScanError, match="overlap") as failure:
        place(VISIT, {"T1w": shifted}, "T1w", wrong, CONFIG, AFRESH)
    assert "[brain-extraction]'" not in str(failure.value)


def test_scans_in_template_space_are_searched_for_no_brain(scan: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, np.ones(scan.data.shape, bool))
    placed = place(replace(VISIT, in_template_space=True), {"T1w": scan}, "T1w", None, CONFIG, AFRESH)
    assert placed.brain is None


def test_what_finds_brains_changes_nothing_of_a_visit_with_a_mask(
    hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its key nor a bit of its entry; without the mask, the key tells who found the brain."""
    found = read_dataset(hospitals).visits[0]
    visit = replace(found, brain=found.brain or Mask(found.images["T1w"], "T1w", "brain"), in_template_space=False)
    find(monkeypatch)
    entries, keys = [], []
    for name in (None, "deepbet 1.0.2", "deepbet 1.0.3"):
        monkeypatch.setattr(brain_extraction, "installed", lambda name=name: name)
        entry = prepare(visit, RECIPE, Cache(tmp_path / str(name)))
        entries.append((RECIPE.key(visit), entry.content(), entry.meta()))
        keys.append(RECIPE.key(replace(visit, brain=None)))
        find(monkeypatch, np.ones((1, 1, 1), bool))  # whoever asks gets nonsense
    assert entries[0] == entries[1] == entries[2]
    assert entries[0][2]["brain"] == GIVEN
    assert len(set(keys)) == 3
