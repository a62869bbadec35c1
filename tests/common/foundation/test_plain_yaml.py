"""What a YAML file can do to its reader: nothing."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.deployment import enrolment, settings
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.studies import load_study

ROOT = Path(__file__).parents[3]
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
REFUSED = {
    "a bomb of aliases": (BOMB, "anchors and aliases"),
    "an anchor alone": ("a: &x 1", "anchors and aliases"),
    "a ring": ("a: &x [*x]", "anchors and aliases"),
    "a tag": ("a: !!set {b, c}", "tags"),
    "code": ("a: !!python/object/apply:os.system [true]", "tags"),
    "a tag that says nothing": ("a: ! b", "tags"),
    "a merge": ("a: {<<: {b: 1}}", "a key is a word or a number"),
    "a list as key": ("? [a, b]\n: 1", "a key is a word or a number"),
    "a key twice": ("rounds: 3\nname: x\nrounds: 30", "the key 'rounds' appears twice"),
    "a key twice, within": ("a:\n  b: 1\n  'b': 2", "the key 'b' appears twice"),
    "depth in brackets": ("a: " + "[" * 30 + "]" * 30, "deeper than 20"),
    "depth in dashes": ("a:\n " + "- " * 5_000 + "x", "deeper than 20"),
    "values without number": ("a: [" + ",".join("1" * 50_000) + "]", "more than 50,000"),
    "bytes without number": ("a: " + "x" * 200_001, "larger than 200,000 bytes"),
    "a day that is none": ("a: 2026-02-30", "holds an invalid value"),
    "a number that takes an hour": ("a: " + "9" * 100_000, "holds an invalid value"),
    "two documents": ("a: 1\n---\na: 2", "not YAML"),
    "a bracket too few": ("a: [1, 2\nb: }", "not YAML"),
    "no keys": ("- a\n- b", "holds no keys"),
    "nothing": ("", "holds no keys"),
    "bytes that are no text": ("a: \udcff", "not YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_settings_file_has_no_use_for_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, why = REFUSED[name]
    path = tmp_path / "file.yaml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=re.escape(why)) as caught:
        plain_yaml.read(path, "a test", 200_000)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_every_reader_refuses_the_bomb(tmp_path: Path) -> None:
    """Less than 440 bytes that unfold to 400 million values: they are not unfolded even once."""
    path = tmp_path / "st-mary.yaml"
    path.write_text(BOMB)
    assert path.stat().st_size < 440
    with pytest.raises(UserError, match="anchors and aliases"):
        enrolment.load(path)
    with pytest.raises(UserError, match="anchors and aliases"):
        settings.read(path, enrolment.Enrolment)
    with pytest.raises(StudyError, match="anchors and aliases"):
        load_study(path)


def test_yaml_is_read_in_one_place_only() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("common", "client", "server", "simulation", "deploy/normfed_deploy")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) yaml", path.read_text(), re.MULTILINE)
    ]
    assert found == ["common/normfed_common/foundation/plain_yaml.py"]


def test_plain_files_read_as_pyyaml_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("a: 1\nb: [true, ~, 2.5e-3, 2026-02-28, 'x']\nc: {d: {e: f}}\ng: |\n  two\n  lines\n")
    assert plain_yaml.read(path, "a test") == {
        "a": 1,
        "b": [True, None, 0.0025, datetime.date(2026, 2, 28), "x"],
        "c": {"d": {"e": "f"}},
        "g": "two\nlines\n",
    }
    for shipped in (ROOT / "studies").glob("*.yaml"):
        assert plain_yaml.read(shipped, "a study file") == yaml.safe_load(shipped.read_text())


def test_keys_are_text_as_written(tmp_path: Path) -> None:
    """YAML itself would make a truth value, a number in base 8 and a day of them."""
    path = tmp_path / "sites.yaml"
    path.write_text("no: 1\n007: 2\n2026-01-01: 3\n")
    assert plain_yaml.read(path, "a test") == {"no": 1, "007": 2, "2026-01-01": 3}


TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=12)  # PyYAML itself loses a NEL
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    twice = {"first": value, "second": value}  # the same object: PyYAML would write an alias
    path.write_text(plain_yaml.text(twice), encoding="utf-8")
    assert plain_yaml.read(path, "a test") == twice


@given(st.text(st.sampled_from("ab:-?!&*[]{},'\"|>#% \n\t0.~<="), max_size=60))
def test_whatever_stands_in_a_file_it_is_keys_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(content)
    said = ""
    try:
        plain_yaml.read(path, "a test")
    except UserError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exclude: [sub-1] # moved\nsite: a\n", "exclude: [] # moved\nsite: a\n"),
        ("exclude: [sub-1, sub-2]\n", "exclude: [sub-2]\n"),
        ('exclude: [sub-2, "sub-1"] # moved\n', "exclude: [sub-2] # moved\n"),
        ("exclude: [sub-2, sub-1, sub-3]\n", "exclude: [sub-2, sub-3]\n"),
        ("exclude:\n- sub-1\n# next\nsite: a\n", "exclude: []\n# next\nsite: a\n"),
        ("exclude:\n- sub-1 # moved\n- sub-2 # x\nsite: a\n", "exclude:\n- sub-2 # x\nsite: a\n"),
        ("exclude:\n  - sub-2 # x\n  - sub-1", "exclude:\n  - sub-2 # x\n"),
    ],
)
def test_an_item_is_taken_out_of_a_list_and_comments_stay(text: str, expected: str) -> None:
    found = plain_yaml.without_item(text, "exclude", "sub-1", "f")
    assert found == expected
    items = plain_yaml.parse(text, "f")["exclude"]
    assert plain_yaml.parse(found, "f")["exclude"] == [item for item in items if item != "sub-1"]


@pytest.mark.parametrize("text", ["exclude: [sub-11]\n", "exclude: sub-1\n", "site: a\n", "[sub-1]\n"])
def test_what_is_in_no_list_cannot_be_taken_out(text: str) -> None:
    with pytest.raises(UserError, match=r"f: exclude does not list sub-1\."):
        plain_yaml.without_item(text, "exclude", "sub-1", "f")
