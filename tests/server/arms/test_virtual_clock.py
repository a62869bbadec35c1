"""Hospital time: when answers arrive, and what other rules of waiting would have made of the same arrivals."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_server.arms import virtual_clock
from normfed_server.arms.virtual_clock import RULES, Pace, SitePace, hospital_time
from normfed_server.sites.description import SiteDescription

PEOPLE = {"a": 10, "b": 5, "c": 2}


def pace(spread_s: float = 0.0, drop: float = 0.0, back_s: float = 360.0, seed: int = 0) -> Pace:
    sites = {
        "a": SitePace(train_s=2.0, validate_s=3.0, download_s=10.0, upload_s=40.0),
        "b": SitePace(train_s=8.0, validate_s=1.0, download_s=100.0, upload_s=300.0),
    }
    return Pace(seed=seed, sites=sites, spread_s=spread_s, drop=drop, back_s=back_s)


def test_without_chance_an_answer_takes_its_transfers_and_its_epochs() -> None:
    """a: 10 + 40 + 2 * 10 * 3; b: 100 + 300 + 8 * 5 * 3; c has no pace."""
    assert pace().arrivals(1, PEOPLE, 3) == {"a": 110.0, "b": 520.0, "c": 0.0}


@given(st.integers(1, 50), st.integers(0, 5))
def test_what_a_site_s_time_varies_by_is_drawn_from_the_seed_the_site_and_the_round(round: int, seed: int) -> None:
    drawn = pace(spread_s=90.0, seed=seed)
    found = drawn.arrivals(round, PEOPLE, 1)
    assert found == drawn.arrivals(round, dict(reversed(PEOPLE.items())), 1)
    assert found["b"] == drawn.arrivals(round, {"b": 5}, 1)["b"]  # whoever else is asked
    assert found["b"] != drawn.arrivals(round + 1, PEOPLE, 1)["b"]
    assert found["b"] != pace(spread_s=90.0, seed=seed + 1).arrivals(round, PEOPLE, 1)["b"]
    assert 440.0 <= found["b"] < 620.0  # two transfers, each up to 90 s longer
    assert 70.0 <= found["a"] < 250.0


def test_broken_transfers_cost_half_of_themselves_and_the_time_until_the_link_is_back() -> None:
    """The number of breaks before a transfer that holds is geometric, of mean p / (1 - p)."""
    p = 0.25
    broken = pace(drop=p, back_s=100.0)
    extra = [broken.arrivals(round, {"b": 5}, 1)["b"] - 440.0 for round in range(2000)]
    once_down, once_up = 100.0 / 2 + 100.0, 300.0 / 2 + 100.0
    expected = (once_down + once_up) * p / (1 - p)
    sd = math.hypot(once_down, once_up) * math.sqrt(p) / (1 - p)
    assert np.mean(extra) == pytest.approx(expected, abs=4 * sd / math.sqrt(2000))
    combinations = {i * once_down + j * once_up for i in range(20) for j in range(20)}
    assert all(any(math.isclose(value, sum, abs_tol=1e-6) for sum in combinations) for value in extra)


ARRIVALS = (
    {"a": 100.0, "b": 2000.0, "c": 10.0},
    {"a": 400.0, "b": 50.0, "c": 1000.0},
    {"a": 20.0, "b": 30.0},  # c was not drawn
)
SITES = {
    site: SiteDescription(count, 0, tests, ()) for (site, count), tests in zip(PEOPLE.items(), (4, -1, 9), strict=True)
}


def told(study: StudyConfig) -> dict[str, Any]:
    rounds = [{"arrivals": times, "end": max(times.values())} for times in ARRIVALS]
    history: list[dict[str, Any]] = [{"hospital_time": entry} for entry in rounds]
    found = hospital_time(study, SITES, [*history, {"round": 4}], pace())
    assert found is not None
    return found


def slow_rule(share: float, patience_s: float) -> tuple[float, dict[str, int]]:
    """Seconds in all, and people that came too late, by site: second by second."""
    total, lost = 0.0, dict[str, int]()
    for times in ARRIVALS:
        moment = 0.0
        while True:
            there = [site for site, time in times.items() if time <= moment]
            if len(there) == len(times) or (moment >= patience_s and len(there) >= share * len(times)):
                break
            moment += 1.0
        total += moment
        for site in times.keys() - set(there):
            lost[site] = lost.get(site, 0) + PEOPLE[site]
    return total, lost


@pytest.mark.parametrize("number", range(len(RULES)))
def test_every_other_rule_of_waiting_is_told_as_if_it_had_been_the_study_s(study: StudyConfig, number: int) -> None:
    share, patience_s = RULES[number]
    row = told(study)["rules"][number]
    seconds, lost = slow_rule(share, patience_s)
    asked = sum(PEOPLE[site] for times in ARRIVALS for site in times)
    assert (row["quorum"], row["patience_s"]) == (share, patience_s)
    assert row["hours"] == pytest.approx(seconds / 3600)
    assert row["lost"] == pytest.approx(sum(lost.values()) / asked)
    assert row["lost_by_site"] == pytest.approx({site: count / asked for site, count in lost.items()})
    assert list(row["lost_by_site"].values()) == sorted(row["lost_by_site"].values(), reverse=True)


def test_the_study_s_own_time_and_who_held_it_up(study: StudyConfig) -> None:
    found = told(study)
    assert found["rounds_h"] == pytest.approx((2000 + 1000 + 30) / 3600)
    assert found["last"] == {"b": 2, "c": 1}
    assert list(found["last"]) == ["b", "c"]
    assert found["median_s"] == {"a": statistics.median([100, 400, 20]), "b": statistics.median([2000, 50, 30])}
    assert found["patience_s"] == study.federation.patience_s


def test_evaluation_takes_as_long_as_the_slowest_site_and_too_few_to_say_count_as_nobody(study: StudyConfig) -> None:
    """a: 10 + 3 * 4 + 40; b: 100 + 0 + 300; c has no pace."""
    assert told(study)["evaluation_h"] == pytest.approx(400 / 3600)


def test_a_site_that_has_a_pace_and_never_came_has_no_median(study: StudyConfig) -> None:
    history = [{"hospital_time": {"arrivals": {"a": 5.0}, "end": 5.0}}]
    found = hospital_time(study, {"a": SITES["a"]}, history, pace())
    assert found is not None
    assert found["median_s"] == {"a": 5.0, "b": None}
    assert found["evaluation_h"] == pytest.approx(62 / 3600)  # b is no site of the run


def test_without_paces_or_rounds_there_is_no_hospital_time(study: StudyConfig) -> None:
    history = [{"hospital_time": {"arrivals": {"a": 5.0}, "end": 5.0}}]
    assert hospital_time(study, SITES, history, None) is None
    assert hospital_time(study, SITES, [{"round": 1}], pace()) is None


def test_paces_come_back_as_they_were_and_damaged_ones_are_one_sentence(tmp_path: Path) -> None:
    assert virtual_clock.load(tmp_path) is None
    virtual_clock.save(tmp_path, pace(spread_s=0.1, drop=1 / 3))
    assert virtual_clock.load(tmp_path) == pace(spread_s=0.1, drop=1 / 3)
    (tmp_path / "hospital-times.json").write_text('{"seed": 0, "sites": {"a": {"train_s": -2}}}')
    with pytest.raises(RunError, match=r"times\.json: not hospital times \(.*train_s.*greater than 0") as caught:
        virtual_clock.load(tmp_path)
    assert "\n" not in str(caught.value)
