"""`normfed transforms` lists every transform with its parameters, how it learns and its source."""

from __future__ import annotations

import pytest
from commands import normfed
from contracts.entries import EVERY_TRANSFORM, Entry, every
from synthetic import setting

from normfed_common.citations.bibliography import references
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import build
from normfed_common.learning.listing import learnt_by
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.listing import TITLES
from normfed_common.wording.parameters import summary


@every([entry for entry in EVERY_TRANSFORM if entry.name in TRANSFORMS])
def test_how_a_transform_is_said_to_learn_is_what_its_phases_are(entry: Entry) -> None:
    transform = build(TRANSFORMS, validate_learner(TRANSFORMS, entry.raw, "test"), setting())
    kinds = {phase.kind for phase in transform.phases()}
    expected = "rounds" if "averaged" in kinds else "sums" if kinds else "nothing of its own"
    assert learnt_by(TRANSFORMS[entry.name]) == expected


def test_every_transform_stands_in_the_list_with_what_it_does_and_its_source() -> None:
    listed = " ".join(normfed("transforms").output.split())
    for name in TRANSFORMS:
        assert name in listed
        assert summary(TRANSFORMS[name]) in listed
        assert "".join(references(TRANSFORMS[name].cited).split()) in "".join(listed.split())  # a DOI may be two lines
        assert TITLES[learnt_by(TRANSFORMS[name])] in listed
    assert "transforms: [nyul]" in listed


def test_every_transform_of_ours_says_where_it_comes_from_in_its_own_words() -> None:
    ours = [TRANSFORMS[name] for name in TRANSFORMS if TRANSFORMS.origin(name) is None]
    assert all(references(transform.cited) for transform in ours)
    assert len({summary(transform) for transform in ours}) == len(ours)


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_a_transform_shows_every_parameter(name: str) -> None:
    shown = normfed("transforms", name).output
    assert all(f"\n  {key}" in shown for key in TRANSFORMS[name].Config.model_fields)
    assert f"transforms: [{name}]" in shown or f"transforms: [{{name: {name}, source: ..., target: ...}}]" in shown


def test_a_transform_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(StudyError, match=r"No transform is called 'nope'.*nyul"):
        normfed("transforms", "nope")
