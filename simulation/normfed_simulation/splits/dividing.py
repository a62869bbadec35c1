"""A dataset under the split of a study: in memory, and on disk as a folder of links with another column `site`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from normfed_client.imaging.bids import Dataset, Visit, read_dataset
from normfed_client.imaging.scanners import LONGEST_SCANNER, scanner_of
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.foundation.files import write_json, write_text
from normfed_common.study.config import StudyConfig
from normfed_simulation.link_folders import make
from normfed_simulation.splits.base import DividedPerson, Split
from normfed_simulation.splits.catalogue import KEY, chosen

FOLDER = "splits"  # of the cache; below it a folder per dataset, split and division
TABLE, NOTE = "participants.tsv", ".split.json"


def split_of(study: StudyConfig) -> Split | None:
    """What the study divides its people by; None where they stay where they are.

    Raises
    ------
    StudyError, PluginError
        If there is no such split, or a parameter of it is wrong.
    """
    return None if study.data.split is None else chosen(study.data.split)


def divided(dataset: Dataset, study: StudyConfig) -> dict[str, str]:
    """Subject to site, by the study's split; of everybody whom the study does not exclude by name.

    It depends on the dataset, the split and its seed alone, so that studies of other modalities or models compare on
    the same sites. Who is excluded comes to the first site, where the study leaves them out.

    Raises
    ------
    StudyError
        If these people cannot be divided so.
    """
    entry, split = study.data.split, split_of(study)
    assert entry is not None
    assert split is not None
    visits: dict[str, list[Visit]] = {}
    for visit in dataset.visits:
        visits.setdefault(visit.participant.subject, []).append(visit)
    people = [
        DividedPerson(of[0].participant, tuple(of))
        for subject, of in sorted(visits.items())
        if subject not in study.data.exclude
    ]
    try:
        sites = split.divide(people, seeds.generator(_seed(study, split), "split", entry[KEY]))
    except StudyError as error:
        raise StudyError(f"data.split {entry[KEY]}, {dataset.root}: {error}") from error
    found = {person.participant.subject: site for person, site in zip(people, sites, strict=True)}
    return {subject: found.get(subject, min(sites)) for subject in visits}


def resited(dataset: Dataset, sites: Mapping[str, str]) -> Dataset:
    """The same people at other sites, as `view` is read: the scanner is still that of the site they came from."""
    visits = []
    for visit in dataset.visits:
        whose = visit.participant
        scanner = _of_site(whose.scanner, whose.site)
        visits.append(replace(visit, participant=replace(whose, site=sites[whose.subject], scanner=scanner)))
    return Dataset(dataset.root, tuple(visits), dataset.problems)


def foreseen(dataset: Dataset, study: StudyConfig) -> Dataset | None:
    """What `view` will hold; None where scans must be made first, as the split opens them.

    Raises
    ------
    StudyError
        If these people cannot be divided so.
    """
    split = split_of(study)
    if split is None or _is_view(dataset.root, study, split):
        return dataset
    made = all(mask.path.exists() for visit in dataset.visits for mask in visit.lesions)
    return resited(dataset, divided(dataset, study)) if made or not split.opens_masks() else None


def view(root: Path, study: StudyConfig, cache: Path) -> Path:
    """A dataset of links into that at ``root``, whose people are at the sites that the study's split gives them.

    The same division of the same dataset is the same folder; nothing of the dataset is copied or changed. A dataset
    that is such a view already is returned as it is, so that a run that goes on has everybody where they were.

    Raises
    ------
    StudyError
        If these people cannot be divided so.
    DatasetError
        If the links cannot be made, or ``root`` cannot be read.
    """
    split = split_of(study)
    if split is None or _is_view(root, study, split):
        return root
    dataset = read_dataset(root.resolve())
    table, sessions = _table(dataset, divided(dataset, study)), _sessions(dataset)
    entries = sorted(p.name for p in dataset.root.iterdir() if p.name != TABLE and not p.name.startswith("."))
    note = {"source": str(dataset.root), "split": study.data.split, "seed": _seed(study, split)}
    content = {**note, "entries": entries, "table": table, **({"sessions": sessions} if sessions else {})}
    made = cache / FOLDER / digests.of_json(content)

    def fill(folder: Path) -> None:
        for name in entries:
            _link(dataset.root / name, folder / name, sessions.get(name))
        write_text(folder / TABLE, table)
        write_json(folder / NOTE, note)

    if not (made / NOTE).exists():
        make(made, fill, NOTE)
    return made


def described(study: StudyConfig) -> str:
    """The study's split as a person writes it, with its seed; empty where people stay where they are."""
    split = split_of(study)
    if split is None or study.data.split is None:
        return ""
    said = {**study.data.split, "seed": _seed(study, split)}
    return "{" + ", ".join(f"{key}: {value}" for key, value in said.items()) + "}"


def source_of(root: Path) -> Path:
    """The dataset that a view was made of; of any other dataset itself."""
    note = _note(root)
    return root if note is None else Path(note["source"])


def _seed(study: StudyConfig, split: Split) -> int:
    return study.seed if split.config.seed is None else split.config.seed


def _is_view(root: Path, study: StudyConfig, split: Split) -> bool:
    """Whether it is of this split by this seed."""
    note = _note(root)
    return note is not None and bool(note["split"] == study.data.split and note["seed"] == _seed(study, split))


def _note(root: Path) -> dict[str, Any] | None:
    """What a view says of itself; None where a dataset is none.

    Raises
    ------
    DatasetError
        If that cannot be read: to divide people anew who are divided already would make other sites of them.
    """
    path = root / NOTE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"source": str(found["source"]), "split": found["split"], "seed": found["seed"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(
            f"{path}: damaged. In a folder of links that a split made, delete the folder: it is made again; anywhere "
            "else remove this file alone."
        ) from error


def _of_site(scanner: str | None, site: str) -> str:
    """What a scanner is called away from its site; where it has no name, by the site's."""
    return site if scanner is None else f"{site}/{scanner}"[:LONGEST_SCANNER]


def _link(source: Path, link: Path, sessions: str | None) -> None:
    """A link to an entry of a dataset; of a person whose ``sessions`` table is another, a folder of links and it."""
    if sessions is None:
        link.symlink_to(source)
        return
    link.mkdir()
    for entry in source.iterdir():
        if entry.name != _sessions_file(source.name):
            (link / entry.name).symlink_to(entry)
    write_text(link / _sessions_file(source.name), sessions)


def _sessions_file(subject: str) -> str:
    return f"{subject}_sessions.tsv"


def _table(dataset: Dataset, sites: Mapping[str, str]) -> str:
    """participants.tsv with other sites; whoever has no scans comes to the first, so that they are still told of."""
    path = dataset.root / TABLE

    def changed(row: Mapping[str, str], number: int) -> dict[str, str]:
        subject = (row["participant_id"] or "").strip()
        if subject not in sites:
            return {"site": min(sites.values())}
        return {"site": sites[subject], "scanner": _of_site(scanner_of(row, path, number), row["site"].strip())}

    return _rewritten(path, changed)


def _sessions(dataset: Dataset) -> dict[str, str]:
    """Subject to their sessions.tsv, of those who have one, with scanners that say of which site they are."""
    came_from = {visit.participant.subject: visit.participant.site for visit in dataset.visits}
    paths = {subject: dataset.root / subject / _sessions_file(subject) for subject in came_from}
    return {
        subject: _rewritten(path, partial(_with_site, path, came_from[subject]))
        for subject, path in paths.items()
        if path.exists()
    }


def _with_site(path: Path, site: str, row: Mapping[str, str], number: int) -> dict[str, str]:
    scanner = scanner_of(row, path, number)
    return {} if scanner is None else {"scanner": _of_site(scanner, site)}


def _rewritten(path: Path, changed: Callable[[Mapping[str, str], int], dict[str, str]]) -> str:
    """A table with other cells in each row, by its line; and with a column `scanner`."""
    reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t")
    columns = list(dict.fromkeys([*(reader.fieldnames or ()), "scanner"]))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for number, row in enumerate(reader, start=2):
        writer.writerow({**row, **changed(row, number)})
    return written.getvalue()
