"""Splits of people among sites: partitions, by chance or as skewed as was asked for, and refused in one sentence."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from commands import normfed
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins import Plugins
from scipy import stats

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.participants import Participant
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import site_name
from normfed_simulation.splits.base import DividedPerson
from normfed_simulation.splits.catalogue import SPLITS, chosen
from normfed_simulation.splits.dirichlet import draw
from normfed_simulation.splits.quantity import apportioned

ENTRIES: dict[str, dict[str, Any]] = {
    "iid": {"by": "iid", "sites": 4},
    "dirichlet by age": {"by": "dirichlet", "over": "age", "alpha": 0.3, "sites": 4},
    "dirichlet by group": {"by": "dirichlet", "over": "group", "alpha": 0.3, "sites": 4},
    "dirichlet by sex": {"by": "dirichlet", "over": "sex", "alpha": 0.3, "sites": 4},
    "quantity by power": {"by": "quantity", "power": 1.5, "sites": 4},
    "quantity by alpha": {"by": "quantity", "alpha": 0.5, "sites": 4},
    "scanner": {"by": "scanner"},
}
SEEDS = 120


def person(number: int, **facts: Any) -> DividedPerson:
    whose = Participant(f"sub-{number:04d}", "clinic", **{"group": "control", **facts})
    return DividedPerson(whose, (Visit(whose, None, {}),))


def halves(count: int) -> list[DividedPerson]:
    """As many of group a as of group b."""
    return [person(number, group="ab"[number % 2]) for number in range(count)]


def divide(people: list[DividedPerson], seed: int = 0, **entry: Any) -> list[str]:
    return chosen(entry).divide(people, seeds.generator(seed, "split"))


people_drawn = st.lists(
    st.builds(
        dict,
        group=st.sampled_from(["control", "MS", ""]),
        age=st.none() | st.floats(0, 120),
        sex=st.sampled_from([None, "F", "M"]),
        scanner=st.sampled_from(["Siemens 3T", "GE 1.5T"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25)
@given(facts=people_drawn, seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", ENTRIES)
def test_a_split_gives_everybody_one_site_and_every_site_somebody_or_says_why_not(
    name: str, facts: list[dict[str, Any]], seed: int
) -> None:
    people = [person(number, **of) for number, of in enumerate(facts)]
    try:
        sites = divide(people, seed, **ENTRIES[name])
    except StudyError:
        return
    assert len(sites) == len(people)
    if name == "scanner":
        assert Counter(sites) == Counter(site_name(of["scanner"]) for of in facts)
    else:
        assert set(sites) == {"site-1", "site-2", "site-3", "site-4"}
    assert sites == divide(people, seed, **ENTRIES[name])


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "scanner"])
def test_another_seed_is_another_split(name: str) -> None:
    people = [person(n, group="ab"[n % 2], age=20 + n, sex="FM"[n % 2]) for n in range(40)]
    assert divide(people, 1, **ENTRIES[name]) != divide(people, 2, **ENTRIES[name])


def chi_square(people: list[DividedPerson], sites: list[str]) -> float:
    """Pearson's statistic of group against site."""
    groups = [one.participant.group for one in people]
    table = [[sum(pair == (g, s) for pair in zip(groups, sites, strict=True)) for s in set(sites)] for g in set(groups)]
    return float(stats.chi2_contingency(table, correction=False).statistic)


@pytest.mark.parametrize(
    "entry",
    [{"by": "iid"}, {"by": "dirichlet", "over": "group", "alpha": 1e9}, {"by": "quantity", "power": 0.7}],
    ids=lambda entry: entry["by"],
)
def test_sites_by_chance_differ_as_a_random_permutation_does(entry: dict[str, Any]) -> None:
    """Whose statistic has the mean (sites - 1)(groups - 1) n / (n - 1), with the totals fixed."""
    people = halves(60)
    found = [chi_square(people, divide(people, seed, sites=4, **entry)) for seed in range(SEEDS)]
    expected = 3 * 60 / 59
    assert abs(np.mean(found) - expected) < 4 * np.sqrt(2 * 3 / SEEDS)


def test_the_smaller_alpha_the_more_sites_differ() -> None:
    people = halves(80)
    means = []
    for alpha in (1e-3, 0.3, 3.0, 1e6):
        entry = {"by": "dirichlet", "over": "group", "alpha": alpha, "sites": 4}
        means.append(np.mean([chi_square(people, divide(people, seed, **entry)) for seed in range(40)]))
    assert means == sorted(means, reverse=True)
    assert means[0] > 5 * means[-1]


def test_as_alpha_falls_to_zero_two_sites_have_a_kind_each_unless_both_drew_the_same() -> None:
    """Both draw one of two kinds, each as likely: they differ half of the time. Else they share both kinds evenly."""
    people = halves(20)
    apart = 0
    for seed in range(SEEDS):
        sites = divide(people, seed, by="dirichlet", over="group", alpha=1e-6, sites=2)
        counts = Counter(zip((one.participant.group for one in people), sites, strict=True))
        assert sorted(counts.values()) in ([10, 10], [5, 5, 5, 5])
        apart += len(counts) == 2
    assert stats.binomtest(apart, SEEDS, 0.5).pvalue > 1e-3


def test_sites_that_want_different_kinds_get_just_these() -> None:
    wanted, counts = np.eye(3), np.array([5, 7, 4])
    drawn = draw(wanted, counts, counts, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, np.diag(counts))


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 2**32))
def test_what_is_drawn_adds_up_to_the_kinds_and_to_the_sizes(sites: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, sites)
    counts = rng.multinomial(sizes.sum(), np.ones(kinds) / kinds)
    drawn = draw(rng.dirichlet(np.full(kinds, 0.1), sites), counts, sizes, rng)
    np.testing.assert_array_equal(drawn.sum(axis=0), counts)
    np.testing.assert_array_equal(drawn.sum(axis=1), sizes)


def test_ages_are_cut_at_their_quantiles() -> None:
    """So that as many are in every bin: with two bins and alpha near 0 the two sites are the young and the old."""
    people = [person(n, age=20 + n) for n in range(40)]
    for seed in range(20):
        sites = divide(people, seed, by="dirichlet", over="age", alpha=1e-6, sites=2, bins=2)
        young, old = Counter(sites[:20]), Counter(sites[20:])
        assert young == Counter({"site-1": 10, "site-2": 10}) or len(young) == len(old) == 1


def test_people_without_lesions_are_a_kind_and_the_others_are_cut_by_their_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = [person(n) for n in range(16)]
    loads = {person.participant.subject: load for person, load in zip(people, [0] * 8 + [2] * 4 + [6] * 4, strict=True)}
    monkeypatch.setattr(DividedPerson, "lesion_ml", lambda self: loads[self.participant.subject])
    entry = {"by": "dirichlet", "over": "lesion-load", "alpha": 1e-6, "sites": 4, "bins": 2}
    pure = 0
    for seed in range(SEEDS):
        kinds = [set(divide(people, seed, **entry)[part]) for part in (slice(8), slice(8, 12), slice(12, 16))]
        pure += [len(kind) for kind in kinds] == [2, 1, 1] and len(set.union(*kinds)) == 4
    # Two of four sites draw no lesions, one each the small and the large: 4! / 2! times 1/2 * 1/2 * 1/4 * 1/4.
    assert stats.binomtest(pure, SEEDS, 12 / 64).pvalue > 1e-3


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8), st.integers(0, 200), st.integers(1, 5))
def test_sizes_are_the_whole_numbers_nearest_to_the_shares(shares: list[float], more: int, minimum: int) -> None:
    share, people = np.array(shares), len(shares) * minimum + more
    sizes = apportioned(share, people, minimum)
    assert sizes.sum() == people
    assert sizes.min() >= minimum
    exact = share / share.sum() * people
    if np.floor(exact).min() >= minimum:
        assert np.abs(sizes - exact).max() < 1


def test_sizes_fall_as_a_power_of_the_rank() -> None:
    sizes = Counter(divide(halves(110), by="quantity", power=1.0, sites=4))
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    expected = [110 / harmonic / rank for rank in range(1, 5)]
    np.testing.assert_allclose([sizes[f"site-{rank}"] for rank in range(1, 5)], expected, atol=1)


def test_shares_of_people_have_the_second_moment_of_a_dirichlet_distribution() -> None:
    """The sum of squares has the mean (alpha + 1) / (sites alpha + 1)."""
    people, alpha, sites = halves(400), 0.7, 3
    found = []
    for seed in range(SEEDS):
        sizes = np.array([*Counter(divide(people, seed, by="quantity", alpha=alpha, sites=sites)).values()])
        found.append(((sizes / 400) ** 2).sum())
    error = np.std(found) / np.sqrt(SEEDS)
    assert abs(np.mean(found) - (alpha + 1) / (sites * alpha + 1)) < 4 * error + 0.005


def test_every_site_has_at_least_the_minimum_asked_for() -> None:
    for seed in range(20):
        sizes = Counter(divide(halves(40), seed, by="quantity", alpha=0.05, sites=4, minimum=7))
        assert min(sizes.values()) >= 7


def test_everybody_of_a_scanner_is_a_site() -> None:
    scanners = ["Siemens Skyra 3T", "GE", "Siemens Skyra 3T", "Philips (1.5 T)"]
    people = [person(n, scanner=scanner) for n, scanner in enumerate(scanners)]
    assert divide(people, by="scanner") == ["Siemens-Skyra-3T", "GE", "Siemens-Skyra-3T", "Philips-1.5-T"]


AGED = {"by": "dirichlet", "over": "age", "alpha": 1, "sites": 2}


@pytest.mark.parametrize(
    ("facts", "entry", "sentence"),
    [
        ([{}] * 3, {"by": "iid", "sites": 4}, "4 sites of at least one person each cannot be made of 3 people"),
        ([{"age": 1.0}], AGED, "2 sites of at least one person each cannot be made of 1 person."),
        ([{}] * 3, AGED, "nobody's age is known"),
        ([{"age": 9.0}] * 3, AGED, r"everybody is of one kind by age \(bin 1\)"),
        ([{}] * 3, {**AGED, "over": "sex"}, r"everybody is of one kind by sex \(unknown\)"),
        ([{}] * 3, {**AGED, "over": "group"}, r"everybody is of one kind by group \(control\)"),
        ([{}] * 3, {**AGED, "over": "lesion-load"}, "nobody has a lesion"),
        ([{}] * 9, {"by": "quantity", "power": 1, "sites": 2, "minimum": 5}, "2 sites of at least 5 people each"),
        ([{}] * 3, {"by": "scanner"}, "nobody has a scanner: participants.tsv has no column scanner"),
        ([{"scanner": "GE"}, {}], {"by": "scanner"}, "1 of 2 people have no scanner in participants.tsv, such as sub-"),
        ([{"scanner": "GE"}] * 3, {"by": "scanner"}, "everybody was scanned on GE, so there would be one site"),
        ([{"scanner": "GE 3T"}, {"scanner": "GE-3T"}], {"by": "scanner"}, "would both be the site GE-3T"),
    ],
)
def test_people_who_cannot_be_divided_so_are_one_sentence(
    facts: list[dict[str, Any]], entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StudyError, match=sentence):
        divide([person(number, **of) for number, of in enumerate(facts)], **entry)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"by": "moon"}, "data.split: No split is called 'moon'. Known: dirichlet, iid, quantity, scanner."),
        ({"sites": 3}, "data.split: by is missing."),
        ({"by": "iid"}, "data.split iid: sites is missing."),
        ({"by": "iid", "sites": 1}, "data.split iid: sites: input should be greater than or equal to 2"),
        ({"by": "iid", "sites": 3, "alpha": 1}, "data.split iid: alpha is not a parameter of iid"),
        ({"by": "quantity", "sites": 3}, "data.split quantity: needs alpha or power, and not both"),
        ({**AGED, "over": "height"}, "data.split dirichlet: over: input should be 'age', 'lesion-load', 'sex'"),
        ({**AGED, "alpha": 0}, "data.split dirichlet: alpha: input should be greater than 0"),
    ],
)
def test_a_wrong_entry_is_one_sentence(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError) as caught:
        chosen(entry)
    assert sentence in str(caught.value)


def test_a_plug_in_adds_a_split(plugins: Plugins) -> None:
    code = """
from normfed_simulation.splits.base import Split, SplitConfig

class Alternating(Split):
    Config = SplitConfig

    def divide(self, people, rng):
        return ["even" if number % 2 == 0 else "odd" for number in range(len(people))]
"""
    plugins.install("alternating", "1", {"normfed.splits": {"alternating": "alternating:Alternating"}}, code)
    assert "alternating" in set(SPLITS)
    assert divide(halves(3), by="alternating") == ["even", "odd", "even"]


def test_the_command_lists_splits_and_their_parameters() -> None:
    shown = normfed("splits").stdout
    assert all(name in shown for name in SPLITS)
    parameters = " ".join(normfed("splits", "dirichlet").stdout.split())
    assert "Hsu et al. 2019, arXiv 1909.06335" in parameters
    assert all(name in parameters for name in ("sites", "over", "alpha", "bins", "seed"))


def test_every_split_of_ours_is_tried_above() -> None:
    assert {entry["by"] for entry in ENTRIES.values()} == set(SPLITS)
