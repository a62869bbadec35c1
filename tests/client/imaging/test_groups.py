"""Which groups sound healthy, and what a person reads where the study's word for it is not among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.imaging.groups import how_to_say, none_healthy, sounding_healthy


@pytest.mark.parametrize(
    "group",
    ["HC", "hc", "Healthy", "CN", "Control", "controls", "NC", "healthy_control", "Cognitively normal", "Normal"],
)
def test_what_public_datasets_call_healthy_is_recognised_however_it_is_written(group: str) -> None:
    assert sounding_healthy([group, "MS"]) == [group]
    assert f"--set 'data.control_groups=[{group}]'" in how_to_say([group, "MS"])


@pytest.mark.parametrize("group", ["MS", "patient", "none", "abnormal", "unhealthy", "MCI", "PD", "chronic", ""])
def test_no_illness_sounds_healthy(group: str) -> None:
    assert sounding_healthy([group]) == []
    assert how_to_say([group]) == "Name the healthy group under data.control_groups, or fill in the column group."


def test_the_sentence_names_the_values_found_with_their_people_and_how_to_say_which_is_healthy() -> None:
    assert none_healthy({"MS": 14, "HC": 20}, ("control",)) == (
        "nobody of 34 people is in the group control, so nobody is known to be healthy; their groups: HC (20), "
        "MS (14). HC sounds healthy: write control_groups: [HC] under data of the study, or give --set "
        "'data.control_groups=[HC]'."
    )
    both = none_healthy({"HC": 2, "CN": 1}, ("control", "normal"))
    assert "in the group control or normal" in both
    assert "CN and HC sound healthy: write control_groups: [CN, HC]" in both


@given(st.dictionaries(st.text(max_size=8), st.integers(1, 9)), st.sets(st.text(max_size=8), min_size=1))
def test_nothing_is_said_where_somebody_is_in_a_healthy_group(groups: dict[str, int], healthy: set[str]) -> None:
    assert (none_healthy(groups, healthy) == "") == bool(set(groups) & healthy)
