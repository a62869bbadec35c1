"""Other hospitals' folders of this user and machine that serve the same people, with a ledger of their own.

What two ledgers allow adds up, and neither knows of the other. A dataset is only read, so nothing can be written beside
it: the folders that were joined or checked are listed in the user's state folder. Folders of another user, of a
container or of another machine are not found.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json

LIST = "sites.json"


def neighbours(hospital: Hospital) -> list[Path]:
    """Folders that serve some of the same people and keep records of their own; this one is listed from now on."""
    listed = _listed()
    found = [folder for folder in folders_of_same_people(hospital) if open_hospital(folder).records != hospital.records]
    if hospital.folder not in listed:
        with contextlib.suppress(OSError):
            _path().parent.mkdir(parents=True, exist_ok=True)
            write_json(_path(), sorted(map(str, listed | {hospital.folder})))
    return found


def folders_of_same_people(hospital: Hospital) -> list[Path]:
    """Listed folders that serve some of the same people, whichever records they keep."""
    found = []
    for folder in _listed() - {hospital.folder}:
        with contextlib.suppress(UserError):  # it was deleted, or is not ready
            if _same_people(hospital, open_hospital(folder)):
                found.append(folder)
    return sorted(found)


def _same_people(one: Hospital, other: Hospital) -> bool:
    here, there = ((hospital.folder / hospital.config.data).resolve() for hospital in (one, other))
    if not here.is_relative_to(there) and not there.is_relative_to(here):
        return False
    owned = set(one.config.owns), set(other.config.owns)  # nothing: everybody
    return not all(owned) or bool(owned[0] & owned[1])


def _listed() -> set[Path]:
    try:
        return {Path(line) for line in json.loads(_path().read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):
        return set()


def _path() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")).expanduser() / "normfed" / LIST
