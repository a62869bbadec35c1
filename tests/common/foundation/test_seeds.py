"""The same seed and names are the same stream everywhere; other names are another."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation import seeds

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=4), max_size=3)


def test_a_seed_is_the_first_63_bits_of_sha256() -> None:
    """Written out: a study of last year must be repeatable with this year's release."""
    text = "3\x1ftraining\x1fsite-a\x1f7"
    bits = bin(int(hashlib.sha256(text.encode()).hexdigest(), 16))[2:].zfill(256)
    assert seeds.derive(3, "training", "site-a", 7) == int(bits[:63], 2)


@given(st.integers(0, 99), NAMES, st.integers(0, 99), NAMES)
def test_other_seeds_or_names_are_another_seed(one: int, names: list[str], other: int, others: list[str]) -> None:
    same = (one, names) == (other, others)
    assert (seeds.derive(one, *names) == seeds.derive(other, *others)) is same


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("a",), ("a", "")), (("1", "2"), ("12",)), ((), ("",))]
)
def test_names_do_not_run_into_each_other(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert seeds.derive(1, *one) != seeds.derive(1, *other)


def test_the_first_training_has_the_studys_own_seed_and_the_others_have_their_own() -> None:
    found = [seeds.of_repeat(5, repeat) for repeat in range(20)]
    assert found[0] == 5
    assert len(set(found)) == 20
    assert found[1] == seeds.derive(5, "repeat", 1)


def test_generators_begin_with_the_derived_seed_whatever_was_drawn_before() -> None:
    expected = np.random.default_rng(seeds.derive(1, "a")).random(5)
    np.random.default_rng().random()
    seeds.generator(1, "b").random()
    np.testing.assert_array_equal(seeds.generator(1, "a").random(5), expected)
    drawn = torch.rand(5, generator=torch.Generator().manual_seed(seeds.derive(1, "a")))
    torch.rand(1)
    assert torch.equal(torch.rand(5, generator=seeds.torch_generator(1, "a")), drawn)


def test_making_generators_leaves_the_global_ones_alone() -> None:
    before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002  (that it is left alone)
    seeds.generator(1, "a").random()
    torch.rand(1, generator=seeds.torch_generator(1, "a"))
    after = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    np.testing.assert_equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
