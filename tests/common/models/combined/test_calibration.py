"""Tail probabilities of scores among normal voxels, against ranks of all of them together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from synthetic import SHAPE, People, anatomy, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.models.combined.calibration import BINS, Tail, TailCalibration
from normfed_common.models.combined.members import Member
from normfed_common.models.intensity import Intensity, IntensityConfig
from normfed_common.study.preprocessing import GRID_MM3


def calibration(by_tissue: bool = False) -> TailCalibration:
    """Of two members that learn nothing."""
    models = [Intensity(IntensityConfig(modality=name), setting()) for name in ("T1w", "FLAIR")]
    members = [Member(f"member-{number}", model, ()) for number, model in enumerate(models)]
    return TailCalibration(setting(), members, (1.0, 1.0), by_tissue)


def scores_of(people: People, number: int) -> list[np.ndarray]:
    """A member's maps, without a calibration."""
    model = calibration().members[number].model
    return [model.score([one], np.random.default_rng(0)).anomaly for one in people.scans]


def pooled(people: People, number: int) -> np.ndarray:
    """A member's scores of every normal voxel of everybody."""
    pairs = zip(scores_of(people, number), people.scans, strict=True)
    return np.concatenate([scores.ravel()[one.normal_index] for scores, one in pairs]).astype(float)


def learnt(people: People, by_tissue: bool = False) -> TailCalibration:
    made = calibration(by_tissue)
    for phase in ("scale", "ranks"):
        made.absorb(phase, made.statistics(phase, people, np.random.default_rng(0)))
    return made


@pytest.mark.parametrize("number", [0, 1])
def test_the_tail_probability_is_the_rank_among_all_normal_voxels_up_to_a_bin(number: int) -> None:
    people = People(5)
    everybody = pooled(people, number)
    n = len(everybody)
    new = np.linspace(0.001, everybody.max(), 400)
    least = np.array([(everybody >= score).sum() for score in new])
    found = np.exp(-learnt(people).evidence(number, new, np.arange(len(new))))
    np.testing.assert_allclose(found, (1 + least) / (n + 1), atol=40 / n)  # so many voxels share a bin at most
    ranks = 1 - (rankdata(everybody, "min") - 1) / n
    known = np.exp(-learnt(people).evidence(number, everybody, np.arange(n)))
    np.testing.assert_allclose(known, ranks, atol=40 / n)


def test_normal_voxels_have_a_mean_evidence_of_1_as_an_exponential_distribution_has() -> None:
    people = People(6)
    scores = pooled(people, 1)
    evidence = learnt(people).evidence(1, scores, np.arange(len(scores)))
    assert evidence.mean() == pytest.approx(1, abs=0.01)
    assert evidence.var() == pytest.approx(1, abs=0.05)


def test_evidence_rises_strictly_from_0_and_on_beyond_every_normal_score() -> None:
    tail = Tail(np.bincount([3, 3, 90, 700], minlength=BINS), 2.0)
    scores = np.concatenate([[0.0], np.geomspace(1e-6, 1e30, 3000)])
    found = tail.evidence(scores)
    assert found[0] == 0
    assert (np.diff(found) > 0).all()
    assert np.isfinite(found).all()
    beyond = np.array([1e3, 1e6])  # nobody normal is there: p = scale / (s + scale) / (n + 1)
    np.testing.assert_allclose(tail.evidence(beyond), np.log(5 * (beyond + 2) / 2))


def test_small_and_large_evidence_are_exact() -> None:
    """Of no voxels p = scale / (s + scale), so that -log p = log(1 + s / scale)."""
    scores = np.geomspace(1e-12, 1e12, 50)
    np.testing.assert_allclose(Tail(np.zeros(BINS), 0.5).evidence(scores), np.log1p(scores / 0.5), rtol=1e-9)


def test_sums_of_sites_give_the_calibration_of_everybody() -> None:
    people = People(7)
    whole, federated = learnt(people), calibration()
    for phase in ("scale", "ranks"):
        parts = [federated.statistics(phase, part, np.random.default_rng(0)) for part in split(people, 2, 4, 1)]
        federated.absorb(phase, named.add(parts))
    np.testing.assert_array_equal(federated.sums("ranks")["counts"], whole.sums("ranks")["counts"])
    scores = np.linspace(0, 2, 100)
    for number in range(2):
        found, expected = (one.evidence(number, scores, np.arange(100)) for one in (federated, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_counts_are_of_every_normal_voxel_of_every_visit() -> None:
    people = People(3, visits=2)
    sums = calibration().statistics("ranks", people, np.random.default_rng(0))
    np.testing.assert_array_equal(sums["counts"].sum((1, 2)), sum(len(one.normal_index) for one in people.scans))


def test_by_tissue_a_score_is_held_against_voxels_of_the_same_tissue() -> None:
    people = People(5)
    shown = anatomy()
    tissue = np.stack([shown.grey, shown.white, shown.fluid]).argmax(0).ravel()
    made = learnt(people, by_tissue=True)
    maps = scores_of(people, 0)
    for which in range(3):
        inside = [
            scores.ravel()[one.normal_index[tissue[one.normal_index] == which]].astype(float)
            for scores, one in zip(maps, people.scans, strict=True)
        ]
        values = np.concatenate(inside)
        index = np.flatnonzero(tissue == which)[: len(values)]
        found = np.exp(-made.evidence(0, values[: len(index)], index))
        expected = [(1 + (values >= score).sum()) / (len(values) + 1) for score in values[: len(index)]]
        np.testing.assert_allclose(found, expected, atol=0.02)


def sums(phase: str) -> Arrays:
    return calibration().statistics(phase, People(3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("phase", "changes"),
    [
        ("scale", {"sum": np.array([-1.0, 5.0])}),
        ("scale", {"count": np.array([10.0, 11.0])}),
        ("scale", {"count": np.zeros(2), "sum": np.zeros(2)}),
        ("scale", {"count": np.zeros(2)}),
        ("scale", {"count": np.ones(3)}),
        ("ranks", {"counts": np.zeros((2, 1, BINS))}),
        ("ranks", {"counts": np.stack([np.ones((1, BINS)), np.zeros((1, BINS))])}),
        ("ranks", {"counts": np.ones((2, 3, BINS))}),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_sums_that_no_scores_can_have_are_refused(phase: str, changes: Arrays) -> None:
    made = calibration()
    made.check(phase, sums(phase))
    with pytest.raises(WireError):
        made.check(phase, {**sums(phase), **changes})


def test_a_scan_adds_no_more_voxels_than_the_grid_has() -> None:
    most = GRID_MM3 / 2**3
    assert np.prod(SHAPE) < most
    assert calibration().counted("scale") == {"count": most, "sum": np.inf}
    assert calibration().counted("ranks") == {"counts": most}
