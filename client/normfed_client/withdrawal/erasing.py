"""Files of a hospital's folder that are erased, and what of a run never is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from normfed_client.hospital.asked import FILE as ASKED
from normfed_client.hospital.custody import MEMBERS
from normfed_client.hospital.folder import MARK, Hospital

# Who takes part (keyed digests) and how long record and ledger were then: an old copy of either shows by them. What was
# asked, and which list of survivors was signed: a run that comes back gets no second answer by having been erased.
ACCOUNTS = (MEMBERS, MARK, ASKED, "secure")
OF_RUN = ("outbox", "checkpoints", "state")


@dataclass(frozen=True)
class Erased:
    """What is erased of one kind.

    Parameters
    ----------
    what
        In words.
    files
        Files, or folders that go as a whole.
    """

    what: str
    files: tuple[Path, ...]


def files_below(*folders: Path) -> list[Path]:
    """All files of some folders, of which each may be missing, or a file itself."""
    found: list[Path] = []
    for folder in folders:
        found += [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if not path.is_dir())
    return found


def runs(hospital: Hospital) -> list[str]:
    """Of which anything is kept."""
    return sorted({path.name for top in OF_RUN for path in (hospital.folder / top).glob("*") if path.is_dir()})


def of_run(hospital: Hospital, run: str) -> list[Path]:
    """Files that are kept of a run, but for its accounts."""
    state = hospital.state / run
    kept = [path for path in files_below(state) if path.relative_to(state).parts[0] not in ACCOUNTS]
    return files_below(hospital.outbox(run), hospital.checkpoints(run)) + kept


def erase(hospital: Hospital, paths: Iterable[Path]) -> None:
    """Erase files and folders, and the folders that are empty then; what is gone already is no error."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            aside = path.with_name(f".gone-{path.name}")  # at once: nobody finds half of it
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        _erase_empty(hospital, path.parent)


def _erase_empty(hospital: Hospital, folder: Path) -> None:
    """Folders of runs that hold nothing any more; the hospital's own stay."""
    tops = {hospital.folder / top for top in OF_RUN}
    while tops & set(folder.parents):
        try:
            folder.rmdir()
        except OSError:  # something is in it
            return
        folder = folder.parent
