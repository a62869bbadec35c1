"""Segmentations with a number for each kind of lesion, and the table that says which number is which.

A file ``desc-lesions_dseg`` lies beside its own ``.tsv``, or below a ``desc-lesions_dseg.tsv`` or ``dseg.tsv`` of the
same dataset, with the columns `index` and `name` as BIDS has them. Labels of the name ``ignore`` are neither lesion nor
normal: such as label 2 of the WMH challenge, other pathology (Kuijf 2019).

A kind of lesion is called by letters, digits, ``_`` and ``-``, for it is told with figures: ``WMH (deep)`` is
``WMH-deep``, and a name without any, ``label-1``.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

DESCRIPTION = "lesions"  # the entity `desc` of such a file; other segmentations are of tissue
IGNORED = "ignore"
NO_LESION = "none"  # the kind of lesion of a person with empty masks
ILL = "ill"  # the kind of people whose group has no name that a figure can carry
NOTHING = ("", "background", "n/a")
LONGEST_KIND = 40  # characters


def names(path: Path, root: Path) -> dict[str, tuple[int, ...]]:
    """The labels of a segmentation by the kind of lesion that they are, or `IGNORED`.

    Parameters
    ----------
    root
        The dataset, above which no table is looked for.

    Raises
    ------
    ValueError
        If there is no table, or it is not one; the text ends a sentence that begins with the file.
    """
    table = next((place for place in _tables(path, root) if place.exists()), None)
    if table is None:
        raise ValueError("has no dseg.tsv (columns index and name) that says which label is which lesion")
    found: dict[str, list[int]] = defaultdict(list)
    for row in _rows(table):
        index, name = (row["index"] or "").strip(), (row["name"] or "").strip()
        if not index.isdecimal():
            raise ValueError(f"is described by {table.name}, where the index {index[:20]!r} is no whole number")
        if int(index) > 0 and name.lower() not in NOTHING:
            found[IGNORED if name.lower() == IGNORED else _kind(name, index)].append(int(index))
    return {name: tuple(labels) for name, labels in found.items()}


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            if not {"index", "name"} <= set(rows.fieldnames or ()):
                raise ValueError(f"is described by {table.name}, which lacks the column index or name")
            return list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"is described by {table.name}, which cannot be read as UTF-8 text ({error})") from error


def _kind(name: str, index: str) -> str:
    return carried(name) or f"label-{int(index)}"


def carried(name: str) -> str:
    """A kind of lesion, or a group of ill people, as a figure can carry its name; nothing where no letter is left."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-_")[:LONGEST_KIND]


def _tables(path: Path, root: Path) -> list[Path]:
    folders = [folder for folder in path.parents if folder == root or root in folder.parents]
    own = path.with_name(path.name.partition(".")[0] + ".tsv")
    return [own, *(folder / name for folder in folders for name in (f"desc-{DESCRIPTION}_dseg.tsv", "dseg.tsv"))]
