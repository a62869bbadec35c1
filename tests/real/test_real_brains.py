"""Real scans of nine places, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_common.errors import ScanError
from normfed_common.study.preprocessing import PreprocessingConfig

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("real")]


def test_all_people_sites_and_modalities_are_found(real_brains: Path) -> None:
    dataset = read_dataset(real_brains)
    sites = dataset.sites()
    people = {name: len({v.participant.subject for v in visits}) for name, visits in sites.items()}
    assert people == {
        "ageing-a": 11,
        "ageing-b": 4,
        "controls-hammersmith": 7,
        "controls-novosibirsk": 13,
        "controls-oasis": 14,
        "ms-clinic": 2,
        "ms-followup": 3,
        "routine-clinic": 3,
        "tumour-centre": 4,
    }
    assert all("ce-GD_T1w" in v.images and "T1w" not in v.images for v in sites["tumour-centre"])
    assert {v.session for v in sites["ms-followup"]} == {"01", "02"}
    assert all("lies on no scan's grid" in problem.why for problem in dataset.problems)
    assert all(v.brain is None for v in sites["controls-novosibirsk"])


@pytest.mark.parametrize(
    ("subject", "modalities"),
    [
        ("sub-AA001", ("T1w", "FLAIR")),  # 2 mm, head with neck, brain mask given
        ("sub-IX001", ("T1w",)),  # axes PSR
        ("sub-NO004", ("T1w",)),  # whole head, no brain mask
        ("sub-MS001", ("T1w", "FLAIR")),  # in MNI space, but its name does not say so
        ("sub-TU003", ("FLAIR",)),  # tumour, no plain T1
        ("sub-WM001", ("FLAIR",)),  # 8 mm slices
    ],
)
def test_every_kind_of_scan_comes_to_lie_on_the_template(
    real_brains: Path, tmp_path: Path, subject: str, modalities: tuple[str, ...]
) -> None:
    visit = next(v for v in read_dataset(real_brains).visits if v.name == subject)
    entry = prepare(visit, Recipe(PreprocessingConfig(voxel_size_mm=4), modalities, None), Cache(tmp_path))
    overlap = float(str(entry.meta()["overlap"]))
    assert overlap > (0.85 if visit.brain else 0.4)
    assert bool(entry.lesion().any()) == bool(visit.lesions)


def test_a_registration_that_fails_is_noticed(real_brains: Path, tmp_path: Path) -> None:
    visit = next(v for v in read_dataset(real_brains).visits if v.name == "sub-ML001_ses-01")
    with pytest.raises(ScanError, match="registration to MNI152 failed, likeness"):
        prepare(visit, Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w", "FLAIR"), None), Cache(tmp_path))
