"""Read a BIDS dataset: who there is, which scans and masks each person has, and what is left out and why.

`participants.tsv` gives site, age, sex, group, and perhaps scanner, which `sub-01/sub-01_sessions.tsv` may give of a
visit. Masks come from any folder of `derivatives`: `desc-brain_mask` is the brain, `label-X_mask` the lesions of kind
X, `desc-lesions_dseg` those of several kinds (see `labels`); `space-T1w`, `space-FLAIR`, ... says on which image's grid
they lie.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normfed_client.imaging import labels
from normfed_client.imaging.dataset_files import Files, beside, check_ends, files
from normfed_client.imaging.near_matches import NearMatch, instead, near_matches, place_of
from normfed_client.imaging.participants import Participant, read_participants
from normfed_client.imaging.scanners import scanners_of_sessions
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.modalities import MAPS
from normfed_common.wording.terminal_text import printable

TISSUE = ("GM", "WM", "CSF", "brain", "head")
TEMPLATE_SPACE = "MNI152"  # any of its versions counts as registered


@dataclass(frozen=True)
class Mask:
    """A mask file and the modality on whose grid it lies.

    Parameters
    ----------
    values
        The numbers in the file that are meant; all above 0 when absent.
    """

    path: Path
    modality: str
    label: str
    values: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Visit:
    """One person's scans of one session.

    Parameters
    ----------
    ignored
        Masks of what is neither lesion nor normal, and is not evaluated.
    """

    participant: Participant
    session: str | None
    images: dict[str, Path]
    brain: Mask | None = None
    lesions: tuple[Mask, ...] = ()
    in_template_space: bool = False
    near: tuple[NearMatch, ...] = ()
    ignored: tuple[Mask, ...] = ()

    @property
    def masks(self) -> tuple[Mask, ...]:
        """All of them."""
        return (*self.lesions, *self.ignored, *([self.brain] if self.brain else []))

    @property
    def name(self) -> str:
        """sub-01 or sub-01_ses-02."""
        return _name(self.participant.subject, self.session)

    def lacks(self, modalities: Sequence[str]) -> str:
        """`has no FLAIR (expected ...)`: where each of these modalities was expected, and what there is that is nearly
        one."""
        return "has " + " and ".join(f"no {modality} ({self._expected(modality)})" for modality in modalities)

    def nearly_has(self) -> list[str]:
        """Modalities that the visit lacks, and of which it has a file that is nearly a scan."""
        return sorted({match.modality for match in self.near if not match.broken} - self.images.keys())

    def _expected(self, modality: str) -> str:
        session = (f"ses-{self.session}",) if self.session else ()
        kind, ending = place_of(modality)
        top = ("derivatives", "*") if modality in MAPS else ()
        folder = Path(*top, self.participant.subject, *session, kind)
        said = f"expected {folder / f'{self.name}_{ending}.nii.gz'}"
        return said + instead([near for near in self.near if near.modality == modality], self.name)


@dataclass(frozen=True)
class Problem:
    """Something left out, and why: a line of text each, whatever a file's name holds."""

    what: str
    why: str

    def __post_init__(self) -> None:
        for name in ("what", "why"):
            object.__setattr__(self, name, printable(getattr(self, name)).replace("\n", "\\n"))


@dataclass(frozen=True)
class Dataset:
    """Everything found."""

    root: Path
    visits: tuple[Visit, ...]
    problems: tuple[Problem, ...]

    def sites(self) -> dict[str, list[Visit]]:
        """Visits per site, in the order of their names."""
        found: dict[str, list[Visit]] = defaultdict(list)
        for visit in self.visits:
            found[visit.participant.site].append(visit)
        return dict(sorted(found.items()))

    def at(self, sites: Container[str]) -> Dataset:
        """These sites alone: their visits, and no problem of anybody who is known to be at another."""
        here = tuple(visit for visit in self.visits if visit.participant.site in sites)
        elsewhere = {visit.participant.subject for visit in self.visits if visit.participant.site not in sites}
        problems = [problem for problem in self.problems if problem.what.partition("_ses-")[0] not in elsewhere]
        return Dataset(self.root, here, tuple(problems))


def read_dataset(root: Path, without: Container[str] = ()) -> Dataset:
    """Index a dataset by its names; no scan is opened but to settle which grid a mask is on.

    Parameters
    ----------
    without
        People who are as if they were not there: no file of theirs is looked at.

    Raises
    ------
    DatasetError
        If there is no dataset at ``root``, or its participants.tsv cannot be used.
    """
    if not root.is_dir():
        what = "is a file" if root.is_file() else "no such folder"
        raise DatasetError(f"{root}: {what}. Give the folder that holds participants.tsv.")
    check_ends(root)
    participants = {
        name: who for name, who in read_participants(root / "participants.tsv").items() if name not in without
    }
    problems: list[Problem] = []
    visits: list[Visit] = []
    seen: set[str] = set()
    scanners: dict[str, dict[str, str]] = {}
    there = files(root)
    near = near_matches(root, {path for found in there.values() for path in found.scans()})
    for (subject, session), found in sorted(there.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        if subject in without:
            continue
        participant = participants.get(subject)
        name = _name(subject, session)
        if participant is None:
            problems.append(Problem(name, "not listed in participants.tsv"))
            continue
        seen.add(subject)
        whose = near[subject, session] + (near[subject, None] if session else [])
        if session and subject not in scanners:
            scanners[subject] = scanners_of_sessions(root, subject)
        if session in scanners.get(subject, {}):
            participant = replace(participant, scanner=scanners[subject][session])
        visit = replace(_visit(participant, session, found, problems, root), near=tuple(whose))
        problems += [
            Problem(name, f"{path.name} is a broken link: get the file that it points to") for path in found.broken
        ]
        if visit.images:
            visits.append(visit)
        else:
            problems.append(Problem(name, f"no T1w, T2w, FLAIR or pet image{instead(whose, name)}"))
    for subject in participants:
        if subject not in seen:
            whose = [match for (person, _), matches in near.items() if person == subject for match in matches]
            problems.append(Problem(subject, f"in participants.tsv, but has no files{instead(whose, subject)}"))
    if not visits:
        unlisted = sorted({subject for subject, _ in there if subject not in without} - participants.keys())
        if unlisted:
            raise DatasetError(
                f"{root}: nobody who has scans is listed in participants.tsv, such as {unlisted[0]}. List everybody "
                "there, by the names of their folders."
            )
        broken = [path for found in there.values() for path in found.broken]
        if broken:
            raise DatasetError(
                f"{root}: all scans are links to files that are not there, such as {broken[0].relative_to(root)}. Get "
                f"the files (datalad get, git annex get), at least of `anat`."
            )
        example = instead([match for matches in near.values() for match in matches], "sub-")
        raise DatasetError(
            f"{root}: no scans found (expected sub-*/[ses-*/]anat/sub-*_T1w.nii.gz and the like{example}). Rename them "
            "as BIDS has it, or give the folder above them."
        )
    return Dataset(root, tuple(visits), tuple(problems))


def people_without(visits: Iterable[Visit], modalities: Iterable[str]) -> dict[str, int]:
    """Modality to how many people have a visit without it; those that everybody has at every visit are left out."""
    visits = list(visits)
    lacking = {m: {visit.participant.subject for visit in visits if m not in visit.images} for m in sorted(modalities)}
    return {modality: len(people) for modality, people in lacking.items() if people}


def _name(subject: str, session: str | None) -> str:
    return subject + (f"_ses-{session}" if session else "")


def _visit(participant: Participant, session: str | None, found: Files, problems: list[Problem], root: Path) -> Visit:
    name = participant.subject + (f"_ses-{session}" if session else "")
    images: dict[str, Path] = {}
    for modality, paths in found.images.items():
        images[modality] = paths[0]
        if len(paths) > 1:
            problems.append(Problem(name, f"{len(paths)} images of {modality}; the first is used, {paths[0].name}"))
    spaces = found.spaces | _add_maps(images, found, name, problems)
    brain: Mask | None = None
    masks: list[Mask] = []
    for path, entities, suffix in found.masks:
        label = entities.get("label", "")
        several = suffix == "dseg" and entities.get("desc") == labels.DESCRIPTION
        if (suffix == "dseg" and not several) or (label in TISSUE and entities.get("desc") != "brain"):
            continue
        grid = grid_of(path, entities, images, spaces)
        if grid is None:
            problems.append(Problem(name, f"{path.name} lies on no scan's grid (space-{entities.get('space', '?')})"))
        elif entities.get("desc") == "brain":
            if brain is None or brain.modality in MAPS:  # of a finer scan, if there is one
                brain = Mask(path, grid, "brain")
        elif several:
            try:
                masks += [Mask(path, grid, kind, values) for kind, values in labels.names(path, root).items()]
            except ValueError as error:
                problems.append(Problem(name, f"{path.name} {error}: it is left out"))
        elif label:
            masks.append(Mask(path, grid, label))
    registered = bool(spaces) and _in_template_space(spaces)
    lesions = tuple(mask for mask in masks if mask.label != labels.IGNORED)
    ignored = tuple(mask for mask in masks if mask.label == labels.IGNORED)
    return Visit(participant, session, images, brain, lesions, registered, ignored=ignored)


def _add_maps(images: dict[str, Path], found: Files, name: str, problems: list[Problem]) -> dict[str, str]:
    """Add to the images of a visit its maps of the diffusion tensor, and return their spaces."""
    registered = _in_template_space(found.spaces) if found.spaces else None
    spaces: dict[str, str] = {}
    for parameter, maps in found.maps.items():
        here = beside(maps, registered, TEMPLATE_SPACE)
        if not here:
            why = f"{maps[0][1].name} is in {maps[0][0]}, and the other scans are not: left out"
            problems.append(Problem(name, f"{why}. Write the map in the space of the scanner or of the T1w"))
            continue
        spaces[parameter], images[parameter] = here[0]
        if len(here) > 1:
            problems.append(Problem(name, f"{len(here)} maps of {parameter}; the first is used, {here[0][1].name}"))
    return spaces


def _in_template_space(spaces: Mapping[str, str]) -> bool:
    return all(space.startswith(TEMPLATE_SPACE) for space in spaces.values())


def grid_of(path: Path, entities: dict[str, str], images: dict[str, Path], spaces: dict[str, str]) -> str | None:
    """The modality on whose grid a mask lies: by name where it says so, else by comparing headers."""
    space = entities.get("space", "")
    if space in images:
        return space
    contrast = [modality for modality in images if modality.endswith(f"_{space}")]
    if space and contrast:
        return contrast[0]
    from normfed_client.imaging.nifti import same_grid

    named = [modality for modality in images if space and spaces[modality] == space]
    if named and (named[0] not in MAPS or same_grid(path, images[named[0]])):  # T1w and maps share names of spaces
        return named[0]
    return next((modality for modality, image in images.items() if same_grid(path, image)), None)
