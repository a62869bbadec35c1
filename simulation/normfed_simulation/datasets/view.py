"""A dataset as it came, seen as BIDS: a folder of symbolic links in the cache. The source stays untouched.

Nothing is copied but Analyze pairs, which BIDS does not have: of them the view holds NIfTI files.

The folder's name is a digest of what the view shows, so that a source whose files or tables change gets another.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from normfed_client.imaging.participants import Participant
from normfed_common.foundation import digests
from normfed_simulation.datasets.analyze import HEADER, convert
from normfed_simulation.datasets.contents import DIFFUSION, MASKS, Contents
from normfed_simulation.link_folders import make

VERSION = 1  # raise it when the same contents give another view
DESCRIPTION = "dataset_description.json"
COLUMNS = ("participant_id", "site", "scanner", "age", "sex", "group")


def digest(contents: Contents) -> str:
    """Identifies the view of these contents."""
    links = {place: str(path) for place, path in contents.links.items()}
    sources = [str(source) for source in (contents.source, *contents.others)]
    return digests.of_json([VERSION, sources, participants(contents.people.values()), links, contents.texts])


def write(root: Path, contents: Contents, title: str) -> None:
    """Make the view in ``root``; it is there whole, or not at all.

    Raises
    ------
    DatasetError
        If the disk is full, or does not take links.
    """
    make(root, lambda folder: _fill(folder, contents, title), DESCRIPTION)


def sources_of(root: Path) -> tuple[Path, ...]:
    """The folders that a view was made of; none for what is no view."""
    try:
        said = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
        if said["GeneratedBy"][0]["Name"] != "normfed":
            return ()
        return tuple(Path(unquote(urlsplit(source["URL"]).path)) for source in said["SourceDatasets"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # somebody else's, or none
        return ()


def participants(people: Iterable[Participant]) -> str:
    """A participants.tsv of these people, in the order of their names."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    for person in sorted(people, key=lambda person: person.subject):
        age = None if person.age is None else f"{person.age:g}"
        row = (person.subject, person.site, person.scanner, age, person.sex, person.group)
        table.writerow(["n/a" if value in (None, "") else value for value in row])
    return text.getvalue()


def _fill(folder: Path, contents: Contents, title: str) -> None:
    for place, path in contents.links.items():
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == HEADER:
            convert(path, link)
        else:
            link.symlink_to(os.path.abspath(path))
    (folder / "participants.tsv").write_text(participants(contents.people.values()), encoding="utf-8")
    said = {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "GeneratedBy": [{"Name": "normfed"}],
        "SourceDatasets": [
            {"URL": Path(os.path.abspath(source)).as_uri()} for source in (contents.source, *contents.others)
        ],
    }
    (folder / DESCRIPTION).write_text(json.dumps(said, indent=1), encoding="utf-8")
    for derived in (folder / MASKS, folder / DIFFUSION):
        if derived.is_dir() and not (derived / DESCRIPTION).exists():
            text = json.dumps({**said, "DatasetType": "derivative"}, indent=1)
            (derived / DESCRIPTION).write_text(text, encoding="utf-8")
    for place, text in contents.texts.items():
        (folder / place).write_text(text, encoding="utf-8")
