"""The dataset that scoring leaves: what it refuses to be, and how its tables grow."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from normfed_client.scoring.derivatives import COLUMNS, IGNORED, Derivatives
from normfed_client.scoring.rows import FAILED, SCORED, PersonScore
from normfed_common.foundation.errors import RunError


def row(person: str, score: float | None = 1.0, session: str | None = None) -> PersonScore:
    if score is None:
        return PersonScore(person, session, FAILED, "no\tgood scan\n")
    return PersonScore(person, session, SCORED, subject_score=score, sources=(f"{person}_T1w.nii.gz",))


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_another_dataset_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.9.0"}')
    with pytest.raises(RunError, match=r"holds another dataset .* such as .*/derivatives/normfed\."):
        Derivatives(tmp_path, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset_description.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/maps: cannot be made \(Not a directory\)"):
        Derivatives(tmp_path / "file" / "maps", ())


def test_where_nobody_is_scored_no_folder_is_left_and_what_was_there_stays(tmp_path: Path) -> None:
    Derivatives(tmp_path / "new", ()).abandon()
    assert not (tmp_path / "new").exists()
    Derivatives(tmp_path, ()).abandon()
    assert tmp_path.is_dir()


def test_datasets_keep_the_names_that_sidecars_know_them_by(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    out = Derivatives(tmp_path / "out", [first])
    out.begin()
    assert out.uri(first / "sub-1" / "a.nii", first) == "bids:raw:sub-1/a.nii"
    assert out.uri(tmp_path / "b.nii", None) == "b.nii"
    again = Derivatives(tmp_path / "out", [second, first])
    again.begin()
    assert again.uri(first / "a.nii", first) == "bids:raw:a.nii"
    assert again.uri(second / "a.nii", second) == "bids:raw2:a.nii"
    told = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert told["DatasetLinks"] == {"raw": "../one", "raw2": "../two"}


def test_tables_grow_and_who_fails_now_keeps_the_row_of_the_maps_that_are_there(tmp_path: Path) -> None:
    out = Derivatives(tmp_path, ())
    out.note([row("sub-2"), row("sub-1", None), row("sub-2", 2.0, "ses-a")])
    out.note([row("sub-2", None), row("sub-3", 3.0), row("sub-1", 4.0)])
    rows = table(tmp_path / "scores.tsv")
    assert list(rows[0]) == list(COLUMNS)
    assert [(r["participant_id"], r["session"], r["subject_score"]) for r in rows] == [
        ("sub-1", "n/a", "4"),
        ("sub-2", "n/a", "1"),
        ("sub-2", "ses-a", "2"),
        ("sub-3", "n/a", "3"),
    ]
    assert [r["participant_id"] for r in table(tmp_path / "participants.tsv")] == ["sub-1", "sub-2", "sub-3"]


def test_a_reason_is_one_cell(tmp_path: Path) -> None:
    Derivatives(tmp_path, ()).note([row("sub-1", None)])
    assert [r["reason"] for r in table(tmp_path / "scores.tsv")] == ["no good scan"]
    assert not (tmp_path / "participants.tsv").exists()


def test_names_of_files_that_hold_anything_stay_one_cell_each_however_often_the_table_is_read(tmp_path: Path) -> None:
    """Latin-1 of an older file system, a quotation mark of which a reader of CSV awaits the end, a line break."""
    names = ("M\udcfcller_T1w.nii.gz", '"quoted_T1w.nii.gz', "two\nlines\t_T1w.nii.gz", "\x1b]0;title\x07_T1w.nii.gz")
    out = Derivatives(tmp_path, ())
    for number, name in enumerate(names):
        out.note([PersonScore(f"sub-{number}", None, SCORED, subject_score=1.0, sources=(name,))])
    out.note([PersonScore("sub-9", None, FAILED, f"{names[0]}: no such file.", sources=names[:1])])
    lines = [line.split("\t") for line in (tmp_path / "scores.tsv").read_text(encoding="utf-8").split("\n")]
    written = ["M\\udcfcller_T1w.nii.gz", names[1], "two\\nlines\\t_T1w.nii.gz", "\\x1b]0;title\\x07_T1w.nii.gz"]
    at = lines[0].index("sources")
    assert {len(line) for line in lines[:-1]} == {len(COLUMNS)}
    assert [(line[0], line[at]) for line in lines[1:-1]] == [
        *((f"sub-{number}", name) for number, name in enumerate(written)),
        ("sub-9", written[0]),
    ]


def test_files_are_moved_when_all_are_whole_or_not_at_all(tmp_path: Path) -> None:
    out = Derivatives(tmp_path, ())
    folder = out.folder("sub-1", "ses-2")
    assert folder == tmp_path / "sub-1" / "ses-2" / "anat"
    with pytest.raises(FileExistsError), out.staged(folder) as aside:
        (aside / "a").mkdir() or (aside / "a").mkdir()
    assert list(tmp_path.iterdir()) == []
    with out.staged(folder) as aside:
        (aside / "a").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "sub-1/ses-2/anat/a"
    ]


def test_what_a_killed_process_left_goes_and_what_another_one_writes_just_now_stays(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from normfed_client.scoring.derivatives import Derivatives\n"
        "out = Derivatives(Path(sys.argv[1]), ())\n"
        "with out.staged(out.folder('sub-1', None)) as aside:\n"
        "    (aside / 'map').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "map").exists()
    with Derivatives(tmp_path, ()).staged(tmp_path / "sub-2") as aside:
        Derivatives(tmp_path, ()).begin()
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == [aside]


def test_nothing_is_hidden_from_the_validator_but_what_bids_has_no_name_for() -> None:
    assert {pattern.rsplit("_", 1)[-1] for pattern in IGNORED} == {
        *("map.nii.gz", "map.json", "clusters.tsv", "clusters.json", "scores.tsv", "scores.json")
    }


def test_two_who_score_into_one_folder_at_once_lose_nobody_and_name_their_datasets_apart(tmp_path: Path) -> None:
    datasets = [tmp_path / "first", tmp_path / "second"]
    outs = [Derivatives(tmp_path / "out", [dataset]) for dataset in datasets]  # each before the other begins
    for out in outs:
        out.begin()
    assert [out.uri(dataset / "a", dataset) for out, dataset in zip(outs, datasets, strict=True)] == [
        "bids:raw:a",
        "bids:raw2:a",
    ]
    people = [f"sub-{number:02d}" for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda person: outs[int(person[-1]) % 2].note([row(person)]), people))
    assert [r["participant_id"] for r in table(tmp_path / "out" / "scores.tsv")] == people
    assert [r["participant_id"] for r in table(tmp_path / "out" / "participants.tsv")] == people
