"""Models and what goes beside them, in one flat record and out of it."""

from __future__ import annotations

import string

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import WireError
from normfed_common.wire import messages, offers
from normfed_common.wire.offers import Offer

NAMES = st.text(string.ascii_letters + string.digits + "._/-", min_size=1, max_size=12)
GROUPS = st.dictionaries(NAMES, st.integers(0, 9).map(np.array), min_size=1, max_size=4)


@given(st.lists(GROUPS, min_size=1, max_size=4), st.just({}) | GROUPS)
def test_an_offer_comes_back_as_it_was_whatever_its_arrays_are_called(
    models: list[dict[str, np.ndarray]], beside: dict[str, np.ndarray]
) -> None:
    found = offers.decode(offers.encode(Offer(tuple(models), beside)))
    assert found == Offer(tuple(models), beside)
    assert all(found.models[0][name] is array for name, array in models[0].items())  # nothing is copied


def test_a_model_without_arrays_is_a_model() -> None:
    """An atlas before its first sums."""
    assert offers.encode(Offer(({},))) == {}
    assert offers.decode({}).model == {}


def test_several_models_are_not_one() -> None:
    with pytest.raises(WireError, match="2 models were offered where one is trained"):
        _ = Offer(({"w": np.ones(1)}, {"w": np.ones(1)})).model


def test_what_goes_beside_the_model_is_not_the_models() -> None:
    found = offers.decode({"0/w": np.ones(1), "beside/w": np.zeros(1)})
    assert set(found.model) == set(found.beside) == {"w"}
    assert found.beside["w"] == 0


@pytest.mark.parametrize(
    "name", ["w", "control/w", "1/w", "2/w", "00/w", "-1/w", "0.w", "beside", "beside.w", "\u0660/w", "9" * 200 + "/w"]
)
def test_an_array_that_belongs_to_no_model_is_refused(name: str) -> None:
    with pytest.raises(WireError):
        offers.decode({name: np.zeros(1), "3/w": np.zeros(1)})


@given(st.dictionaries(st.text(max_size=8) | NAMES, st.integers(), max_size=5))
def test_whatever_arrays_are_called_they_are_an_offer_or_refused(arrays: dict[str, int]) -> None:
    try:
        found = offers.decode(arrays)
    except WireError:
        return
    assert offers.encode(found) == arrays


def test_records_of_several_offers_share_flowers_arrays() -> None:
    """So that a round's memory does not grow with the sites."""
    whole = messages.to_record(offers.encode(Offer(({"w": np.ones(3)}, {"w": np.zeros(3)}))))
    models = offers.decode(whole).models
    second: ArrayRecord = ArrayRecord(offers.encode(Offer((models[1],), {"w": Array(np.ones(1))})))
    assert second["0/w"].data is whole["1/w"].data
    assert set(second) == {"0/w", "beside/w"}
