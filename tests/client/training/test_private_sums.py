"""Noise comes from a secret and from all that a release depends on, and from nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic import People, setting

from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.site import Site
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.training.private_sums import private_sums
from normfed_common.foundation import private
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS


class Known(People):
    """People whose content is what the test says."""

    def __init__(self, count: int, content: str) -> None:
        super().__init__(count)
        self.said = content

    def content(self) -> str:
        return self.said


def release(
    secret: bytes = b"s", name: str = "a", asked: str = "q", content: str = "c", multiplier: float = 1.0, count: int = 3
) -> Arrays:
    site: Any = SimpleNamespace(noise_secret=secret, config=SimpleNamespace(name=name))
    model = build(MODELS, {"name": "atlas"}, replace(setting(), private=True))
    cohort: Any = Known(count, content)
    return private_sums(site, model, "moments", cohort, asked, 5, multiplier)


def test_the_same_release_has_the_same_noise() -> None:
    for name, array in release().items():
        np.testing.assert_array_equal(array, release()[name])


@pytest.mark.parametrize("change", [{"secret": b"t"}, {"name": "b"}, {"asked": "r"}, {"content": "d"}])
def test_whatever_else_a_release_depends_on_has_noise_of_its_own(change: dict[str, Any]) -> None:
    difference = release(**change)["mean"] - release()["mean"]
    assert np.std(difference) == pytest.approx(np.sqrt(2), rel=0.2)


def test_without_noise_neighbours_differ_by_the_one_person_alone() -> None:
    """What the others draw does not depend on who is there."""
    more, fewer = release(multiplier=0.0, count=4), release(multiplier=0.0, count=3)
    length = np.sqrt(sum(((more[name] - fewer[name]) ** 2).sum() for name in ("mean", "squares")))
    assert 0 < length <= 1 + 1e-9


def test_sums_that_nothing_bounds_do_not_leave() -> None:
    model = build(MODELS, {"name": "atlas", "regress": ["age"]}, replace(setting(), private=True))
    site: Any = SimpleNamespace(noise_secret=b"s", config=SimpleNamespace(name="a"))
    cohort: Any = Known(3, "c")
    with pytest.raises(SiteError) as raised:
        private_sums(site, model, "moments", cohort, "q", 5, 1.0)
    assert raised.value.code == SiteCode.STUDY_REFUSED


def test_a_simulated_site_makes_one_secret_however_many_ask_for_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sites" / "a" / "noise.secret"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: private.kept(path), range(32)))
    assert found == {path.read_bytes()}
    assert len(path.read_bytes()) == 64
    assert path.stat().st_mode & 0o077 == 0
    assert [one.name for one in path.parent.iterdir()] == ["noise.secret"]
    assert private.kept(tmp_path / "other") not in found


def test_a_simulated_sites_secret_is_its_runs_and_a_hospitals_is_made_of_its_own(tmp_path: Path) -> None:
    simulated: Any = SimpleNamespace(custody=None, config=SimpleNamespace(output=tmp_path))
    assert Site.noise_secret.fget(simulated) == (tmp_path / "noise.secret").read_bytes()  # type: ignore[attr-defined]
    hospital: Any = SimpleNamespace(custody=SimpleNamespace(noise_secret=PeopleSecret(b"key").for_noise))
    found = Site.noise_secret.fget(hospital)  # type: ignore[attr-defined]
    assert len(found) == 32
    assert found not in (PeopleSecret(b"yek").for_noise(), b"key")


def test_the_content_of_a_cohort_is_whose_scans_they_are_what_they_hold_and_what_is_told() -> None:
    def content(visit: str = "sub-1", key: str = "k", age: float | None = 40.0) -> str:
        participant = SimpleNamespace(subject="sub-1", age=age, sex="F")
        entry = SimpleNamespace(folder=Path("cache") / key, size=1)
        of: Any = [(SimpleNamespace(name=visit, participant=participant), entry)]
        return PreparedCohort(of).content()

    assert content() == content()
    assert len({content(), content(visit="sub-2"), content(key="l"), content(age=None)}) == 4
