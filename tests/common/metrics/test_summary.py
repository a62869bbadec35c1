"""Sums over people: merged over sites they are the pooled ones, and nobody can be worked out of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from summaries import PER_SCAN
from toy_metric import METRIC

from normfed_common.foundation import seeds
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import (
    Summary,
    add,
    averaged,
    difference_interval,
    percentile_interval,
    reportable_groups,
    summarise,
    t_interval,
)

KINDS = ("FCD", "MS", "WMH")


ALL = (EVERYBODY, *KINDS)


Row = dict[str, float]


VALUES = st.one_of(st.none(), st.floats(0, 1), st.just(float("nan")))


PATIENTS = st.lists(st.tuples(st.sampled_from(KINDS), VALUES), max_size=14)


def rows_of(patients: list[tuple[str, float | None]]) -> list[Row]:
    return [{} if value is None else {"dice": value} for _, value in patients]


def summary(values: list[float], resamplings: int = 0, seed: int = 1, metric: str = "dice") -> Summary:
    """Of one site whose patients have these values."""
    return summarise([{metric: v} for v in values], ["MS"] * len(values), (EVERYBODY,), resamplings, seed, "a")


@given(PATIENTS, st.lists(st.integers(0, 14), max_size=3))
def test_sites_added_up_are_the_pooled_people_however_they_are_split(
    patients: list[tuple[str, float | None]], cuts: list[int]
) -> None:
    """A site reports the kinds it has; absent and undefined values are left out."""
    bounds = [0, *sorted(min(cut, len(patients)) for cut in cuts), len(patients)]
    parts = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        own = patients[begin:end]
        kinds = [kind for kind, _ in own]
        parts.append(summarise(rows_of(own), kinds, (EVERYBODY, *sorted(set(kinds))), 0, 1, str(number)))
    total = add(parts)
    assert total.groups == (EVERYBODY, *sorted({kind for kind, _ in patients}))
    for group in total.groups:
        values = [v for kind, v in patients if group in (EVERYBODY, kind) and v is not None and np.isfinite(v)]
        assert total.n("dice", group) == len(values)
        mean = np.mean(values) if values else np.nan
        sd = np.std(values, ddof=1) if len(values) > 1 else np.nan
        assert total.mean("dice", group) == pytest.approx(mean, nan_ok=True)
        assert total.sd("dice", group) == pytest.approx(sd, abs=1e-7, nan_ok=True)


def test_each_resampling_draws_the_sites_patients_with_replacement() -> None:
    values = [0.1, 0.4, float("nan"), 0.9]
    found = summarise([{"dice": v} for v in values], ["MS", "MS", "MS", "WMH"], (EVERYBODY, "WMH"), 50, 7, "site")
    draws = seeds.generator(7, "bootstrap", "site").multinomial(4, [0.25] * 4, 50)
    for group, members in ((EVERYBODY, [0, 1, 3]), ("WMH", [3])):
        drawn = [[values[i] for i in members for _ in range(times[i])] for times in draws]
        expected = [np.mean(people) if people else np.nan for people in drawn]
        np.testing.assert_allclose(found.resampled_means("dice", group), expected)
    usable = found.resampled_means("dice", "WMH")
    assert np.isnan(usable).any()
    assert found.interval("dice") == tuple(np.quantile(found.resampled_means("dice"), [0.025, 0.975]))


def test_two_sites_resample_apart_and_are_added_resampling_by_resampling() -> None:
    one, other = summary([0.1, 0.5, 0.9], 20), replace(summary([0.2, 0.3], 20), groups=(EVERYBODY,))
    np.testing.assert_array_equal(add([one, other]).bootstrap, one.bootstrap + other.bootstrap)
    fewer = summary([0.2, 0.3], 5)
    np.testing.assert_array_equal(add([one, fewer]).bootstrap, one.bootstrap[..., :5] + fewer.bootstrap)
    assert not add([one, summary([0.2, 0.3])]).resampled
    elsewhere = summarise([{"dice": v} for v in (0.1, 0.5, 0.9)], ["MS"] * 3, (EVERYBODY,), 20, 1, "b")
    assert (elsewhere.bootstrap != one.bootstrap).any()


def test_people_are_resampled_with_all_their_visits() -> None:
    """Who is there twice, with the same figures, is no second patient: the interval is that of the people."""
    values, names = [0.1, 0.4, 0.5, 0.9], ["d", "a", "c", "b"]
    once = summary(values, resamplings=200)
    rows = [{"dice": value} for value in values for _ in range(3)]
    people = [name for name in names for _ in range(3)]
    often = summarise(rows, ["MS"] * 12, (EVERYBODY,), 200, 1, "a", people=people)
    np.testing.assert_allclose(often.resampled_means("dice"), once.resampled_means("dice"), rtol=1e-12)
    assert often.interval("dice") == pytest.approx(once.interval("dice"), rel=1e-12)


def test_a_site_without_patients_adds_nothing() -> None:
    one, nobody = summary([0.1, 0.5], 4), summary([], 4)
    total = add([one, nobody])
    np.testing.assert_array_equal(total.moments, one.moments)
    np.testing.assert_array_equal(total.bootstrap, one.bootstrap)
    assert np.isnan([nobody.mean("dice"), nobody.sd("dice"), *nobody.interval("dice")]).all()


def differences(told: dict[str, set[int]]) -> list[set[int]]:
    """Rows that follow from what is told: each group, and everybody less all groups."""
    beside = told[EVERYBODY].difference(*(rows for group, rows in told.items() if group != EVERYBODY))
    return [*told.values(), *([beside] if told[EVERYBODY] else [])]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abcdefg"), st.booleans(), st.booleans()), max_size=16),
    st.integers(2, 4),
)
def test_no_sum_is_about_fewer_people_than_the_minimum_nor_gives_them_away(
    scans: list[tuple[str, str, bool, bool]], minimum: int
) -> None:
    """Somebody may have several scans, of several kinds; who has a lesion has an AUROC."""
    rows = [{"froc": 0.5} | ({"auroc": 0.5} if ill else {}) | ({"dice": 0.5} if has else {}) for *_, ill, has in scans]
    kinds, people = [kind for kind, *_ in scans], [who for _, who, *_ in scans]
    found = summarise(rows, kinds, ALL, 0, 1, "a", people=people, minimum=minimum)
    for metric in ("froc", "auroc", "dice"):
        told: dict[str, set[int]] = {}
        for group in ALL:
            members = [i for i, kind in enumerate(kinds) if group in (EVERYBODY, kind)]
            counted = {i for i in members if metric in rows[i]}
            assert found.n(metric, group) in (0, len(counted))
            told[group] = counted if found.n(metric, group) else set()
            if told[group]:
                assert counted in (set(members), {i for i in members if "auroc" in rows[i]})
        for group_rows in differences(told):
            assert not 0 < len({people[i] for i in group_rows}) < minimum
    absent = [PER_SCAN.index(metric) for metric in PER_SCAN if metric not in ("froc", "auroc", "dice")]
    assert not found.moments[:, absent].any()


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(KINDS)), max_size=14, unique_by=lambda x: x[0]),
    st.integers(1, 4),
)
def test_reported_kinds_and_who_is_left_over_are_enough_people(scans: list[tuple[str, str]], minimum: int) -> None:
    people, kinds = [who for who, _ in scans], [kind for _, kind in scans]
    everybody, *told = reportable_groups(kinds, people, minimum)
    assert everybody == EVERYBODY
    assert told == sorted(told)
    counts = {kind: kinds.count(kind) for kind in KINDS}
    left = len(people) - sum(counts[kind] for kind in told)
    assert all(counts[kind] >= minimum for kind in told)
    assert not told or not 0 < left < minimum
    if minimum == 1:
        assert set(told) == set(kinds)


def test_intervals_are_cut_to_what_the_metric_can_be() -> None:
    few = [0.0, 0.02, 0.9]
    low, high = stats.t.interval(0.95, 2, np.mean(few), stats.sem(few))
    assert summary(few).interval("dice") == pytest.approx((0.0, 1.0))
    assert low < 0 < 1 < high
    assert summary(few, metric="false_clusters").interval("false_clusters") == pytest.approx((0.0, high))


def test_an_interval_needs_two_people() -> None:
    assert np.isnan(summary([0.3]).interval("dice")).all()
    assert np.isnan(summary([0.3]).sd("dice"))
    assert summary([0.3, 0.3]).interval("dice") == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("freedom", [0, -1])
def test_no_degree_of_freedom_is_no_interval(freedom: float) -> None:
    assert np.isnan(t_interval(0.5, 0.1, freedom)).all()
    assert t_interval(0.5, 0.1, 3.5) == pytest.approx(stats.t.interval(0.95, 3.5, 0.5, 0.1))


def test_resamplings_without_anybody_do_not_count_in_an_interval() -> None:
    values = np.array([0.1, np.nan, 0.2, 0.9, np.inf])
    assert percentile_interval(values) == pytest.approx(tuple(np.quantile([0.1, 0.2, 0.9], [0.025, 0.975])))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_a_difference_is_paired_where_both_models_have_the_same_resamplings() -> None:
    ours, theirs = [0.3, 0.5, 0.9, 0.4], [0.2, 0.3, 0.9, 0.1]
    a, b = summary(ours, 300), summary(theirs, 300)
    differences = summary([x - y for x, y in zip(ours, theirs, strict=True)], 300)
    assert difference_interval(a, b, "dice") == pytest.approx(differences.interval("dice"))
    unpaired = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    for one, other in ((a, summary(theirs)), (summary(ours), b)):
        assert difference_interval(one, other, "dice") == pytest.approx(tuple(unpaired))


def test_a_difference_of_single_people_is_undefined_and_one_of_people_who_are_alike_is_a_point() -> None:
    assert np.isnan(difference_interval(summary([0.3]), summary([0.2, 0.4]), "dice")).all()
    assert np.isnan(difference_interval(summary([0.2, 0.4]), summary([0.3]), "dice")).all()
    assert difference_interval(summary([0.5] * 3), summary([0.25] * 4), "dice") == pytest.approx((0.25, 0.25))


def test_the_average_of_trainings_has_the_mean_of_their_means() -> None:
    first, second = summary([0.1, 0.5, 0.9], 30), summary([0.3, 0.5, 0.4], 30)
    both = averaged([first, second])
    each = summary([0.2, 0.5, 0.65], 30)
    assert both.mean("dice") == pytest.approx(each.mean("dice"))
    assert both.n("dice") == 3
    assert both.interval("dice") == pytest.approx(each.interval("dice"))


def test_trainings_that_tell_of_other_kinds_or_resamplings_are_averaged_where_both_tell() -> None:
    rows, kinds = [{"dice": v} for v in (0.1, 0.2, 0.6)], ["MS", "WMH", "WMH"]
    first = summarise(rows, kinds, (EVERYBODY, "MS", "WMH"), 8, 1, "a")
    second = summarise(rows, kinds, (EVERYBODY, "WMH"), 3, 1, "a")
    for parts in ([first, second], [second, first]):
        both = averaged(parts)
        assert both.groups == (EVERYBODY, "WMH")
        assert both.mean("dice", "WMH") == pytest.approx(0.4)
        assert both.bootstrap.shape[-1] == 3


WITH_TOY = (*BUILT_IN, METRIC)


def test_what_is_told_of_one_training_alone_is_of_as_many_people_as_there() -> None:
    told, other = summary([0.2, 0.4, 0.9], resamplings=5), summary([0.1, 0.3, 0.5], resamplings=5)
    silent = replace(other, moments=np.zeros_like(other.moments), bootstrap=np.zeros_like(other.bootstrap))
    both = averaged([silent, told, silent])
    assert (both.n("dice"), both.mean("dice")) == (3, pytest.approx(0.5))
    assert both.sd("dice") == pytest.approx(told.sd("dice"))
    np.testing.assert_allclose(both.resampled_means("dice"), told.resampled_means("dice"))


def test_without_resamplings_the_interval_of_an_average_is_no_narrower_than_that_of_patients_averages() -> None:
    one, two = [0.1, 0.5, 0.6, 0.9], [0.7, 0.4, 0.8, 0.2]
    low, high = averaged([summary(one), summary(two)]).interval("dice")
    least, most = summary(np.mean([one, two], 0).tolist()).interval("dice")
    assert low < least < most < high


def test_what_a_plug_in_s_metric_would_tell_of_few_is_left_out_as_with_any_other() -> None:
    """Were it told for the nine for whom it is defined, it would say of the tenth that they have none."""
    rows = [{"auroc": 0.5, "peak": -1.0 if number % 2 else 1.0} for number in range(10)]
    whole = summarise(rows, ["MS"] * 10, (EVERYBODY,), 0, 1, "a", minimum=3, metrics=WITH_TOY)
    assert (whole.n("peak"), whole.mean("peak")) == (10, 0.0)
    del rows[9]["peak"]
    assert summarise(rows, ["MS"] * 10, (EVERYBODY,), 0, 1, "a", minimum=3, metrics=WITH_TOY).n("peak") == 0
    few = summarise(rows[:2], ["MS"] * 2, (EVERYBODY,), 0, 1, "a", minimum=3, metrics=WITH_TOY)
    assert few.n("peak") == 0


def test_sums_of_more_metrics_are_added_and_averaged_with_them() -> None:
    parts = [
        summarise([{"peak": value}] * 3, ["MS"] * 3, (EVERYBODY,), 4, 1, site, metrics=WITH_TOY)
        for site, value in (("a", -1.0), ("b", 0.5))
    ]
    assert add(parts).mean("peak") == pytest.approx(-0.25)
    assert averaged(parts).mean("peak") == pytest.approx(-0.25)
    assert add(parts).moments.shape == (1, len(WITH_TOY), 3)


def test_an_interval_stays_within_what_a_metric_can_be() -> None:
    rows = [{"peak": -1.0}, {"peak": -1.0}, {"peak": -0.5}]
    low, high = summarise(rows, ["MS"] * 3, (EVERYBODY,), 0, 1, "a", metrics=WITH_TOY).interval("peak")
    assert low == -1.0
    assert high > -0.5


def rows(count: int, seed: int = 0) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    table = [{metric: float(rng.random()) for metric in PER_SCAN} for _ in range(count)]
    table[0]["auroc"] = float("nan")
    return table


def test_sums_of_sites_give_the_pooled_mean_and_spread() -> None:
    table = rows(9)
    kinds = ["MS"] * 4 + ["WMH"] * 5
    groups = (EVERYBODY, "MS", "WMH")
    parts = [
        summarise(table[:4], kinds[:4], groups, 10, 1, "a"),
        summarise(table[4:], kinds[4:], groups, 10, 1, "b"),
    ]
    total = add(parts)
    values = np.array([row["auprc"] for row in table])
    assert total.mean("auprc") == pytest.approx(values.mean())
    assert total.sd("auprc") == pytest.approx(values.std(ddof=1))
    assert total.n("auroc") == 8
    assert total.mean("auprc", "WMH") == pytest.approx(values[4:].mean())


def test_bootstrap_intervals_cover_the_mean_and_are_paired_between_models() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.normal(0.7, 0.1, 30)
        summary = summarise([{"auroc": v} for v in values], ["x"] * 30, (EVERYBODY,), 400, seed, "a")
        low, high = summary.interval("auroc")
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99
    better = summarise([{"auroc": v + 0.01} for v in values], ["x"] * 30, (EVERYBODY,), 400, seed, "a")
    difference = better.resampled_means("auroc") - summary.resampled_means("auroc")
    np.testing.assert_allclose(difference, 0.01)


@pytest.mark.parametrize(
    ("kinds", "people", "minimum", "expected"),
    [
        (["MS"] * 3 + ["WMH"] * 3, "abcdef", 3, ("all", "MS", "WMH")),
        (["MS"] * 3 + ["WMH"] * 2, "abcde", 3, ("all",)),  # two WMH would follow from all less MS
        (["MS"] * 3 + ["WMH"] * 2 + ["FCD"] * 2, "abcdefg", 3, ("all", "MS")),
        (["MS"] * 4 + ["WMH"] * 3, "aabcdef", 4, ("all",)),  # four scans, but of three people
        (["MS"], "a", 1, ("all", "MS")),
        ([], "", 3, ("all",)),
    ],
)
def test_no_group_below_the_minimum_can_be_read_or_worked_out(
    kinds: list[str], people: str, minimum: int, expected: tuple[str, ...]
) -> None:
    assert reportable_groups(kinds, list(people), minimum) == expected


def test_a_metric_defined_for_few_people_or_for_some_is_left_out_of_every_sum() -> None:
    kinds = ["MS"] * 5 + ["WMH"] * 5
    rows = [{"auroc": 0.1 * i, "dice": 0.5, "cluster_rank": 1.0, "false_clusters": 2.0} for i in range(10)]
    del rows[9]["auroc"], rows[9]["dice"]  # has no lesion after all
    del rows[0]["cluster_rank"]  # whom no cluster hits depends on the model
    groups = (EVERYBODY, "MS", "WMH")
    found = summarise(rows, kinds, groups, 0, 1, "a", people=list("abcdefghij"), minimum=3)
    assert [found.n("auroc", group) for group in groups] == [9, 5, 4]
    assert [found.n("dice", group) for group in groups] == [9, 5, 4]
    assert [found.n("false_clusters", group) for group in groups] == [10, 5, 5]
    assert [found.n("cluster_rank", group) for group in groups] == [0, 0, 5]
    # With one more asked for, the four with WMH would be all less MS.
    more = summarise(rows, kinds, groups, 0, 1, "a", people=list("abcdefghij"), minimum=5)
    assert [more.n("auroc", group) for group in groups] == [9, 0, 0]
    hidden = summarise(rows, kinds, groups, 10, 1, "a")  # a simulation hides nothing
    assert [hidden.n("cluster_rank", group) for group in groups] == [9, 4, 5]


def test_intervals_from_moments_are_those_of_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.7, 0.1, 14), rng.normal(0.6, 0.2, 14)
    a, b = (summarise([{"auroc": v} for v in values], ["x"] * 14, (EVERYBODY,), 0, 1, "a") for values in (ours, theirs))
    expected = stats.t.interval(0.95, 13, ours.mean(), stats.sem(ours))
    np.testing.assert_allclose(a.interval("auroc"), expected)
    few = summarise([{"auroc": v, "false_clusters": 9 * v} for v in (0.9, 1.0)], ["x"] * 2, (EVERYBODY,), 0, 1, "a")
    low, high = few.interval("auroc")
    assert 0 <= low < 0.95 < high == 1.0  # no interval beyond what the metric can be
    assert few.interval("false_clusters")[1] > 9
    welch = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(difference_interval(a, b, "auroc"), tuple(welch))


def test_a_kind_of_lesion_that_is_called_as_everybody_is_no_group_of_its_own() -> None:
    """Once a hospital whose masks say label-all had the name twice, and the server believed none of its figures."""
    assert reportable_groups(["all"] * 5 + ["MS"] * 5, list("abcdefghij"), 2) == ("all", "MS")
    assert reportable_groups(["all"] + ["MS"] * 5, list("abcdef"), 2) == ("all",)


def test_a_sum_that_is_one_persons_because_all_others_have_nothing_is_not_told() -> None:
    """Nor from the kinds of lesion: everybody's less the other kind's would be this one's."""
    rows: list[Row] = [{"auroc": 0.6 + 0.01 * i, "dice": 0.0, "best_dice": 0.4 + 0.01 * i} for i in range(8)]
    rows[0]["dice"] = 0.37
    kinds = ["MS"] * 4 + ["WMH"] * 4
    found = summarise(rows, kinds, (EVERYBODY, "MS", "WMH"), 0, 1, "a", minimum=3)
    assert [found.n("dice", group) for group in found.groups] == [0, 0, 0]
    assert [found.n("best_dice", group) for group in found.groups] == [8, 4, 4]
    for number, dice in ((1, 0.5), (2, 0.45), (4, 0.3), (5, 0.5), (6, 0.6)):
        rows[number]["dice"] = dice
    found = summarise(rows, kinds, (EVERYBODY, "MS", "WMH"), 0, 1, "a", minimum=3)
    assert [found.n("dice", group) for group in found.groups] == [8, 4, 4]
    rows[1]["dice"] = rows[2]["dice"] = 0.0
    found = summarise(rows, kinds, (EVERYBODY, "MS", "WMH"), 0, 1, "a", minimum=3)
    assert [found.n("dice", group) for group in found.groups] == [8, 0, 0]
    assert summarise(rows, kinds, (EVERYBODY,), 0, 1, "a").n("dice") == 8


@pytest.mark.parametrize("common", [0.0, 1.0, 0.5, 0.123])
@pytest.mark.parametrize("different", [[0.7], [0.05], [0.7, 0.2], [0.7, 0.7]])
def test_where_all_have_one_value_but_one_or_two_nothing_is_told(common: float, different: list[float]) -> None:
    """n, the sum and the sum of squares are three equations for the common value and two others."""
    values = different + [common + 1e-9 * n for n in range(10 - len(different))]
    rows: list[Row] = [{"auroc": 0.5 + 0.01 * n, "dice": value} for n, value in enumerate(values)]
    found = summarise(rows, ["MS"] * 10, (EVERYBODY,), 0, 1, "a", minimum=4)
    assert (found.n("auroc"), found.n("dice")) == (10, 0)
    assert not found.moments[0, found.metrics.index(found.metric("dice"))].any()


@pytest.mark.parametrize("values", [[0.2] * 10, [0.0] * 10, [0.0] * 7 + [0.3, 0.4, 0.5], [0.1, 0.5, 0.9], [0.1, 0.5]])
def test_where_all_or_three_are_unlike_the_common_value_the_sum_is_told(values: list[float]) -> None:
    rows: list[Row] = [{"auroc": 0.5 + 0.01 * n, "dice": value} for n, value in enumerate(values)]
    found = summarise(rows, ["MS"] * len(values), (EVERYBODY,), 0, 1, "a", minimum=2)
    assert found.n("dice") == len(values)


def test_several_scans_of_one_person_are_one_person() -> None:
    rows: list[Row] = [{"auroc": 0.5 + 0.01 * n, "dice": 0.3 + 0.1 * n if n < 4 else 1.0} for n in range(12)]
    people = ["a"] * 4 + [f"other-{n}" for n in range(8)]
    found = summarise(rows, ["MS"] * 12, (EVERYBODY,), 0, 1, "a", people=people, minimum=4)
    assert found.n("dice") == 0
