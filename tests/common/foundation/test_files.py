"""Files that are whole or absent, and paths that never lead out of their folder."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from normfed_common.foundation import arrays, files
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.foundation.files import atomic, is_full, write_json, write_text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a.txt", "x")
        assert os.umask(umask) == umask  # which is as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(("name", "ending"), [("a.nii.gz", ".nii.gz"), ("a.safetensors", ".safetensors"), ("a", "")])
def test_the_file_aside_is_beside_hidden_and_ends_as_the_whole_one(tmp_path: Path, name: str, ending: str) -> None:
    with files.atomic(tmp_path / "new" / name) as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(ending)
        temporary.write_text("x")
        assert not (tmp_path / "new" / name).exists()
    assert (tmp_path / "new" / name).read_text() == "x"
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_a_name_as_long_as_a_disk_takes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("y" * 251 + ".bib")
    write_text(path, "@misc")
    assert path.read_text() == "@misc"


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "\u00e4")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa4"


def test_a_name_that_is_no_utf8_is_written_as_its_escape(tmp_path: Path) -> None:
    """Once `normfed report` of a run in such a folder ended with a traceback."""
    odd = Path(os.fsdecode(b"r\xff"))
    assert [files.is_utf8(tmp_path / path) for path in (odd, Path("\u00e4"))] == [False, True]
    files.write_text(tmp_path / "a", f"{odd}")
    assert (tmp_path / "a").read_bytes() == b"r\\udcff"


@given(JSON)
def test_without_nan_leaves_what_json_can_say(value: object) -> None:
    assert files.without_nan(value) == value
    assert json.loads(json.dumps(files.without_nan(value), allow_nan=False)) == value


def test_without_nan_goes_to_the_bottom_and_takes_numpys_scalars() -> None:
    given_value = {1: (np.float32("nan"), [np.int64(3), {"x": -np.inf}]), "b": np.bool_(True), "c": np.array(2.5)}
    found = files.without_nan(given_value)
    assert found == {"1": [None, [3, {"x": None}]], "b": True, "c": 2.5}
    assert type(found["b"]) is bool


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=20)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), max_size=3))
def test_plain_names_lead_below_their_folder(names: list[str]) -> None:
    root = Path("/nowhere/at/all")
    path = files.inside(root, *names)
    assert path.parts == (*root.parts, *names)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\\b", "a\0b", "a" * 256])
def test_a_name_that_is_not_one_of_a_single_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WireError, match="cannot name a file or folder"):
        files.inside(tmp_path, "arms", name)


def test_a_name_as_long_as_names_may_be_is_taken(tmp_path: Path) -> None:
    assert files.inside(tmp_path, "a" * 255).name == "a" * 255


@pytest.mark.parametrize("names", [["link"], ["link", "file"], ["folder", "link"]])
@pytest.mark.parametrize("target", ["..", "other", "/"])
def test_a_link_does_not_lead_elsewhere_not_even_inside(tmp_path: Path, names: list[str], target: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    for folder in (root, root / "folder"):
        (folder / "link").symlink_to(target)
    with pytest.raises(WireError, match=r"by a link\. Remove the link"):
        files.inside(root, *names)


def test_a_root_that_is_a_link_itself_is_the_users_own_choice(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    assert files.inside(tmp_path / "root", "a") == tmp_path / "root" / "a"


def test_what_somebody_else_set_apart_meanwhile_is_no_error(tmp_path: Path) -> None:
    assert not files.set_apart(tmp_path / "gone").exists()


def test_a_folder_is_set_apart_whole(tmp_path: Path) -> None:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "a").write_text("x")
    kept = files.set_apart(tmp_path / "entry")
    assert (kept / "a").read_text() == "x"
    assert not (tmp_path / "entry").exists()


def test_an_error_with_a_number_of_its_own_is_not_taken_for_a_full_disk() -> None:
    assert not files.is_full(OSError(5, "10 requested and 0 written"))
    assert not files.is_full(OSError("something else"))


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
