"""Digests are SHA-256 of what they are said to be of, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation import digests

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def reversed_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_a_values_digest_does_not_depend_on_the_order_of_its_keys(value: object) -> None:
    assert digests.of_json(reversed_keys(value)) == digests.of_json(value)
    assert digests.of_json(json.loads(json.dumps(value))) == digests.of_json(value)


@given(JSON, JSON)
def test_values_that_differ_have_digests_that_differ(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digests.of_json(one) == digests.of_json(other)) is same


def test_a_values_digest_is_sha256_of_its_shortest_json() -> None:
    """Every request carries one: another version of Python must say the same."""
    expected = hashlib.sha256(rb'{"a":[1,2.5],"b":{"c":null,"d":"\u00e4"}}').hexdigest()[:32]
    assert digests.of_json({"b": {"d": "\u00e4", "c": None}, "a": [1, 2.5]}) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digests.of_json({"x": value})


def test_a_files_digest_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    for content in (b"", b"a", b"a" * 100_000):
        path.write_bytes(content)
        assert digests.of_file(path) == hashlib.sha256(content).hexdigest()[:32]


def test_a_file_of_the_same_size_is_read_again_once_its_time_differs(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    first = digests.of_file(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert digests.of_file(path) == first  # not read again: size and time stayed
    os.utime(path, ns=(1, 2))
    assert digests.of_file(path) == hashlib.sha256(b"two").hexdigest()[:32]
