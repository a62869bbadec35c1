"""Sums that a site made before are the same to the last bit, and are kept only where nothing could be different."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flips import flip

from normfed_client.training.made_before import FOLDER, made_before
from normfed_common.study.privacy import PrivacyConfig

ATLAS = {"name": "atlas"}
SUMS = {"count": np.array([3.0, 4.0]), "sum": np.random.default_rng(0).random((2, 5))}


class Made:
    """Counts how often sums are made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return SUMS


def site(folder: Path, model: dict[str, Any], custody: object = None) -> Any:
    study = SimpleNamespace(transforms=(), model=model, privacy=PrivacyConfig())
    return SimpleNamespace(custody=custody, study=study, config=SimpleNamespace(output=folder))


def test_the_second_time_they_are_read(tmp_path: Path) -> None:
    made, here = Made(), site(tmp_path, ATLAS)
    for _ in range(2):
        found = made_before(here, ATLAS, "moments", {}, made)
        assert found.keys() == SUMS.keys()
        assert all(found[name].tobytes() == array.tobytes() for name, array in SUMS.items())
    assert made.times == 1


def test_another_phase_and_other_arrays_received_make_other_sums(tmp_path: Path) -> None:
    made, here, received = Made(), site(tmp_path, ATLAS), {"sums.covariates.count": np.ones(1)}
    for phase, arrays in (("covariates", {}), ("moments", {}), ("moments", received)):
        made_before(here, ATLAS, phase, arrays, made)
    assert made.times == 3


@pytest.mark.parametrize(
    ("model", "asked_for", "custody"),
    [({"name": "mixture"}, {"name": "mixture"}, None), (ATLAS, {"name": "intensity"}, None), (ATLAS, ATLAS, object())],
    ids=["a model that draws", "a baseline", "a hospital"],
)
def test_what_is_drawn_or_asked_once_and_a_hospital_s_sums_are_not_kept(
    tmp_path: Path, model: dict[str, Any], asked_for: dict[str, Any], custody: object
) -> None:
    made = Made()
    for _ in range(2):
        made_before(site(tmp_path, model, custody), asked_for, "moments", {}, made)
    assert made.times == 2
    assert not list(tmp_path.iterdir())


def test_damaged_sums_are_made_again(tmp_path: Path) -> None:
    made, here = Made(), site(tmp_path, ATLAS)
    made_before(here, ATLAS, "moments", {}, made)
    (path,) = (tmp_path / FOLDER).iterdir()
    flip(path, bits=1)
    found = made_before(here, ATLAS, "moments", {}, made)
    np.testing.assert_array_equal(found["sum"], SUMS["sum"])
    assert made.times == 2
