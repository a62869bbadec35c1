"""BraTS: gliomas of many institutions, by the institution where a name tells it or a table does.

BraTS 2017 to 2019 have it in the name (``Brats18_CBICA_AAB_1``, ``BraTS19_TCIA01_131_1``, ``BraTS19_2013_0_1``); 2020
has name_mapping.csv, which tells those earlier names; 2021 tells nothing, but its people are those of FeTS 2022 under
the same numbers, whose partitioning_1.csv tells institutions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from normfed_client.imaging.bids import Participant, Problem
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.data import site_name
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person
from normfed_simulation.datasets.spreadsheet import read_table, unique

# Necrotic core, oedema and enhancing tumour: 1, 2, 4, from 2023 on 1, 2, 3.
LABELS = dict.fromkeys((1, 2, 3, 4), "tumour")
KINDS = {"t1": "T1w", "t1ce": "ce-gadolinium_T1w", "t2": "T2w", "flair": "FLAIR"}
FILE = r"_(?P<kind>t1|t1ce|t2|flair|seg)\.nii(\.gz)?"
NAME = r"(?P<person>Bra[tT][sS](17|18|19|20|2021)_\w+?)" + FILE
MAPPING, PARTITION = "name_mapping.csv", "partitioning_1.csv"


class BraTS(Downloaded):
    """See the module."""

    title = "BraTS 2017-2021, gliomas by institution"
    licence = "for research, by the terms of the challenge; 2021 at TCIA: CC BY 4.0"
    citation = (
        "Menze et al., IEEE Transactions on Medical Imaging 34(10), 2015; Bakas et al., Scientific Data 4, 2017; Baid "
        "et al., arXiv:2107.02314, 2021"
    )
    access = "register at www.med.upenn.edu/cbica (2017-2020) or synapse.org (2021); 2021 also at TCIA"
    modalities = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
    layout = """HGG/BraTS19_CBICA_AAB_1/BraTS19_CBICA_AAB_1_{t1,t1ce,t2,flair,seg}.nii.gz and LGG/... (2017-2019)
        BraTS20_Training_001/... and name_mapping.csv (2020)
        BraTS2021_00000/... and partitioning_1.csv of FeTS 2022 (2021)"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(any(root.glob("*/" * depth + "Bra[tT][sS][12]*_*/*_flair.nii*")) for depth in range(3))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root, LABELS)
        people = by_person(root, NAME)
        institutions = _institutions(root, list(people))
        untold = sorted(people.keys() - institutions.keys())
        if untold:
            why = f"no institution is told of {len(untold)} people: left out"
            found.problems.append(Problem(untold[0], why))
        for name, files in people.items():
            if name in institutions:
                add_glioma(found, name, institutions[name], {kind: path for kind, (path, _) in files.items()})
        return found


def add_glioma(found: Contents, name: str, institution: str, files: Mapping[str, Path]) -> None:
    """Take in a person of BraTS or FeTS: scans on one grid, skull-stripped, and a segmentation."""
    images = {modality: files[kind] for kind, modality in KINDS.items() if kind in files}
    missing = sorted(KINDS.keys() - files.keys())
    if missing:
        found.problems.append(Problem(subject(name), f"no {', '.join(missing)}"))
    if "seg" not in files:
        found.problems.append(Problem(subject(name), "no segmentation (..._seg.nii.gz)"))
    if images:
        grid = next(iter(images))
        person = Participant(subject(name), site_name(institution), "tumour")
        found.add(person, Visit(images, grid=grid, labels=files.get("seg")))


def _institutions(root: Path, names: list[str]) -> dict[str, str]:
    """By person; whoever has none is left out."""
    found = {name: match[1] for name in names if (match := re.match(r"Bra[tT][sS]1[789]_([A-Za-z0-9]+)_", name))}
    if any(name.startswith("BraTS20_") for name in names):
        found |= _by_earlier_name(_table(root, MAPPING))
    if any(name.startswith("BraTS2021_") for name in names):
        table = _table(root, PARTITION)
        rows = unique(read_table(table, ("Partition_ID", "Subject_ID")), "Subject_ID", table)
        partition = {person.rpartition("_")[2]: row["Partition_ID"] for person, row in rows.items()}
        found |= {n: f"institution-{partition[k]:0>2}" for n in names if (k := n.rpartition("_")[2]) in partition}
    return found


def _by_earlier_name(table: Path) -> dict[str, str]:
    years = [f"BraTS_{year}_subject_ID" for year in (2019, 2018, 2017)]
    found = {}
    for row in read_table(table, ("BraTS_2020_subject_ID", years[0])):
        earlier = next((row[year] for year in years if row.get(year, "").lower().startswith("brats")), None)
        if earlier:
            found[row["BraTS_2020_subject_ID"]] = earlier.split("_")[1]
    return found


def _table(root: Path, name: str) -> Path:
    found = next((path for depth in range(3) for path in sorted(root.glob("*/" * depth + name))), None)
    if found is None:
        raise DatasetError(f"{root / name}: missing. It tells of which institution each person is.")
    return found
