"""A registry knows each name once, and says which ones it knows."""

from __future__ import annotations

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry


@pytest.fixture
def models() -> Registry[int]:
    found: Registry[int] = Registry("model")
    found.add("siamese", 1)
    found.add("atlas", 2)
    return found


def test_what_was_registered_is_found_and_listed_in_order(models: Registry[int]) -> None:
    assert (models["siamese"], models["atlas"]) == (1, 2)
    assert list(models) == ["atlas", "siamese"]


def test_an_unknown_name_is_a_users_error_that_lists_the_known_ones(models: Registry[int]) -> None:
    with pytest.raises(StudyError) as caught:
        models["unet"]
    assert str(caught.value) == "No model is called 'unet'. Known: atlas, siamese."


def test_a_name_is_taken_once_and_stays_its_first_owners(models: Registry[int]) -> None:
    with pytest.raises(ValueError, match="model 'atlas' is registered twice"):
        models.add("atlas", 3)
    assert models["atlas"] == 2
