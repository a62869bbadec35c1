"""Named arrays: sums in the order given, models under one roof, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save_file

from normfed_common.foundation import arrays, digests
from normfed_common.foundation.errors import DamagedError, RunError, WireError

NAMES = st.from_regex(r"[a-z]{1,3}(/[a-z.]{1,3})?", fullmatch=True)
VALUES = hnp.arrays(float, st.sampled_from([(), (2,), (2, 3)]), elements=st.integers(-9, 9))
MODEL = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)


@given(MODEL, st.lists(st.integers(-5, 5), min_size=1, max_size=5))
def test_sites_sums_add_up_by_name(model: arrays.Arrays, factors: list[int]) -> None:
    parts = [{name: factor * value for name, value in model.items()} for factor in factors]
    kept = [{name: value.copy() for name, value in part.items()} for part in parts]
    total = arrays.add(parts)
    assert total.keys() == model.keys()
    for name, value in model.items():
        np.testing.assert_array_equal(total[name], sum(factors) * value)
    for part, before in zip(parts, kept, strict=True):  # what was added is as it was
        assert all(np.array_equal(part[name], before[name]) for name in before)


SUMS = {"a": np.ones(2), "b": np.ones(3)}


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"a": np.ones(2)},
        SUMS | {"c": np.ones(1)},
        {"a": np.ones(2), "c": np.ones(3)},
        SUMS | {"b": np.ones((3, 1))},
    ],
    ids=["none", "one less", "one more", "another name", "another shape"],
)
def test_sums_that_are_laid_out_otherwise_are_refused_in_either_order(other: arrays.Arrays) -> None:
    for parts in ([SUMS, other], [other, SUMS], [SUMS, SUMS, other]):
        with pytest.raises(WireError, match="different names or shapes"):
            arrays.add(parts)


def test_nobodys_sums_are_nothing() -> None:
    assert arrays.add([]) == {}


@given(st.lists(MODEL, max_size=12))
def test_models_under_one_roof_come_back_in_their_order(models: list[arrays.Arrays]) -> None:
    """Also where 10 sorts before 2 as text."""
    back = arrays.unstacked(dict(reversed(arrays.stacked(models).items())))
    assert [found.keys() for found in back] == [model.keys() for model in models]
    for found, model in zip(back, models, strict=True):
        assert all(found[name] is model[name] for name in model)


@pytest.mark.parametrize("name", ["w", "0", "x/w", "-1/w", "1.0/w", "/w", "/0/w"])
def test_an_array_without_its_models_number_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="does not say which model"):
        arrays.unstacked({"0/w": np.zeros(1), name: np.zeros(1)})


@pytest.mark.parametrize("names", [["1/w"], ["0/w", "2/w"]])
def test_models_with_a_gap_are_refused(names: list[str]) -> None:
    with pytest.raises(WireError, match=r"models \[.*\] are not numbered from 0"):
        arrays.unstacked({name: np.zeros(1) for name in names})


@given(MODEL, st.data())
def test_the_norm_is_that_of_all_values_in_one_row(model: arrays.Arrays, data: st.DataObject) -> None:
    row = np.concatenate([value.ravel() for value in model.values()])
    assert arrays.norm(model) == pytest.approx(np.linalg.norm(row))
    other = {
        name: data.draw(hnp.arrays(float, value.shape, elements=st.integers(-9, 9))) for name, value in model.items()
    }
    difference = row - np.concatenate([other[name].ravel() for name in model])
    assert arrays.norm(model, other | {"more": np.ones(5)}) == pytest.approx(np.linalg.norm(difference))


def test_a_norm_is_taken_in_double_precision() -> None:
    assert arrays.norm({"w": np.array([3e30, 4e30], np.float32)}) == pytest.approx(5e30)


def test_shapes_are_checked_of_what_is_asked_for_alone() -> None:
    found = {"a": np.zeros((2, 3)), "more": np.zeros(9)}
    arrays.check_shapes(found, {"a": (2, 3)})
    with pytest.raises(WireError, match=r"^there is no b$"):
        arrays.check_shapes(found, {"a": (2, 3), "b": ()})
    with pytest.raises(WireError, match=r"^a is of shape \(2, 3\), not \(3, 2\)$"):
        arrays.check_shapes(found, {"a": (3, 2)})


def test_the_header_is_whatever_json_can_say_and_empty_by_default(tmp_path: Path) -> None:
    said = {"round": 3, "sites": ["a"], "loss": None, "name": "\u00e4\n"}
    arrays.save(tmp_path / "a.safetensors", {"w": np.zeros(1)}, said)
    assert arrays.header(tmp_path / "a.safetensors") == said
    arrays.save(tmp_path / "b.safetensors", {})
    assert arrays.read(tmp_path / "b.safetensors") == ({}, {})


WRITING = """
import sys
from pathlib import Path
import numpy as np
from normfed_common.foundation import arrays
held = {"b": np.arange(3.0), "a": np.ones((2, 2), np.float32), "c": np.zeros(0, np.int64)}
for number in range(8):
    arrays.save(Path(sys.argv[1], f"{number}.safetensors"), held, {"round": 3})
"""


def test_the_same_content_is_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        subprocess.run([sys.executable, "-c", WRITING, tmp_path / seed], env={"PYTHONHASHSEED": seed}, check=True)
    written = {path.read_bytes() for path in tmp_path.glob("*/*.safetensors")}
    assert len(written) == 1
    back = load(written.pop())
    assert {name: array.tolist() for name, array in back.items()} == {"a": [[1, 1], [1, 1]], "b": [0, 1, 2], "c": []}


@given(st.text(), st.lists(st.text(min_size=1), unique=True, max_size=3))
def test_any_text_is_read_back_from_the_header(said: str, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.safetensors")
        arrays.save(path, {name: np.full(2, float(index)) for index, name in enumerate(names)}, {"said": said})
        back, header = arrays.read(path)
    assert header == {"said": said}
    assert {name: array.tolist() for name, array in back.items()} == {n: [i, i] for i, n in enumerate(names)}


@pytest.mark.parametrize("text", ["not json", "3", "null", "[1]", "[" * 100_000])
def test_a_header_that_is_no_object_is_damage_even_with_a_digest_that_fits(tmp_path: Path, text: str) -> None:
    path, held = tmp_path / "m.safetensors", {"w": np.zeros(1)}
    save_file(held, path, {arrays.HEADER: text, arrays.DIGEST: digests.of_arrays(text, held)})
    with pytest.raises(DamagedError, match="its header is not JSON"):
        arrays.read(path)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_a_type_that_numpy_lacks_is_one_sentence(tmp_path: Path, kind: str) -> None:
    size = {"BF16": 2, "F8_E4M3": 1}[kind]
    header = json.dumps({"w": {"dtype": kind, "shape": [1], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(DamagedError, match="not readable as a model"):
        arrays.read(path, foreign=True)


def test_a_folder_in_the_place_of_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not readable as a model"):
        arrays.load(tmp_path)


def test_damage_says_how_it_shows_apart_from_the_sentence(tmp_path: Path) -> None:
    save_file({"w": np.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(DamagedError) as caught:
        arrays.load(tmp_path / "m.safetensors")
    assert caught.value.why == "it has no digest"
    assert str(caught.value).startswith(f"{tmp_path / 'm.safetensors'}: not readable as a model (it has no digest). ")
