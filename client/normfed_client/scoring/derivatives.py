"""The dataset that scoring leaves: BIDS derivatives, and what stands at its top.

``sub-X/[ses-Y/]anat/`` holds the maps. BIDS has no suffix yet for maps of anomaly and tables of clusters, so
`.bidsignore` names these, and nothing else.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from normfed_client.scoring.file_names import without_folders
from normfed_client.scoring.rows import SCORED, PersonScore
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json, write_text
from normfed_common.foundation.locks import alone_if_possible, is_held
from normfed_common.foundation.versions import installed_version
from normfed_common.wording.terminal_text import printable

WRITING = ".writing-"  # how the names of folders begin whose files are not all whole yet
BIDS_VERSION = "1.10.0"
GENERATOR = "normfed"
DESCRIPTION, PARTICIPANTS, SCORES = "dataset_description.json", "participants.tsv", "scores.tsv"
IGNORED = ("*_map.nii.gz", "*_map.json", "*_clusters.tsv", "*_clusters.json", "scores.tsv", "scores.json")
README = """Anomaly maps of normfed
=======================

How unlike healthy brains the scans of these people look to a model that was learnt at several hospitals. Research use
only: not a medical device.

- `scores.tsv`: a row for every person and session, with those who could not be scored and why; `scores.json` says what
  its columns hold.
- `sub-*/[ses-*/]anat/*_desc-anomaly_map.nii.gz`: the map on the grid of the scan that its name and its JSON file tell.
- `*_desc-pvalue_map.nii.gz`: where the run's sites held out healthy people enough, the share of their voxels that are
  at least as abnormal.
- `*_desc-anomaly_clusters.tsv`: the most suspicious clusters.

The files that `.bidsignore` lists have names for which BIDS has no rule yet.
"""
COLUMNS = {
    "participant_id": {"Description": "The person, as the folder is called."},
    "session": {"Description": "The session, as the folder is called; n/a where there is none."},
    "subject_score": {"Description": "98 % quantile of the anomaly in the brain; on the scale of this model alone."},
    "abnormal_share": {"Description": "Share of the brain's voxels above the run's threshold; n/a where it has none."},
    "clusters": {"Description": "How many clusters are listed, ten at most; n/a where the run has no threshold."},
    "largest_cluster_ml": {"Description": "Volume of the largest of them.", "Units": "mL"},
    "status": {
        "Description": "Whether there are maps.",
        "Levels": {"scored": "there are", "failed": "there are none: see reason"},
    },
    "reason": {"Description": "Why somebody was not scored; files by their names, without their folders."},
    "brain": {
        "Description": "Where the brain mask is from: given; template, through the registration; or what found it."
    },
    "sources": {"Description": "The names of the scans, without their folders."},
}


class Derivatives:
    """The folder ``--out``.

    Parameters
    ----------
    sources
        Datasets that people are of; in BIDS URIs they are called raw, raw2, ...

    Raises
    ------
    RunError
        If it cannot be made or written to, or holds another dataset.
    """

    def __init__(self, root: Path, sources: Sequence[Path]) -> None:
        self.root = root
        self._made = not root.exists()
        self._check()
        self._sources = tuple(sources)
        self._name_sources()

    def folder(self, participant_id: str, session: str | None) -> Path:
        """Where the maps of a person and session lie."""
        return self.root.joinpath(*filter(None, (participant_id, session, "anat")))

    def uri(self, path: Path, dataset: Path | None) -> str:
        """How a sidecar names a scan: as BIDS URI where it is of a dataset, else by its name alone."""
        return path.name if dataset is None else f"bids:{self._names[dataset]}:{path.relative_to(dataset).as_posix()}"

    @contextlib.contextmanager
    def staged(self, folder: Path) -> Iterator[Path]:
        """A folder aside whose files are moved to ``folder`` when all of them are whole; on any failure none is."""
        aside = Path(tempfile.mkdtemp(prefix=WRITING, dir=self.root))
        with alone_if_possible(aside):
            try:
                yield aside
                folder.mkdir(parents=True, exist_ok=True)
                for path in sorted(aside.iterdir()):
                    os.replace(path, folder / path.name)
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def begin(self) -> None:
        """Write what says what the folder is; removes what a process left that was killed while it wrote."""
        for left in self.root.glob(f"{WRITING}*"):
            if _is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        with alone_if_possible(self.root):
            self._name_sources()  # as somebody else may just have called them
            self._describe()
        write_text(self.root / "README.md", README)
        write_text(self.root / ".bidsignore", "\n".join(IGNORED) + "\n")
        write_json(self.root / "scores.json", COLUMNS)
        columns = {"participant_id": COLUMNS["participant_id"], "sources": COLUMNS["sources"]}
        write_json(self.root / "participants.json", columns)

    def _describe(self) -> None:
        write_json(
            self.root / DESCRIPTION,
            {
                "Name": "Anomaly maps of normfed",
                "BIDSVersion": BIDS_VERSION,
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": GENERATOR, "Version": installed_version()}],
                **({"DatasetLinks": self._links} if self._links else {}),
            },
        )

    def abandon(self) -> None:
        """Nobody can be scored: leave no folder that was not there before."""
        if self._made:
            with contextlib.suppress(OSError):  # somebody has put something into it
                self.root.rmdir()

    def note(self, rows: Sequence[PersonScore]) -> None:
        """Add rows to the tables, or put them in the place of those that are there; whoever failed now and has maps
        from before keeps the row of these. Several processes may score into one folder."""
        with alone_if_possible(self.root):
            self._add(rows)

    def _add(self, rows: Sequence[PersonScore]) -> None:
        table = {(row["participant_id"], row["session"]): row for row in self._rows()}
        for row in rows:
            said, key = _said(row), (row.participant_id, row.session or "n/a")
            if row.status == SCORED or table.get(key, said)["status"] != SCORED:
                table[key] = said
        ordered = [table[key] for key in sorted(table)]
        _write_table(self.root / SCORES, [*COLUMNS], ordered)
        whose: dict[str, list[str]] = {}
        for said in ordered:
            if said["status"] == SCORED:
                whose.setdefault(said["participant_id"], []).append(said["sources"])
        people = [{"participant_id": person, "sources": ", ".join(sources)} for person, sources in whose.items()]
        if people:
            _write_table(self.root / PARTICIPANTS, ["participant_id", "sources"], people)

    def _name_sources(self) -> None:
        self._links: dict[str, str] = self._description().get("DatasetLinks", {})
        self._names = {source: self._linked(os.path.relpath(source, self.root)) for source in self._sources}

    def _linked(self, place: str) -> str:
        """The name of a dataset in BIDS URIs, by where it lies: that which it has in the folder, or a new one."""
        for name, linked in self._links.items():
            if linked == place:
                return name
        names = itertools.chain(["raw"], (f"raw{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in self._links)
        self._links = {**self._links, name: place}
        return name

    def _rows(self) -> list[dict[str, str]]:
        path = self.root / SCORES
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [{name: row.get(name) or "n/a" for name in COLUMNS} for row in rows]

    def _description(self) -> dict[str, Any]:
        try:
            found = json.loads((self.root / DESCRIPTION).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"GeneratedBy": []}
        return found if isinstance(found, dict) else {"GeneratedBy": []}

    def _check(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
            description = self._description()
        except OSError as error:
            why = "cannot be made" if not self.root.is_dir() else "cannot be written to"
            raise RunError(f"{self.root}: {why} ({error.strerror}). Choose another folder with --out.") from error
        makers = description.get("GeneratedBy", [])
        names = {maker.get("Name") for maker in makers if isinstance(maker, Mapping)} if description else {GENERATOR}
        if GENERATOR not in names:
            raise RunError(
                f"{self.root}: holds another dataset ({DESCRIPTION}). Choose another folder with --out, such as "
                f"{self.root / 'derivatives' / GENERATOR}."
            )


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that wrote into it has ended: its lock is free."""
    try:
        return not is_held(folder)
    except OSError:  # it is gone, or another user's, or nobody can lock it
        return False


def _said(row: PersonScore) -> dict[str, str]:
    reason = without_folders(" ".join(row.reason.split()))  # the dataset is there to be shared, the machine is not
    values: dict[str, object] = vars(row) | {"sources": ", ".join(row.sources), "reason": reason}
    return {name: _text(values[name]) for name in COLUMNS}


def _text(value: object) -> str:
    """A cell: names of files, which may hold anything, on one line and as UTF-8 has letters for."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "n/a" if value is None or value == "" else printable(str(value)).replace("\n", "\\n")


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    lines = ["\t".join(columns), *("\t".join(row[name] for name in columns) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")
