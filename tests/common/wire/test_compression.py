"""Compression at its limits: extreme values, arrays without dimensions or values, and what a site may not send."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.study.federation import Compression
from normfed_common.wire.compression import (
    LARGEST_FP16,
    SCALE,
    TYPES,
    compress_model,
    compress_update,
    expand_model,
    expand_update,
)

LOSSY: tuple[Compression, ...] = ("fp16", "bf16", "int8")


KINDS: tuple[Compression, ...] = ("none", *LOSSY)


ANY_SHAPE = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.floats(-8, 8, width=32)
)


FLOATS = hnp.arrays(np.float32, 40, elements=st.floats(-100, 100, width=32))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.dictionaries(st.sampled_from(["a", "b/c", "d"]), ANY_SHAPE, max_size=3), st.sampled_from(KINDS))
def test_every_shape_comes_back_as_float32(arrays: Arrays, kind: Compression) -> None:
    model = expand_model(compress_model(arrays, kind), kind)
    base = {name: np.zeros_like(array) for name, array in arrays.items()}
    sent = compress_update(arrays, base, kind, rng())
    update = expand_update(sent, base, kind)
    for name, array in arrays.items():
        assert sent[name].dtype == TYPES[kind]
        for found in (model[name], update[name]):
            assert (found.shape, found.dtype) == (array.shape, np.float32)
    assert model.keys() == update.keys() == arrays.keys()


@given(hnp.arrays(np.float32, 20, elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_bf16_is_torchs_over_the_whole_range_and_at_ties(values: np.ndarray) -> None:
    halfway = (values.view(np.uint32) & 0xFFFF0000 | 0x8000).view(np.float32)
    halfway = np.where(np.abs(halfway) < 2.0**127, halfway, 0).astype(np.float32)
    for array in (values, halfway):
        found = expand_model(compress_model({"w": array}, "bf16"), "bf16")["w"]
        np.testing.assert_array_equal(found, torch.from_numpy(array).bfloat16().float().numpy())


def test_what_fp16_cannot_hold_becomes_its_largest_value() -> None:
    found = expand_model(compress_model({"w": np.array([1e6, -1e30, 65504], np.float32)}, "fp16"), "fp16")["w"]
    assert found.tolist() == [LARGEST_FP16, -LARGEST_FP16, 65504]


@given(hnp.arrays(np.float32, 12, elements=st.floats(-1e3, 1e3, width=32)), st.integers(0, 9))
def test_int8_is_one_of_the_two_steps_beside_the_value(difference: np.ndarray, seed: int) -> None:
    base = {"w": np.zeros(12, np.float32)}
    sent = compress_update({"w": difference}, base, "int8", np.random.default_rng(seed))
    scale = float(sent[SCALE + "w"])
    assert scale == pytest.approx(np.abs(difference).max() / 127, rel=1e-6, abs=1e-40)
    exact = difference.astype(float) / scale if scale else np.zeros(12)
    assert (np.abs(sent["w"] - exact) <= 1 + 1e-4).all()
    assert np.abs(sent["w"].astype(int)).max() <= 127


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_did_not_move_sends_no_difference(kind: Compression) -> None:
    base = {"w": np.array([0.1, -7.3, 1e-8], np.float32)}
    found = expand_update(compress_update(base, base, kind, rng()), base, kind)
    np.testing.assert_array_equal(found["w"], base["w"])


@pytest.mark.parametrize("kind", LOSSY)
def test_an_update_is_added_to_the_servers_own_model(kind: Compression) -> None:
    """The site began from a rounded copy; the server's digits stay."""
    exact = {"w": np.array([1.0001, 2.0002], np.float32)}
    received = expand_model(compress_model(exact, kind), kind)
    trained = {"w": received["w"] + np.float32(0.5)}
    found = expand_update(compress_update(trained, received, kind, rng()), exact, kind)
    np.testing.assert_allclose(found["w"], exact["w"] + 0.5, atol=1e-6)


def test_models_go_out_as_fp16_where_updates_come_back_as_int8() -> None:
    assert compress_model({"w": np.ones(2, np.float32)}, "int8")["w"].dtype == np.float16


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_type_is_refused(kind: Compression) -> None:
    with pytest.raises(WireError, match=r"array 'w' is int64; compression \w+ sends \w+"):
        expand_model({"w": np.zeros(2, np.int64)}, kind)


MODEL = {"w": np.zeros(2, np.float32)}


STEPS = np.ones(2, np.int8)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"v": STEPS, SCALE + "v": np.float32(1)}, "'v' is not the model's"),
        ({"w": STEPS, SCALE + "w": np.ones(1, np.float32)}, "without its scale"),
        ({"w": STEPS, SCALE + "w": np.float64(1)}, "without its scale"),
        ({"w": STEPS, SCALE + "v": np.float32(1)}, "without its scale"),
        ({"w": STEPS.astype(np.float32), SCALE + "w": np.float32(1)}, "compression int8 sends int8"),
    ],
)
def test_int8_without_its_scale_or_place_is_refused(arrays: Arrays, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        expand_update(arrays, MODEL, "int8")


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0])
def test_a_bf16_difference_that_is_not_finite_is_refused(bits: int) -> None:
    with pytest.raises(WireError, match="'w' is not finite"):
        expand_update({"w": np.array([0, bits], np.uint16)}, MODEL, "bf16")


@given(FLOATS)
def test_bf16_is_torchs(values: np.ndarray) -> None:
    found = expand_model(compress_model({"w": values}, "bf16"), "bf16")["w"]
    np.testing.assert_array_equal(found, torch.from_numpy(values).bfloat16().float().numpy())


@given(FLOATS)
def test_fp16_is_numpys(values: np.ndarray) -> None:
    found = expand_model(compress_model({"w": values}, "fp16"), "fp16")["w"]
    np.testing.assert_array_equal(found, values.astype(np.float16).astype(np.float32))


@given(FLOATS, FLOATS, st.sampled_from(["none", "fp16", "bf16", "int8"]))
def test_an_update_comes_back_within_its_precision(base: np.ndarray, moved: np.ndarray, kind: Compression) -> None:
    base, trained = {"w": base}, {"w": base + moved}
    rng = np.random.default_rng(0)
    found = expand_update(compress_update(trained, base, kind, rng), base, kind)["w"]
    difference = np.abs(trained["w"] - base["w"])
    allowed = {"none": 0.0, "fp16": 1e-3, "bf16": 8e-3, "int8": 1 / 127}[kind] * max(float(difference.max()), 1e-3)
    assert np.abs(found - trained["w"]).max() <= allowed * 1.01 + 2e-5


def test_int8_is_right_on_average() -> None:
    rng = np.random.default_rng(0)
    base, trained = {"w": np.zeros(1000, np.float32)}, {"w": rng.standard_normal(1000).astype(np.float32)}
    mean = np.mean(
        [expand_update(compress_update(trained, base, "int8", rng), base, "int8")["w"] for _ in range(400)], 0
    )
    scale = np.abs(trained["w"]).max() / 127
    assert np.abs(mean - trained["w"]).max() < 0.2 * scale  # one rounding has an error up to a whole scale


@pytest.mark.parametrize(("kind", "share"), [("none", 1.0), ("fp16", 0.5), ("bf16", 0.5), ("int8", 0.25)])
def test_messages_shrink(kind: Compression, share: float) -> None:
    arrays = {"w": np.random.default_rng(0).standard_normal(10_000).astype(np.float32)}
    sent = compress_update(arrays, {"w": np.zeros(10_000, np.float32)}, kind, np.random.default_rng(0))
    assert sum(a.nbytes for a in sent.values()) == pytest.approx(share * 40_000, rel=0.01)


def test_what_is_not_what_the_study_declares_is_refused() -> None:
    base = {"w": np.zeros(4, np.float32)}
    with pytest.raises(WireError, match="compression fp16 sends float16"):
        expand_update({"w": np.zeros(4, np.float32)}, base, "fp16")
    with pytest.raises(WireError, match="without its scale"):
        expand_update({"w": np.zeros(4, np.int8)}, base, "int8")
    with pytest.raises(WireError, match="not the model's"):
        expand_update({"w": np.zeros(5, np.int8), SCALE + "w": np.float32(1)[()]}, base, "int8")
    with pytest.raises(WireError, match="not finite"):
        expand_model({"w": np.array([0x7F80], np.uint16)}, "bf16")  # infinity
