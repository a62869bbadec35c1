"""What is lost at an unseen scanner, and the share that is closed: closed forms, and a bootstrap of NumPy's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from summaries import summary

from normfed_common.metrics.summary import Summary
from normfed_server.results.figures import Difference
from normfed_simulation.domain_shift.gaps import compared, difference, gap, is_gap, joined, spread, verdict

METRIC = "auprc"
SEEN = {"a": np.array([0.5, 0.6, 0.8, 0.7]), "b": np.array([0.3, 0.5, 0.4, 0.6, 0.2])}


def trained(values: dict[str, np.ndarray], resamplings: int = 400) -> list[Summary]:
    """One training, over all sites' people."""
    sites = {
        site: [summary([{METRIC: float(value)} for value in of], resamplings=resamplings, site=site)]
        for site, of in values.items()
    }
    return joined(sites)


def less(values: dict[str, np.ndarray], loss: float) -> dict[str, np.ndarray]:
    return {site: of - loss for site, of in values.items()}


def ends(interval: tuple[float | None, float | None] | None) -> Sequence[float]:
    assert interval is not None
    low, high = interval
    assert low is not None
    assert high is not None
    return low, high


def test_where_everybody_loses_the_same_the_gap_is_that_and_certain() -> None:
    found = gap(trained(SEEN), trained(less(SEEN, 0.1)), METRIC)
    assert found.gap.mean == pytest.approx(0.1)
    assert ends(found.gap.ci95) == pytest.approx((0.1, 0.1))
    assert found.seen == pytest.approx(np.concatenate(list(SEEN.values())).mean())
    assert found.n == 9


def test_the_interval_is_that_of_a_paired_bootstrap_within_sites() -> None:
    rng = np.random.default_rng(1)
    loss = {site: rng.normal(0.1, 0.1, len(of)) for site, of in SEEN.items()}
    found = gap(trained(SEEN, 20_000), trained({s: SEEN[s] - loss[s] for s in SEEN}, 20_000), METRIC)
    draws = [rng.choice(of, (20_000, len(of))) for of in loss.values()]
    oracle = np.quantile(np.concatenate(draws, axis=1).mean(1), [0.025, 0.975])
    np.testing.assert_allclose(ends(found.gap.ci95), oracle, atol=0.003)


@pytest.mark.parametrize(("left", "closed"), [(0.2, 0.0), (0.1, 0.5), (0.0, 1.0), (-0.1, 1.5)])
def test_the_share_closed_is_what_of_everybodys_loss_is_gone(left: float, closed: float) -> None:
    without = trained(SEEN), trained(less(SEEN, 0.2))
    found = gap(trained(SEEN), trained(less(SEEN, left)), METRIC, without)
    assert found.closed is not None
    assert found.won_back is not None
    for share in (found.closed, found.won_back):
        assert share.value == pytest.approx(closed)
        assert ends(share.ci95) == pytest.approx((closed, closed))


def test_a_gap_that_closes_since_the_model_got_worse_at_home_wins_nothing_back() -> None:
    without = trained(SEEN), trained(less(SEEN, 0.2))
    found = gap(trained(less(SEEN, 0.2)), trained(less(SEEN, 0.2)), METRIC, without)
    assert found.closed is not None
    assert found.won_back is not None
    assert (found.closed.value, found.won_back.value) == (pytest.approx(1), pytest.approx(0))


def test_the_shares_interval_is_that_of_the_ratio_of_the_same_draws() -> None:
    rng = np.random.default_rng(2)
    loss = {site: rng.normal(0.2, 0.05, len(of)) for site, of in SEEN.items()}
    part = {site: of * rng.uniform(0.2, 0.6, len(of)) for site, of in loss.items()}
    size = 20_000
    unseen, harmonized = ({s: SEEN[s] - of[s] for s in SEEN} for of in (loss, part))
    found = gap(trained(SEEN, size), trained(harmonized, size), METRIC, (trained(SEEN, size), trained(unseen, size)))
    numbers = [rng.integers(len(of), size=(size, len(of))) for of in SEEN.values()]
    whole, left = (
        np.concatenate([values[number] for values, number in zip(of.values(), numbers, strict=True)], axis=1).mean(1)
        for of in (loss, part)
    )
    assert found.closed is not None
    np.testing.assert_allclose(ends(found.closed.ci95), np.quantile(1 - left / whole, [0.025, 0.975]), atol=0.01)


def test_a_gap_whose_interval_holds_0_has_no_share() -> None:
    noise = np.array([0.1, -0.1, 0.1, -0.1, 0.0])
    unseen = {"a": SEEN["a"] - noise[:4], "b": SEEN["b"] - noise}
    found = gap(trained(SEEN), trained(SEEN), METRIC, (trained(SEEN), trained(unseen)))
    for share in (found.closed, found.won_back):
        assert share is not None
        assert (share.value, share.ci95) == (None, None)
        assert "no gap that can be told from 0" in share.why


def test_with_fewer_than_six_patients_nothing_is_better_and_no_share_is_defined() -> None:
    few = {"b": SEEN["b"]}
    worse = trained(less(few, 0.2))
    assert compared(trained(few), worse, METRIC).verdict == "tied"
    share = gap(trained(few), trained(few), METRIC, (trained(few), worse)).closed
    assert share is not None
    assert share.why == "fewer than 6 patients"
    assert compared(trained(SEEN), trained(less(SEEN, 0.2)), METRIC).verdict == "better"
    assert compared(trained(less(SEEN, 0.2)), trained(SEEN), METRIC).verdict == "worse"


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.001, 0.2), "better"), ((0.0004, 0.2), "tied"), ((-0.1, 0.2), "tied"), ((-0.2, -0.001), "worse")],
)
def test_better_needs_an_interval_beyond_0_in_three_decimals(interval: tuple[float, float], said: str) -> None:
    found = Difference(mean=sum(interval) / 2, ci95=interval)
    assert verdict(found, 6) == said
    assert verdict(found, 6, higher_is_better=False) == {"better": "worse", "worse": "better"}.get(said, said)
    assert verdict(found, 5) == "tied"


def test_a_person_counts_with_the_mean_of_the_trainings_and_their_spread_is_students() -> None:
    seen = [trained(SEEN)[0], trained(less(SEEN, 0.02))[0], trained(less(SEEN, 0.04))[0]]
    unseen = [trained(less(SEEN, loss))[0] for loss in (0.1, 0.12, 0.2)]
    found = gap(seen, unseen, METRIC)
    each = np.array([0.1, 0.1, 0.16])
    assert found.gap.mean == pytest.approx(each.mean())
    assert found.trainings is not None
    assert found.trainings.means == pytest.approx(each)
    half = 4.302652729911275 * each.std(ddof=1) / 3**0.5  # t of two degrees of freedom, from tables
    assert ends(found.trainings.ci95) == pytest.approx((each.mean() - half, each.mean() + half))
    assert spread([0.5]) is None


def test_what_another_training_contradicts_is_a_tie_and_no_gap() -> None:
    """Everybody loses .1 in one training and wins .02 in the other: by people alone that is certain."""
    ours = [trained(SEEN)[0], trained(SEEN)[0]]
    theirs = [trained(less(SEEN, 0.1))[0], trained(less(SEEN, -0.02))[0]]
    assert verdict(difference(ours, theirs, METRIC), 9) == "better"
    assert compared(ours, theirs, METRIC).verdict == "tied"
    assert compared(theirs, ours, METRIC).verdict == "tied"
    assert compared(ours, [theirs[0], theirs[0]], METRIC).verdict == "better"
    assert compared(ours, theirs[:1], METRIC).verdict == "better"
    found = gap(ours, theirs, METRIC, (ours, theirs))
    assert not is_gap(found)
    assert found.won_back is not None
    assert found.won_back.value is None
    assert is_gap(gap(ours, [theirs[0], theirs[0]], METRIC))


def test_a_baseline_that_is_trained_once_stands_beside_models_that_are_trained_often() -> None:
    found = difference([trained(SEEN)[0], trained(less(SEEN, 0.1))[0]], trained(SEEN), METRIC)
    assert found.mean == pytest.approx(-0.05)
