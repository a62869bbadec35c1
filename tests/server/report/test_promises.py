"""The promise in words: never better than the claim, by closed forms; and what it says is not protected."""

from __future__ import annotations

import math
from typing import Any

import pytest
from guarantees import figures, guarantee
from hypothesis import given
from hypothesis import strategies as st
from run_results import run_results

from normfed_server.report import promises
from normfed_server.results.audit import Protection


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "Without differential privacy."),
        (
            {"people": guarantee()},
            "Patients who were learnt from are protected: epsilon 4 per patient and model, 8.81 for all "
            "models of the study together.",
        ),
        (
            {"people": guarantee(total=3.998, federated=3.998), "minimum_sites": 5},
            "Patients who were learnt from are protected: epsilon 4 per patient and model. Secure "
            "aggregation: the server sees sums over at least 5 hospitals only.",
        ),
        (
            {"people": guarantee("patient", 12.0, federated=12.0)},
            "Patients who were learnt from are protected weakly: epsilon 12 per patient and model.",
        ),
        (
            {"people": guarantee("sample", federated=3.998)},
            "Patients are not protected, only single samples of them: epsilon 4 per sample and model.",
        ),
        (
            {"sites": guarantee("site", 8.0, federated=7.99)},
            "Hospitals are protected at a server that they trust: epsilon 8 per hospital and model.",
        ),
        (
            {"minimum_sites": 4},
            "Without differential privacy. Secure aggregation: the server sees sums over at least 4 hospitals only.",
        ),
    ],
)
def test_a_study_is_summed_up_in_a_sentence(said: dict[str, Any] | None, words: str) -> None:
    assert promises.summary(None if said is None else figures(**said)) == words


def percent(shown: str) -> float:
    return 1.0 if shown == "almost certainty" else float(shown.removesuffix(" %")) / 100


@given(st.floats(1e-3, 0.999), st.floats(0, 50))
def test_a_suspicion_becomes_what_bayes_says_and_is_never_said_to_become_less(before: float, epsilon: float) -> None:
    odds = before / (1 - before) * math.exp(epsilon)
    after = odds / (1 + odds)
    assert after * (1 - 1e-6) <= percent(promises.at_most(before, epsilon)) <= after * 1.01 + 5e-4


def test_half_a_suspicion_by_epsilon_of_log_3_is_three_quarters() -> None:
    assert promises.at_most(0.5, math.log(3)) == "75 %"


def test_no_suspicion_becomes_a_hundred_percent() -> None:
    assert promises.at_most(0.5, 7.15) == "almost certainty"  # e^7.15 / (1 + e^7.15) is 0.9992
    assert promises.at_most(0.5, 6.5) == "99.9 %"


@given(st.floats(1e-6, 1e6))
def test_an_epsilon_is_never_told_to_be_less_than_it_is(value: float) -> None:
    assert value * (1 - 1e-6) <= float(promises.upwards(value)) <= value * 1.011


@pytest.mark.parametrize(
    ("epsilon", "words"), [(0.0, "1 times"), (1.0, "2.8 times"), (4.0, "55 times"), (20.0, "more than a million times")]
)
def test_a_factor_is_rounded_up(epsilon: float, words: str) -> None:
    assert promises.factor(epsilon) == words


@pytest.mark.parametrize(("delta", "words"), [(1e-5, "1 in 100,000"), (1e-3, "1 in 1,000"), (3e-4, "1 in 3,333")])
def test_delta_is_a_chance_in_words(delta: float, words: str) -> None:
    assert promises.one_in(delta) == words


@pytest.mark.parametrize(
    ("epsilon", "word"), [(0.5, "strong"), (1.0, "strong"), (1.1, "moderate"), (10.0, "moderate"), (10.1, "weak")]
)
def test_a_promise_is_called_what_it_is_worth(epsilon: float, word: str) -> None:
    assert f"a {word} promise" in promises.strength(epsilon)


ALWAYS = {
    "Figures of how well lesions are found, and thresholds",
    "That a hospital took part, and how many people it has",
    "What is true of people in general",
}
STAYS, TIMES = "Parts of models that stay at a hospital", "How long a hospital takes"
SECRET, OTHERS = "A hospital whose secret is stolen", "Other studies and other years"


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (None, {"Single patients"}),
        ({"minimum_sites": 4}, {"Single patients", "The sum of the honest hospitals"}),
        ({"people": guarantee()}, {SECRET, STAYS, TIMES, OTHERS}),
        ({"people": guarantee("sample")}, {"Patients as a whole", SECRET, STAYS, TIMES, OTHERS}),
        (
            {"people": guarantee(), "minimum_sites": 4},
            {"The sum of the honest hospitals", SECRET, STAYS, TIMES, OTHERS},
        ),
        ({"sites": guarantee("site")}, {"Anything from the server itself"}),
        (
            {"sites": guarantee("site"), "outside": ["local-a"]},
            {"Anything from the server itself", "Models beside the study's own"},
        ),
        ({"sites": guarantee("site"), "people": guarantee()}, {SECRET, STAYS, TIMES, OTHERS}),
    ],
)
def test_what_is_not_protected_is_listed(said: dict[str, Any] | None, more: set[str]) -> None:
    privacy = None if said is None else figures(**said).model_dump(mode="json")
    found = promises.gaps(run_results(**({} if privacy is None else {"privacy": privacy})))
    assert [gap.what for gap in found][-1] == (OTHERS if OTHERS in more else "What is true of people in general")
    assert {gap.what for gap in found} == ALWAYS | more


def test_models_that_no_guarantee_covers_are_named() -> None:
    privacy = figures(sites=guarantee("site"), outside=["local-a", "atlas"]).model_dump(mode="json")
    found = {gap.what: gap.why for gap in promises.gaps(run_results(privacy=privacy))}
    assert found["Models beside the study's own"] == "no guarantee covers local-a and atlas."


@pytest.mark.parametrize(("value", "shown"), [(0.123, "0.12"), (1.26, "1.3"), (601.2, "600"), (123456.0, "120,000")])
def test_a_figure_of_two_digits_is_written_out(value: float, shown: str) -> None:
    assert promises.rounded(value) == shown


@pytest.mark.parametrize(
    ("protection", "words"),
    [
        (Protection(delta=1e-5, unit="patient", secure_aggregation=False), "no differential privacy"),
        (
            Protection(epsilon=3.99812, delta=1e-5, unit="patient", secure_aggregation=True),
            "epsilon of at most 4 per patient, secure aggregation",
        ),
        (
            Protection(delta=1e-5, unit="patient", secure_aggregation=False, central_epsilon=8.0),
            "no differential privacy, epsilon of at most 8 per site",
        ),
    ],
)
def test_a_protection_is_said_in_words(protection: Protection, words: str) -> None:
    assert promises.protected(protection) == words
