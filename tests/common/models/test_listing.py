"""`normfed models` lists every model with its parameters, how it learns and its source."""

from __future__ import annotations

import pytest
from commands import normfed
from contracts.entries import EVERY_MODEL, Entry, model_of

from normfed_common.citations.bibliography import references
from normfed_common.foundation.errors import StudyError
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.composite import Composite
from normfed_common.models.listing import TITLES, learnt_by
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.wording.parameters import summary

OURS = [each for each in EVERY_MODEL if each.name in MODELS]
ALONE = [each for each in OURS if not issubclass(MODELS[each.name], Composite)]


@pytest.mark.parametrize("entry", ALONE, ids=str)
def test_how_a_model_is_said_to_learn_is_what_its_phases_are(entry: Entry) -> None:
    kinds = {phase.kind for phase in model_of(entry).phases()}
    expected = "rounds" if "averaged" in kinds else "sums" if kinds else "nothing of its own"
    assert learnt_by(MODELS[entry.name]) == expected


def test_every_model_stands_in_the_list_with_what_it_does_and_its_source() -> None:
    listed = " ".join(normfed("models").output.split())
    for name in MODELS:
        assert name in listed
        assert summary(MODELS[name]) in listed
        assert references(MODELS[name].cited) in listed
    assert all(title in listed for title in TITLES.values())


def test_every_model_of_ours_says_where_it_comes_from_in_its_own_words() -> None:
    ours = [MODELS[name] for name in MODELS if MODELS.origin(name) is None]
    assert all(references(model.cited) for model in ours)
    assert len({summary(model) for model in ours}) == len(ours)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_shows_every_parameter(name: str) -> None:
    shown = normfed("models", name).output
    for key in MODELS[name].Config.model_fields:
        assert f"\n  {key}" in shown
    for head in SCORERS:
        assert (f"fit_on: {head}" in shown) == ("one_class" in MODELS[name].Config.model_fields)


def test_a_model_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(StudyError, match=r"No model is called 'nope'.*atlas"):
        normfed("models", "nope")


def test_the_words_are_the_class_own_or_those_of_its_module() -> None:
    class Own(NormativeModel):
        """Words of
        its own.

        And more.
        """

    class Elsewhere(NormativeModel):
        """See the module. But this."""

    assert summary(Own) == "Words of its own."
    assert summary(Elsewhere) == (__doc__ or "").strip()
