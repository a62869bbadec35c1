"""The words that reports, pages and commands explain."""

from __future__ import annotations

from normfed_client.imaging.placement import GIVEN, TEMPLATE
from normfed_common import glossary


def test_no_word_is_explained_twice_and_no_place_has_two() -> None:
    terms = (*glossary.TERMS, *glossary.MORE)
    assert len({term.name for term in terms}) == len(terms)
    assert [term.name for term in terms if glossary.term(term.words) is not term] == []
    assert [term.name for term in terms for other in terms if other is not term and other.means(term.words)] == []


def test_every_place_that_a_brain_mask_may_be_from_is_explained() -> None:
    assert {GIVEN, TEMPLATE, "background"} == set(glossary.BRAINS)


def test_what_nothing_explains_is_none() -> None:
    assert glossary.term("gradient checkpointing") is None
    assert glossary.term("") is None
