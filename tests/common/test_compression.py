import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.errors import WireError
from normfed_common.study.federation import Compression
from normfed_common.wire.compression import SCALE, compress_model, compress_update, expand_model, expand_update

FLOATS = hnp.arrays(np.float32, 40, elements=st.floats(-100, 100, width=32))


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
