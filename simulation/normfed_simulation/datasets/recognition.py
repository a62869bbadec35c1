"""A folder that a person gives with --data: BIDS with sites as it is, or a public dataset as it came, seen as BIDS."""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.cache import default_root
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_simulation.datasets import view
from normfed_simulation.datasets.catalogue import DATASETS, FOLDER, downloaded, place_of
from normfed_simulation.datasets.downloaded import Downloaded, listed


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
    source = view.source_of(folder)
    if source is not None:
        if not source.is_dir():
            raise DatasetError(
                f"{source}: no such folder, though {folder} is a view of it by links. Put it back, or say where it is "
                "now with --data DIR."
            )
        return folder
    named = None if study is None else _named(study, folder)
    if named is not None:
        return _viewed(*named)
    if not folder.is_dir() or _has_sites(folder):
        return folder
    found = recognised(folder)
    if found is None:
        return folder
    name, dataset = found
    return _viewed(dataset, Path(FOLDER, name, dataset.digest()))


def recognised(folder: Path) -> tuple[str, Downloaded] | None:
    """The dataset as it came that lies in a folder, by name, with its defaults; None for a BIDS dataset without one.

    Raises
    ------
    DatasetError
        If there is none, or there are several and only the user can say which.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Give the folder of the dataset.")
    kinds = {name: kind for name, kind in downloaded().items() if kind.recognises(folder)}
    if len(kinds) > 1:
        raise DatasetError(
            f"{folder}: may be any of {', '.join(kinds)}. Say which in the study, such as "
            f"data.dataset: {{name: {next(iter(kinds))}}}."
        )
    for name, kind in kinds.items():
        return name, kind(validate(kind.Config, {}, f"data.dataset {name}", f"a parameter of {name}"), 0, folder)
    table = folder / "participants.tsv"
    if table.exists() or any(folder.glob("sub-*")):
        return None  # a BIDS dataset that lacks something: whoever reads it says what
    raise DatasetError(
        f"{table}: missing, and the folder is not laid out as any public dataset that is read as it comes "
        f"({', '.join(downloaded())}); found {listed(folder)}. Give the folder that `normfed datasets NAME` describes, "
        "or one that holds participants.tsv."
    )


def _named(study: StudyConfig, folder: Path) -> tuple[Downloaded, Path] | None:
    entry = study.data.made
    if entry is None or not issubclass(DATASETS.chosen(entry, "data.dataset")[0], Downloaded):
        return None
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Give the folder of the dataset.")
    found = place_of(study, folder)
    return None if found is None or not isinstance(found[0], Downloaded) else (found[0], found[1])


def _viewed(dataset: Downloaded, place: Path) -> Path:
    root = default_root() / place
    if not dataset.written(root):
        dataset.write(root, 0, lambda _: None)
    return root


def _has_sites(folder: Path) -> bool:
    """Whether a participants.tsv has the column that a federation needs."""
    try:
        with open(folder / "participants.tsv", encoding="utf-8-sig") as file:
            return "site" in file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return False  # whoever reads it says why
