"""The files of a BIDS dataset by person and visit, as their names alone tell.

Scans lie in the dataset itself; masks, and maps of the diffusion tensor, in it or in any folder of `derivatives`. Maps
are named as BIDS has them (extension proposal 16), and QSIRecon writes them:
``sub-01_space-T1w_model-tensor_param-FA_dwimap.nii.gz``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normfed_client.imaging.near_matches import Visited
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.modalities import CONTRASTS, MAPS

MAP = "dwimap"  # the suffix of maps


@dataclass
class Files:
    """Files of one person at one visit, as they are collected."""

    images: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    maps: dict[str, list[tuple[str, Path]]] = field(default_factory=lambda: defaultdict(list))  # each with its space
    masks: list[tuple[Path, dict[str, str], str]] = field(default_factory=list)
    spaces: dict[str, str] = field(default_factory=dict)
    broken: list[Path] = field(default_factory=list)

    def scans(self) -> list[Path]:
        """All that can be looked at."""
        return [path for paths in self.images.values() for path in paths] + [
            path for maps in self.maps.values() for _, path in maps
        ]


def parameter_of(entities: Mapping[str, str]) -> str | None:
    """FA or MD, by a file's entities; None of any other map."""
    name = entities.get("param", "").upper()
    return name if name in MAPS else None


def beside(maps: Sequence[tuple[str, Path]], in_template_space: bool | None, template: str) -> list[tuple[str, Path]]:
    """Maps of one parameter, each with its space, that lie where the person's other scans do.

    Parameters
    ----------
    in_template_space
        Whether the other scans do; None where there are none.
    template
        How the names of the template's spaces begin.
    """
    there = [one for one in maps if one[0].startswith(template)]
    if in_template_space is None:
        return there or list(maps)
    return there if in_template_space and there else [one for one in maps if one not in there]


def check_ends(root: Path) -> None:
    """Refuse what has no end: links that lead back, for whoever lists them, and pipes, for whoever reads them.

    Raises
    ------
    DatasetError
        If there is such a link, or something that is neither a file nor a folder.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(str(root), (os.path.realpath(root),))]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                there = list(entries)
            inside = [entry for entry in there if entry.is_dir()]
            odd = [entry for entry in there if _is_odd(entry)]
        except OSError:  # whoever reads it says why
            continue
        if odd:
            raise DatasetError(f"{odd[0].path}: is neither a file nor a folder, but a pipe or a device. Remove it.")
        for entry in inside:
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if real in above:
                raise DatasetError(f"{entry.path}: is a link to {real}, which it lies in. Remove the link.")
            waiting.append((entry.path, (*above, real)))


def _is_odd(entry: os.DirEntry[str]) -> bool:
    """Neither a file nor a folder, nor a broken link, which is said of its scan; hidden are sockets of editors."""
    return not (entry.is_file() or entry.is_dir() or entry.name.startswith(".")) and os.path.exists(entry.path)


def files(root: Path) -> dict[Visited, Files]:
    """By person and session.

    A mask without a session belongs to every visit of its person, a map without one to the only visit.
    """
    import ancpbids

    found: dict[Visited, Files] = defaultdict(Files)
    for entities, suffix, path in _artifacts(ancpbids.load_dataset(str(root)), root):
        derived = "derivatives" in path.relative_to(root).parts
        parameter = parameter_of(entities) if suffix == MAP else None
        if (suffix == MAP and parameter is None) or (suffix in CONTRASTS and derived):
            continue  # another map, or a scan that another program has changed
        key = (f"sub-{entities['sub']}", entities.get("ses"))
        if not path.exists():
            found[key].broken.append(path)
        elif parameter is not None:
            found[key].maps[parameter].append((entities.get("space", ""), path))
        elif suffix in CONTRASTS:
            modality = f"ce-{entities['ce']}_{suffix}" if "ce" in entities else suffix
            found[key].images[modality].append(path)
            found[key].spaces[modality] = entities.get("space", "")
        else:
            found[key].masks.append((path, entities, suffix))
    for subject, session in [key for key in found if key[1] is None]:
        visits = [key for key in found if key[0] == subject and key[1] is not None]
        if not found[subject, session].images and visits:
            orphan = found.pop((subject, session))
            for key in visits:
                found[key].masks += orphan.masks
                found[key].broken += orphan.broken
            if len(visits) == 1:  # of several nobody can say at which the map was taken
                for parameter, maps in orphan.maps.items():
                    found[visits[0]].maps[parameter] += maps
    return found


def _artifacts(dataset: Any, root: Path) -> list[tuple[dict[str, str], str, Path]]:
    artifacts = []
    for item in dataset.query(return_type="object", suffix=[*CONTRASTS, MAP, "mask", "dseg"]):
        if str(item.extension) in (".nii", ".nii.gz") and "sub" in item.entities:
            artifacts.append((dict(item.entities), str(item.suffix), Path(item.get_absolute_path())))
    return sorted(artifacts, key=lambda artifact: str(artifact[2]))
