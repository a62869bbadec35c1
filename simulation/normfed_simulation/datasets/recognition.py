"""Folders that a person gives with --data: BIDS with sites as it is, or public datasets as they came, seen as BIDS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normfed_client.imaging.cache import default_root
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.foundation.files import is_utf8
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_simulation.datasets import view
from normfed_simulation.datasets.bids import Bids
from normfed_simulation.datasets.bids import Config as Columns
from normfed_simulation.datasets.catalogue import DATASETS, FOLDER, downloaded
from normfed_simulation.datasets.contents import together
from normfed_simulation.datasets.downloaded import Downloaded, listed

SITE = "site"  # the column of participants.tsv that a BIDS dataset needs to be read as it is


def as_bids(folder: Path, study: StudyConfig | None = None) -> Path:
    """The BIDS dataset to read for ``folder``: itself, or a view of it in the cache.

    Parameters
    ----------
    study
        Whose `data.dataset`, if any, says which dataset lies there.

    Raises
    ------
    DatasetError
        If the folder is none that anything knows, or lacks something; or it is a view whose source has moved.
    StudyError, PluginError
        If the study names a dataset that there is not, or sets a parameter wrongly.
    """
    sources = view.sources_of(folder)
    if sources:
        _check_there(folder, sources)
        return folder
    named = None if study is None else _named(study)
    if named is not None:
        return _viewed([_opened(*named, folder)])
    if not folder.is_dir() or _has_sites(folder):
        return folder
    found = recognised(folder)
    return folder if found is None else _viewed([found])


def together_as_bids(folders: Sequence[Path], study: StudyConfig) -> Path | None:
    """One BIDS dataset for all these folders, each a BIDS dataset or one as it came; None for no folder.

    The study's `data.dataset` says which dataset lies in those of several folders that look like it. Raises as
    `as_bids`; and if two folders have a person or a site of the same name, or one has a name that is not UTF-8.
    """
    for folder in folders:
        if not is_utf8(folder):
            raise DatasetError(f"{folder}: its path is not UTF-8, in which a run's files hold it. Rename it.")
    if len(folders) > 1:
        named = _named(study)
        return _viewed([_member(folder, named) for folder in folders])
    return as_bids(folders[0], study) if folders else None


def recognised(folder: Path) -> tuple[str, Downloaded] | None:
    """The dataset as it came that lies in a folder, by name, with its defaults; None for a BIDS dataset without one.

    Raises
    ------
    DatasetError
        If there is none, or there are several and only the user can say which.
    """
    _check_folder(folder)
    kinds = [name for name, kind in downloaded().items() if kind.recognises(folder)]
    if len(kinds) > 1:
        raise DatasetError(
            f"{folder}: may be any of {', '.join(kinds)}. Say which in the study, such as "
            f"data.dataset: {{name: {kinds[0]}}}."
        )
    if kinds:
        return _opened(kinds[0], {}, folder)
    table = folder / "participants.tsv"
    if table.exists() and not _has_sites(folder):
        return "bids", Bids(Columns(), 0, folder)  # which says what its table lacks
    if table.exists() or any(folder.glob("sub-*")):
        return None  # a BIDS dataset that lacks something, or scans alone: whoever reads it says what
    raise DatasetError(
        f"{table}: missing, and the folder is not laid out as any public dataset that is read as it comes "
        f"({', '.join(downloaded())}); found {listed(folder)}. Give the folder that `normfed datasets NAME` describes, "
        "or one that holds participants.tsv."
    )


def opened(name: str, folder: Path) -> Downloaded:
    """The dataset of that name in a folder, with its defaults.

    Raises
    ------
    StudyError, PluginError
        If none is called so, or it is made and not read.
    DatasetError
        If there is no folder.
    """
    if not issubclass(DATASETS[name], Downloaded):
        raise StudyError(f"{name} is made on this machine, so there is no folder to check.")
    return _opened(name, {}, folder)[1]


def _named(study: StudyConfig) -> tuple[str, dict[str, Any]] | None:
    """The dataset that the study says lies where --data points, and its parameters; None for one that is made."""
    entry = study.data.made
    if entry is None:
        return None
    kind, values = DATASETS.chosen(entry, "data.dataset")
    return (str(entry["name"]), values) if issubclass(kind, Downloaded) else None


def _opened(name: str, values: dict[str, Any], folder: Path) -> tuple[str, Downloaded]:
    _check_folder(folder)
    kind = downloaded()[name]
    return name, kind(validate(kind.Config, values, f"data.dataset {name}", f"a parameter of {name}"), 0, folder)


def _member(folder: Path, named: tuple[str, dict[str, Any]] | None) -> tuple[str, Downloaded]:
    """One of several datasets."""
    if named is not None and folder.is_dir() and downloaded()[named[0]].recognises(folder):
        return _opened(*named, folder)
    if _has_sites(folder):
        return "bids", Bids(Columns(column=SITE), 0, folder)
    found = recognised(folder)
    if found is None:
        raise DatasetError(f"{folder / 'participants.tsv'}: has no column that tells sites. Add the column site.")
    return found


def _viewed(members: Sequence[tuple[str, Downloaded]]) -> Path:
    only = members[0][1]
    contents = only.contents if len(members) == 1 else together([dataset.found for _, dataset in members])
    root = default_root() / FOLDER / "+".join(name for name, _ in members) / view.digest(contents)
    if not only.written(root):
        view.write(root, contents, "; ".join(dataset.title for _, dataset in members))
    return root


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        found = "is a file" if folder.is_file() else "no such folder"
        raise DatasetError(f"{folder}: {found}. Give the folder of the dataset.")


def _check_there(folder: Path, sources: Sequence[Path]) -> None:
    gone = next((source for source in sources if not source.is_dir()), None)
    if gone is not None:
        raise DatasetError(
            f"{gone}: no such folder, though {folder} is a view of it by links. Put it back, or say where it is now "
            "with --data DIR."
        )


def _has_sites(folder: Path) -> bool:
    """Whether a participants.tsv has the column that a federation needs."""
    try:
        with open(folder / "participants.tsv", encoding="utf-8-sig") as file:
            return SITE in file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return False  # whoever reads it says why
