"""Who is to be scored: the people of scans, folders and datasets that somebody named, and who of them cannot be.

File names alone decide; nothing is opened but headers, where a mask's name does not say on which scan it lies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from normfed_client.imaging.bids import Dataset, Problem, Visit, read_dataset
from normfed_client.imaging.preprocessing import missing_modalities
from normfed_client.scoring import loose
from normfed_client.scoring.asked import Asked, Gathered
from normfed_client.scoring.file_names import NIFTI, FileName, file_name, label_of, stem_of
from normfed_client.scoring.masks import give_masks
from normfed_client.scoring.rows import FAILED, PersonScore
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.data import DataConfig

PARTICIPANTS = "participants.tsv"


def gather(
    inputs: Sequence[Path], modalities: Mapping[str, Path], brain_masks: Sequence[Path], data: DataConfig
) -> Gathered:
    """Everybody whom scans, folders of scans and BIDS datasets are of.

    Parameters
    ----------
    modalities
        Scans of one person whose names need say nothing, by modality.
    brain_masks
        Of one person, or of several by their names.
    data
        Of the study: which modalities there are, and which are needed.

    Raises
    ------
    DatasetError
        If there is no such file or folder, nothing in it is a scan, or a mask or modality cannot be anybody's.
    """
    found = Gathered([], [], [])
    files: list[Path] = []
    for path in map(_absolute, inputs):
        if path.is_dir():
            files += _folder(path, found)
        elif not path.exists() and not NIFTI.search(path.name):
            raise DatasetError(f"{path}: no such file or folder. Give scans (.nii.gz), folders or BIDS datasets.")
        elif not os.path.lexists(path):  # links to nowhere, as of git-annex, are said by whoever opens them
            found.refused.append(_refused(path, "no such file. Check its name and folder."))
        else:
            files.append(path)
    _add_files(list(dict.fromkeys(files)), found)
    if modalities:
        _add_modalities({m: _absolute(path) for m, path in modalities.items()}, found, data)
    if not found.asked and not found.refused:
        what = ", ".join(map(str, inputs)) or "nothing"
        raise DatasetError(f"{what}: no scans found. Names of scans end in _T1w.nii.gz, _FLAIR.nii.gz and the like.")
    give_masks(list(map(_absolute, brain_masks)), found)
    _keep_what_can_be_scored(found, data)
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # absolute() would keep ..


def _dataset_of(path: Path) -> Path | None:
    return next((folder for folder in (path, *path.parents) if (folder / PARTICIPANTS).exists()), None)


def _dataset(root: Path, found: Gathered) -> Dataset:
    """What is in a dataset; nothing of one that is not as we need it, whose scans then count by their names."""
    try:
        return read_dataset(root)
    except DatasetError as error:
        why = str(error).removeprefix(f"{root}: ")
        note = Problem(str(root), f"{why} Its scans are taken by their names, without ages and sexes.")
        if note not in found.notes:
            found.notes.append(note)
        return Dataset(root, (), ())


def _folder(folder: Path, found: Gathered) -> list[Path]:
    """Add the visits of a dataset that lie in a folder; returns files that are to be taken by their names."""
    root = _dataset_of(folder)
    dataset = None if root is None else _dataset(root, found)
    visits = dataset.visits if dataset else ()
    mine = [(visit, [path for path in visit.images.values() if folder in path.parents]) for visit in visits]
    found.asked += [Asked(visit, tuple(paths), root) for visit, paths in mine if paths]
    names = {visit.name for visit, paths in mine if paths}
    found.notes += [one for one in (dataset.problems if dataset else ()) if folder == root or one.what in names]
    of_dataset = {path for visit in visits for path in visit.images.values()}
    people = {visit.participant.subject for visit in visits}
    unlisted = [path for path in loose.below(folder) if path not in of_dataset]
    return [path for path in unlisted if _person(path) not in people]


def _person(path: Path) -> str:
    name = file_name(path)
    return "" if name is None else name.person


def _add_files(files: Sequence[Path], found: Gathered) -> None:
    """Add the visits of single files: as their dataset has them where they lie in one, else by their names."""
    datasets: dict[Path, dict[Path, Visit]] = {}
    named: dict[str, tuple[Path, Visit, list[Path]]] = {}
    problems: dict[Path, tuple[Problem, ...]] = {}
    others = []
    for path in files:
        root = _dataset_of(path)
        if root is not None and root not in datasets:
            dataset = _dataset(root, found)
            datasets[root] = {image: visit for visit in dataset.visits for image in visit.images.values()}
            problems[root] = dataset.problems
        visit = None if root is None else datasets[root].get(path)
        if root is None or visit is None:
            others.append(path)
        else:
            named.setdefault(f"{root}/{visit.name}", (root, visit, []))[2].append(path)
    found.asked += [Asked(visit, tuple(paths), root) for root, visit, paths in named.values()]
    found.notes += [one for root, visit, _ in named.values() for one in problems[root] if one.what == visit.name]
    _add_loose(others, found)


def _refused(path: Path, why: str) -> PersonScore:
    return PersonScore(label_of(NIFTI.sub("", path.name)), None, FAILED, f"{path}: {why}", sources=(path.name,))


def _add_loose(files: Sequence[Path], found: Gathered) -> None:
    for path in files:
        if file_name(path) is None:
            why = "the name does not say the modality; expected it to end in _T1w.nii.gz, _FLAIR.nii.gz and the like"
            found.refused.append(_refused(path, f"{why}. Rename it, or give it with --t1w, --flair, ..."))
    surroundings = loose.Surroundings()
    for (person, session), group in loose.groups(files).items():
        named = tuple(group.images.values())
        if group.second is None:
            for path in named:
                group.add_from_beside(surroundings.of(path))
        asked = Asked(loose.visit_of(group, person, session), named)
        if group.second is not None:
            path, modality = group.second
            why = f"{path}: a second {modality} of {asked.visit.name}, beside {group.images[modality]}"
            found.refused.append(asked.failed(f"{why}. Give one of the two."))
        else:
            found.asked.append(asked)


def _add_modalities(given: Mapping[str, Path], found: Gathered, data: DataConfig) -> None:
    """Add scans whose modality was said to the only person, or make one of them."""
    unknown = [modality for modality in given if modality not in data.modalities]
    if unknown:
        raise DatasetError(f"The run's study has no {unknown[0]}: its modalities are {', '.join(data.modalities)}.")
    if found.refused or len(found.asked) > 1:
        people = ", ".join(sorted({row.name for row in found.refused} | {asked.visit.name for asked in found.asked}))
        raise DatasetError(f"Scans by modality (--t1w, --flair, ...) are of one person, and {people} are given.")
    group = loose.Group(names={}, images=dict(given))
    for modality, path in given.items():
        name = file_name(path)
        if name and name.modality and name.modality != modality:
            says = f"given as {modality}, and its name says {name.modality}"
            raise DatasetError(f"{path}: {says}. Give it as that, or rename it.")
        group.names[modality] = name or FileName(stem_of(path), None, modality, {})
    if found.asked:
        (asked,) = found.asked
        images = {**asked.visit.images, **given}
        found.asked = [replace(asked, visit=replace(asked.visit, images=images), named=(*asked.named, *given.values()))]
        return
    first = next(iter(group.names.values()))
    surroundings = loose.Surroundings()
    for path in given.values():
        group.masks += [mask for mask in surroundings.of(path) if _is_mask_of(mask, path)]
    found.asked = [Asked(loose.visit_of(group, first.person, first.session), tuple(given.values()))]


def _is_mask_of(mask: Path, scan: Path) -> bool:
    name, whose = file_name(mask), file_name(scan)
    return name is not None and name.modality is None and name.person == (whose.person if whose else stem_of(scan))


def _keep_what_can_be_scored(found: Gathered, data: DataConfig) -> None:
    """Refuse who lacks a modality or has the name of somebody before; sorts the others by name."""
    kept: dict[str, Asked] = {}
    for asked in sorted(
        found.asked, key=lambda asked: (asked.participant_id, asked.session or "", str(asked.named[0]))
    ):
        missing = missing_modalities(asked.visit, data.required)
        name = "_".join(filter(None, (asked.participant_id, asked.session)))
        if missing:
            found.refused.append(asked.failed(_incomplete(asked.visit, missing, data.required)))
        elif name in kept:
            other = kept[name].named[0]
            why = f"{asked.named[0]} would be {name}, as {other} is. Rename one, or score it into another folder."
            found.refused.append(asked.failed(why))
        else:
            kept[name] = asked
            found.notes += _of_another(asked, data)
    found.asked = list(kept.values())


def _of_another(asked: Asked, data: DataConfig) -> list[Problem]:
    """That the model looks at none of the scans that were named, but at others of the same visit."""
    named = {modality for modality, path in asked.visit.images.items() if path in asked.named}
    if not named or named & set(data.modalities):
        return []
    seen = [modality for modality in data.modalities if modality in asked.visit.images]
    why = (
        f"the model does not look at {', '.join(sorted(named))}, which was given, but at the person's "
        f"{', '.join(seen)} beside it: the map is of {', '.join(asked.visit.images[one].name for one in seen)}"
    )
    return [Problem(asked.visit.name, why)]


def _incomplete(visit: Visit, missing: Sequence[str], required: Sequence[str]) -> str:
    needs = f"{visit.name}: the model needs {', '.join(required)}"
    if visit.participant.site:  # as its dataset has it, not by the names of the files that were given
        return f"{needs}, and the dataset {visit.lacks(missing)}."
    name, there = f"{visit.name}_{missing[0]}.nii.gz", ", ".join(sorted(visit.images))
    lacking = f"{', '.join(missing)} is missing, and there is {there}"
    return f"{needs}; {lacking}. Give the files of one person together, here {name} as well."
