"""Sentences about who was missing, and why."""

from __future__ import annotations

from typing import Any

import pytest
from run_results import run_results

from normfed_common.studies import resolve
from normfed_server.report import participation
from normfed_server.report.participation import Cell, mean_shares
from normfed_server.report.words import (
    adapted_sentences,
    alone_sentences,
    dominance_sentences,
    listed,
    missed_sentences,
    number,
    p_value,
    participation_sentence,
    signed,
    trainings_spread,
    warnings,
)
from normfed_server.results.figures import LeagueFigure
from normfed_server.sites.closing import Outcome


@pytest.mark.parametrize(
    ("whom", "said"),
    [("nobody", ""), ("held-out", "their held-out healthy people"), ("everybody", "all their people, patients too")],
)
def test_where_transforms_adapt_to_sites_that_never_train_figures_are_called_in_sample(whom: str, said: str) -> None:
    data = {"modalities": ["T1w"], "adapt_unseen": whom}
    study = resolve({"name": "s", "data": data, "transforms": [{"name": "combat"}]}, "test")
    found = adapted_sentences(study)
    assert len(found) == bool(said)
    assert all(said in sentence and sentence.endswith("is in-sample.") for sentence in found)
    assert adapted_sentences(resolve({"name": "s", "data": data}, "test")) == []


@pytest.mark.parametrize(("trained", "alone"), [((), False), (("a",), True), (("a", "b"), False)])
def test_where_one_site_trained_the_first_warning_is_that_nothing_was_federated(
    trained: tuple[str, ...], alone: bool
) -> None:
    results = run_results([{}], trained=trained, missing={"federated": {"d": [1]}}, left_out={"d": "trains nothing"})
    first = warnings(results, {})[0]
    assert first.startswith("Only one site trained: this is no federation.") == alone
    assert [first] == (alone_sentences(results) or [participation_sentence(results)])


@pytest.mark.parametrize(
    ("rounds", "total", "when"),
    [
        ([3], 9, "round 3"),
        ([1, 3], 9, "rounds 1, 3"),
        ([1, 2, 3, 4, 5, 6], 9, "rounds 1, 2, 3, 4, 5, 6"),
        ([1, 2, 3, 4, 5, 6, 7], 9, "7 of 9 rounds"),
        ([1, 2], 2, "every round"),
        ([1], 1, "every round"),
    ],
)
def test_when_a_site_was_missing_is_listed_while_it_is_short(rounds: list[int], total: int, when: str) -> None:
    results = run_results([{}] * total, missing={"federated": {"d": rounds}})
    assert participation_sentence(results) == f"Partial: the federated model was trained without d in {when}."


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["its budget is spent", "its budget is spent"], " (its budget is spent)"),
        (["its budget is spent", "late"], ""),
        (["its budget is spent", ""], ""),
    ],
)
def test_why_a_site_was_missing_is_said_where_it_was_always_the_same(reasons: list[str], told: str) -> None:
    rounds = [{"round": n, "reasons": {"d": why} if why else {}} for n, why in enumerate(reasons, 2)]
    results = run_results([{"round": 1}, *rounds], missing={"federated": {"d": [2, 3]}})
    assert participation_sentence(results) == (
        f"Partial: the federated model was trained without d in rounds 2, 3{told}."
    )


@pytest.mark.parametrize("missing", [{}, {"federated": {}}, {"ditto": {"d": [1]}}])
def test_a_federated_model_that_everybody_trained_is_not_partial(missing: dict[str, Any]) -> None:
    assert participation_sentence(run_results([{}], missing=missing)) is None


def test_what_a_site_missed_for_the_same_reason_is_one_sentence() -> None:
    missed = {"federated": {"b": "full disk", "a": "late"}, "ditto": {"b": "full disk"}}
    assert missed_sentences(run_results(missed=missed)) == [
        "Without a in part (federated): late.",
        "Without b in part (federated, ditto): full disk.",
    ]


@pytest.mark.parametrize(("share", "said"), [(0.5, False), (0.51, True)])
def test_a_site_that_decides_alone_is_named_with_its_largest_share(share: float, said: bool) -> None:
    rounds = [{"shares": {"a": s, "b": 1 - s}, "outcomes": {"a": "", "b": ""}} for s in (0.5, share, 0.5)]
    found = dominance_sentences(run_results(rounds))
    assert bool(found) == said
    assert all(sentence.startswith("a had up to 51% of the weight") for sentence in found)


def test_a_site_that_is_alone_in_the_federation_dominates_nobody() -> None:
    assert dominance_sentences(run_results([{"shares": {"a": 1.0}, "outcomes": {"a": ""}}])) == []


def test_the_spread_of_trainings_is_their_sample_standard_deviation() -> None:
    assert trainings_spread(trained(0.1, 0.3), "{:.4f}") == "0.1414"  # 0.2 / sqrt(2)
    assert trainings_spread(trained(0.1), "{:.4f}") == ""
    assert trainings_spread(trained(0.1, None, 0.3), "{:.4f}") == "0.1414"  # one training that sites may not tell of


def trained(*means: float | None) -> LeagueFigure:
    return LeagueFigure(
        mean=0.2, ci95=(None, None), worst_site=None, sd_over_sites=None, sites={}, trainings=tuple(means)
    )


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_of_a_round_has_a_sign_and_its_reason(outcome: Outcome) -> None:
    entry = {"round": 1, "outcomes": {"a": str(outcome)}, "reasons": {"a": "why"}}
    (table,) = participation.tables(run_results([entry]))
    ((cell,),) = table.rows.values()
    assert cell.why == f"{outcome}: why"
    expected = {Outcome.TOOK_PART: "yes", Outcome.NOT_SAMPLED: "no", Outcome.NO_PART: "no"}.get(outcome, "bad")
    assert cell.kind == expected


def test_a_site_that_joins_later_was_not_in_the_federation_before() -> None:
    rounds = [
        {"round": 1, "outcomes": {"b": "took part"}, "reasons": {}, "shares": {"b": 1.0}},
        {"round": 2, "outcomes": {"a": "took part", "b": "late"}, "reasons": {"b": "slow"}, "shares": {"a": 1.0}},
        {"round": 3, "outcomes": dict.fromkeys("ab", "took part"), "reasons": {}, "shares": {"a": 0.25, "b": 0.75}},
    ]
    missing = {"federated": {"b": [2]}, "ditto": {}, "krum": {"a": [1]}}
    results = run_results(rounds, missing=missing, rounds_of={"ditto": rounds, "krum": rounds[:1]})
    federated, krum = participation.tables(results)
    assert (federated.model, federated.complete, krum.model, krum.complete) == ("federated", False, "krum", False)
    assert list(federated.rows) == ["a", "b"]
    assert federated.rows["a"][0] == Cell("", "no", "not in the federation")
    assert federated.rows["b"][1] == Cell("late", "bad", "late: slow")
    assert mean_shares(results.rounds) == {"b": 0.875, "a": 0.625}  # over the rounds in which each was used


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.12345, "0.123"),
        (0.9996, "1.000"),
        (1.0, "1.00"),
        (-3.14159, "−3.14"),
        (10, "10.0"),
        (-12.34, "−12.3"),
    ],
)
def test_a_number_has_three_digits_or_so(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.1, "+0.100"), (-0.1, "−0.100"), (0.0, "0.000"), (-0.0004, "0.000"), (0.0006, "+0.001")],
)
def test_a_difference_has_its_sign_where_there_is_any(value: float | None, shown: str) -> None:
    assert signed(value) == shown


def test_a_list_ends_with_a_word() -> None:
    assert (listed("a"), listed("ab"), listed("abc", "or")) == ("a", "a and b", "a, b or c")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0009, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0496, "p = 0.050"),
        (1.0, "p = 1.000"),
    ],
)
def test_a_p_value_is_never_zero(value: float, shown: str) -> None:
    assert p_value(value) == shown
