"""FeTS 2022: 1,251 gliomas of 23 institutions, as the Federated Tumour Segmentation challenge divides them.

partitioning_1.csv tells the institutions; partitioning_2.csv halves the five largest at the median size of the tumour,
which gives 33 (the data description of FETS-AI/Challenge).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from normfed_common.foundation.errors import DatasetError
from normfed_common.study.base import Frozen
from normfed_simulation.datasets.brats import FILE, LABELS, add_glioma
from normfed_simulation.datasets.contents import Contents
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person
from normfed_simulation.datasets.spreadsheet import read_table, unique
from normfed_simulation.datasets.values import tell

NAME = r"(?P<person>FeTS(21|22|2022)_(Training_)?\d+)" + FILE


class Config(Frozen):
    """Which division."""

    partitioning: Literal[1, 2] = Field(1, description="1: by institution (23); 2: the largest split further (33)")


class FeTS(Downloaded):
    """See the module."""

    cited = ("pati2021", "baid2021")
    Config = Config
    title = "FeTS 2022, gliomas of 23 institutions"
    licence = "by the terms of the challenge; the scans are those of BraTS 2021"
    access = "ask at synapse.org/fets2022; the partition files are also in FETS-AI/Challenge on GitHub"
    modalities = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
    layout = """FeTS2022_00000/FeTS2022_00000_{t1,t1ce,t2,flair,seg}.nii.gz and the like
        partitioning_1.csv and partitioning_2.csv beside them, with Partition_ID and Subject_ID"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(root.glob("FeTS2*_*")) or any(root.glob("*/FeTS2*_*"))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        name = f"partitioning_{self.config.partitioning}.csv"
        table = next((path for path in (root / name, *root.glob(f"*/{name}")) if path.exists()), root / name)
        rows = unique(read_table(table, ("Partition_ID", "Subject_ID")), "Subject_ID", table)
        people = by_person(root, NAME)
        strangers = sorted(people.keys() - rows.keys())
        if strangers:
            more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
            raise DatasetError(
                f"{table}: says nothing of {strangers[0]}{more}, who has scans in {root}. Get the table of these scans."
            )
        found = Contents(root, LABELS)
        for person, row in sorted(rows.items()):
            if not row["Partition_ID"]:
                raise DatasetError(f"{table}: {person} has no Partition_ID. Get the table again.")
            if person in people:
                files = {kind: path for kind, (path, _) in people[person].items()}
                add_glioma(found, person, f"institution-{row['Partition_ID']:0>2}", files)
        tell(found, rows.keys() - people.keys(), f"is in {name}, but has no scans")
        return found
