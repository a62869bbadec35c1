"""BraTS: gliomas of many institutions, by the institution where a name tells it or a table does.

BraTS 2017 to 2019 have it in the name (``Brats18_CBICA_AAB_1``, ``BraTS19_TCIA01_131_1``, ``BraTS19_2013_0_1``); 2020
has name_mapping.csv, which tells those earlier names. Of 2021 and 2023 (``BraTS-GLI-00000-000-t1n.nii.gz``, the same
people) the challenge gives BraTS21-17_Mapping.xlsx and BraTS2023_2017_GLI_Mapping.xlsx, whose column Site No tells the
institution, as many repositories that divide by it read them; without one, partitioning_1.csv of FeTS 2022 does, whose
people have the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.data import site_name
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person, matches
from normfed_simulation.datasets.spreadsheet import read_table, unique
from normfed_simulation.datasets.values import table, tell

# Necrotic core, oedema and enhancing tumour: 1, 2, 4, from 2023 on 1, 2, 3.
LABELS = dict.fromkeys((1, 2, 3, 4), "tumour")
KINDS = {"t1": "T1w", "t1ce": "ce-gadolinium_T1w", "t2": "T2w", "flair": "FLAIR"}
FILE = r"_(?P<kind>t1|t1ce|t2|flair|seg)\.nii(\.gz)?"
NAME = r"(?P<person>Bra[tT][sS](17|18|19|20|2021)_\w+?)" + FILE
NAME_2023 = r"(?P<person>BraTS-GLI-\d{5}-\d{3})-(?P<kind>t1n|t1c|t2w|t2f|seg)\.nii(\.gz)?"
KINDS_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair", "seg": "seg"}
MAPPING, PARTITION = "name_mapping.csv", "partitioning_1.csv"
MISNAMED = r"W39_1998\.09\.19_Segm\.nii(\.gz)?"  # the segmentation of BraTS20_Training_355
SITES = r"(BraTS21-17_Mapping|BraTS2023_2017_GLI_Mapping)\.(xlsx|csv)"
SITE = "Site No (represents the originating institution)"


class BraTS(Downloaded):
    """See the module."""

    cited = ("menze2015", "bakas2017", "baid2021")
    title = "BraTS 2017-2023, gliomas by institution"
    licence = "for research, by the terms of the challenge; 2021 at TCIA: CC BY 4.0"
    access = "register at www.med.upenn.edu/cbica (2017-2020) or synapse.org (2021, 2023); 2021 also at TCIA"
    modalities = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
    layout = """HGG/BraTS19_CBICA_AAB_1/BraTS19_CBICA_AAB_1_{t1,t1ce,t2,flair,seg}.nii.gz and LGG/... (2017-2019)
        BraTS20_Training_001/... and name_mapping.csv (2020)
        BraTS2021_00000/... and BraTS21-17_Mapping.xlsx, or partitioning_1.csv of FeTS 2022 (2021)
        BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz and
        BraTS2023_2017_GLI_Mapping.xlsx, or partitioning_1.csv (2023)"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        names = ("Bra[tT][sS][12]*_*/*_flair.nii*", "BraTS-GLI-*/*-t2f.nii*")
        return any(any(root.glob("*/" * depth + name)) for name in names for depth in range(3))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root, LABELS)
        people = by_person(root, NAME)
        for name, files in by_person(root, NAME_2023).items():
            people[name] = {KINDS_2023[kind]: file for kind, file in files.items()}
        institutions = _institutions(root, list(people))
        misnamed = next((path for path, _ in matches(root, MISNAMED)), None)
        tell(found, people.keys() - institutions.keys(), "is of no institution that a name or a table tells: left out")
        for name, files in people.items():
            if name in institutions:
                paths = {kind: path for kind, (path, _) in files.items()}
                if misnamed is not None and misnamed.parent in {path.parent for path in paths.values()}:
                    paths.setdefault("seg", misnamed)
                add_glioma(found, name, institutions[name], paths)
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
    numbered = [name for name in names if name.startswith(("BraTS2021_", "BraTS-GLI-"))]
    return found | _by_number(root, numbered) if numbered else found


def _by_number(root: Path, names: list[str]) -> dict[str, str]:
    """Of 2021 and 2023, whose people are those of FeTS 2022 by their five digits."""
    sites = table(root, SITES)
    if sites is not None:
        rows = read_table(sites, (SITE,))
        column = next((year for year in ("BraTS2023", "BraTS2021") if rows and year in rows[0]), None)
        if column is None:
            raise DatasetError(f"{sites}: has no column 'BraTS2023' or 'BraTS2021'. Get the table again.")
        said = {_number(row[column]): row[SITE] for row in rows if row[column] and row[SITE]}
    else:
        path = _table(root, PARTITION)
        partition = unique(read_table(path, ("Partition_ID", "Subject_ID")), "Subject_ID", path)
        said = {_number(person): row["Partition_ID"] for person, row in partition.items()}
    return {name: f"institution-{said[number]:0>2}" for name in names if (number := _number(name)) in said}


def _number(name: str) -> str:
    """The five digits of ``BraTS2021_00000``, ``FeTS2022_00000`` or ``BraTS-GLI-00000-000``."""
    return re.split("[_-]", name.removeprefix("BraTS-GLI-").rpartition("_")[2])[0]


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
