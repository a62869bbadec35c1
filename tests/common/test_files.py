import errno
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from normfed_common.foundation import arrays
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import atomic, is_full, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def break_off() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [np.float32(1.5), np.inf]})
    assert (tmp_path / "a.json").read_text().split() == ["{", '"x":', "null,", '"y":', "[", "1.5,", "null", "]", "}"]


def test_arrays_come_back_bit_for_bit_with_their_shapes(tmp_path: Path) -> None:
    saved = {"a": np.arange(6.0).reshape(2, 3), "scalar": np.array(2.5), "turned": np.ones((3, 4), np.float32).T}
    arrays.save(tmp_path / "m.safetensors", saved)
    found = arrays.load(tmp_path / "m.safetensors")
    assert {n: (a.shape, a.dtype) for n, a in found.items()} == {n: (a.shape, a.dtype) for n, a in saved.items()}
    assert all((found[n] == saved[n]).all() for n in saved)


@pytest.mark.parametrize("damage", ["truncated", "absent", "text"])
def test_a_damaged_model_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.safetensors"
    arrays.save(path, {"a": np.zeros(1000)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "absent":
        path.unlink()
    else:
        path.write_text("not a model")
    with pytest.raises(RunError, match="not readable as a model"):
        arrays.load(path)


def test_a_full_disk_is_known_as_such_whoever_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), OSError("8 requested and 0 written")):
        assert is_full(error)
    assert not is_full(OSError(errno.EACCES, "x"))

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(arrays, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        arrays.save(tmp_path / "a.safetensors", {"w": np.zeros(4)})
    assert is_full(caught.value)
    assert caught.value.filename == str(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
