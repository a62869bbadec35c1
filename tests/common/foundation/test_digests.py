"""Digests are SHA-256 of what they are said to be of, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from normfed_common.foundation import arrays, digests
from normfed_common.foundation.errors import DamagedError, RunError
from normfed_common.foundation.files import set_apart

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


SAVED = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "stage/count": np.array(3, np.int64)}


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


def test_every_single_bit_that_flips_is_noticed(tmp_path: Path) -> None:
    """Names, types, shapes, values, the header, the digest itself: all that a file of ours consists of."""
    path = tmp_path / "m.safetensors"
    arrays.save(path, SAVED, {"round": 3, "missed": {"a": "why"}})
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            with pytest.raises(DamagedError, match="not readable as a model"):
                arrays.read(path)


def test_a_file_cut_short_anywhere_is_damaged_and_one_that_is_absent_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    arrays.save(path, SAVED)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            arrays.load(path)
    path.unlink()
    with pytest.raises(RunError, match="No such file") as caught:
        arrays.load(path)
    assert not isinstance(caught.value, DamagedError)


def test_what_was_saved_comes_back_with_its_header(tmp_path: Path) -> None:
    arrays.save(tmp_path / "m.safetensors", SAVED, {"round": 3})
    found, header = arrays.read(tmp_path / "m.safetensors")
    assert header == {"round": 3}
    assert found.keys() == SAVED.keys()
    assert all(np.array_equal(found[name], SAVED[name]) for name in SAVED)


def test_a_file_of_another_program_is_taken_only_where_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(SAVED, path)
    assert np.array_equal(arrays.load(path, foreign=True)["weight"], SAVED["weight"])
    with pytest.raises(DamagedError, match="no digest"):
        arrays.load(path)
    save_file(SAVED, path, {arrays.DIGEST: "0" * 64})
    with pytest.raises(DamagedError, match="its digest is not that of its content"):
        arrays.load(path, foreign=True)  # one that has a digest must match it


def test_the_digest_is_sha256_of_a_text_and_of_every_array_by_name() -> None:
    said = b"text\nn int8 (2,)\n\x01\x02w float32 (1, 1)\n" + np.float32(1.5).tobytes()
    found = {"w": np.array([[1.5]], np.float32), "n": np.array([1, 2], np.int8)}
    assert digests.of_arrays("text", found) == hashlib.sha256(said).hexdigest()
    turned = np.arange(6).reshape(2, 3).T
    assert digests.of_arrays("", {"a": turned}) == digests.of_arrays("", {"a": turned.copy()})
    assert digests.of_arrays("", {"a": np.zeros((0, 2))}) != digests.of_arrays("", {"a": np.zeros((2, 0))})


def test_what_is_set_apart_keeps_its_content_under_a_name_of_its_own(tmp_path: Path) -> None:
    kept = set()
    for content in ("first", "second"):
        (tmp_path / "m.safetensors").write_text(content)
        kept.add(set_apart(tmp_path / "m.safetensors"))
    assert not (tmp_path / "m.safetensors").exists()
    assert sorted(path.read_text() for path in kept) == ["first", "second"]
    assert all(path.name.startswith("m.safetensors.damaged-") for path in kept)
    assert not list(tmp_path.glob("*.safetensors"))  # nobody takes it for a good one


def test_what_is_no_file_has_no_digest_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a file, but a folder, a pipe or a device"):
            digests.of_file(path)
