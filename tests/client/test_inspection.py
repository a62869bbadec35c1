"""What `normfed inspect` prints, on terminals of any width and into a file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cohorts
import pytest
from commands import normfed
from rich.console import Console

from normfed_client import inspection
from normfed_client.imaging import problem_list
from normfed_client.imaging.bids import Problem
from normfed_client.imaging.problem_list import print_problems
from normfed_common.deployment.terminal import print_table

SITES = ("university-hospital-of-the-north-at-the-river-elbe", "b")
ROWS = [
    [site, "12", "14", "control 8, tumour 4", "20–80", "FLAIR 12, T1w 14", "FLAIR 2", "12", "WMH 3, a-kind-of-lesion 4"]
    for site in SITES
]


@pytest.mark.parametrize("width", [20, 60, 80, 110, 130, 160, 250])
def test_no_word_of_the_table_of_sites_is_cut_or_broken_by_us(width: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=width, force_terminal=True, color_system=None)
    print_table(console, inspection.COLUMNS, ROWS, inspection.NUMBERS)
    text = shown.getvalue()
    for word in re.findall(r"[\w–-]+", " ".join(word for row in ROWS for word in row)):
        assert word in text
    assert "…" not in text
    if "┃" in text:
        assert max(map(len, text.splitlines())) <= width
    assert ("┃" in text) == (width > 130)


@pytest.mark.parametrize("width", [60, 80])
def test_on_a_narrow_terminal_lines_end_between_words_and_only_a_longer_name_is_longer(width: int) -> None:
    name = "a-hospital-" * 9
    shown = io.StringIO()
    rows = [[name, *ROWS[0][1:]], *ROWS]
    console = Console(file=shown, width=width, force_terminal=True, color_system=None)
    print_table(console, inspection.COLUMNS, rows, inspection.NUMBERS)
    lines = shown.getvalue().splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [name, *SITES]
    assert max(len(line) for line in lines if line != name) <= width
    facts = " ".join(line.strip() for line in lines[1 : lines.index(SITES[0])])
    assert facts.startswith("people 12; visits 14; groups control 8, tumour 4; ages 20–80; modalities (visits) ")
    assert facts.endswith("brain masks 12; lesion masks WMH 3, a-kind-of-lesion 4")


def test_into_a_file_every_site_is_one_line(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {site: {"control": 1, "WMH": 1} for site in "ab"})
    table = data / "participants.tsv"
    table.write_text(table.read_text().replace("\ta\t", f"\t{SITES[0]}\t"))
    lines = normfed("inspect", data).stdout.splitlines()
    (line,) = [line for line in lines if SITES[0] in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == [SITES[0], "2", "2", "WMH 1, control 1", "50–50", "FLAIR 2, T1w 2", "–", "2", "WMH 1"]


def problems_shown(problems: list[Problem], every: bool = False) -> list[str]:
    shown = io.StringIO()
    print_problems(Console(file=shown, width=40), problems, "Left out", every)
    title, *lines = shown.getvalue().splitlines()
    assert title == "Left out"
    return [line.strip() for line in lines]


MANY = [
    *(
        Problem(f"sub-{n:02d}_ses-1", f"sub-{n:02d}_ses-1_T1w.nii.gz: has {n} NaN voxels in sub-{n:02d}")
        for n in (1, 2, 3)
    ),
    Problem("sub-AB", "has no T1w (expected sub-AB/anat/sub-AB_T1w.nii.gz)"),
    Problem("sub-AB", "has no T2w (expected sub-AB/anat/sub-AB_T2w.nii.gz)"),
    Problem("sub-CD", "has no T1w (expected sub-CD/anat/sub-CD_T1w.nii.gz)"),
]


def test_a_problem_that_many_have_is_one_line_with_a_count_and_an_example() -> None:
    assert problems_shown(MANY) == [
        "sub-01_ses-1 and 2 more: sub-01_ses-1_T1w.nii.gz: has 1 NaN voxels in sub-01",
        "sub-AB and 1 more: has no T1w (expected sub-AB/anat/sub-AB_T1w.nii.gz)",
        "sub-AB: has no T2w (expected sub-AB/anat/sub-AB_T2w.nii.gz)",
    ]
    assert problems_shown(MANY, every=True) == [f"{problem.what}: {problem.why}" for problem in MANY]


def test_inspect_says_what_is_nearly_a_scan(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3}})
    for flair in data.glob("sub-*/anat/*_FLAIR.nii.gz"):
        flair.rename(flair.with_name(flair.name.replace("FLAIR", "flair")))
    shown = normfed("inspect", data).stdout
    assert "  sub-acontrol00 and 2 more: has no FLAIR (expected " in shown
    assert "02" not in shown.split("Left out")[1]
    assert "To name everybody: normfed inspect DIR --every" in shown
    everybody = normfed("inspect", data, "--every").stdout
    assert everybody.count("has no FLAIR (expected ") == 3
    assert "To name everybody" not in everybody


def test_a_name_of_many_underscores_is_as_alike_as_any_other() -> None:
    """Whose kind once doubled in length with every underscore."""
    for name in ("sub-1", "sub-2" + "_" * 60):
        assert problem_list._kind(Problem(name, f"{name} has no files")).count("*") < 70
