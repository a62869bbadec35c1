"""Read a BIDS dataset: who there is, which scans and masks each person has, and what is left out and why.

`participants.tsv` gives site, age, sex, group, and perhaps scanner, which `sub-01/sub-01_sessions.tsv` may give of a
visit. Masks come from any folder of `derivatives`: `desc-brain_mask` is the brain, `label-X_mask` the lesions of kind
X, `desc-lesions_dseg` those of several kinds (see `labels`); `space-T1w`, `space-FLAIR`, ... says on which image's grid
they lie.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from normfed_client.imaging import labels
from normfed_client.imaging.near_matches import NearMatch, Visited, instead, near_matches
from normfed_client.imaging.scanners import MISSING, scanner_of, scanners_of_sessions
from normfed_common.foundation.errors import DatasetError
from normfed_common.learning.cohort import Sex
from normfed_common.wording.terminal_text import printable, some

SUFFIXES = ("T1w", "T2w", "FLAIR", "pet")
TISSUE = ("GM", "WM", "CSF", "brain", "head")
TEMPLATE_SPACE = "MNI152"  # any of its versions counts as registered
MAXIMUM_AGE = 120
SEXES: dict[str, Sex] = {"f": "F", "female": "F", "m": "M", "male": "M"}


@dataclass(frozen=True)
class Participant:
    """A row of participants.tsv.

    Parameters
    ----------
    scanner
        As the site calls it, sessions.tsv before participants.tsv; None where neither says: then the site counts as one
        scanner.
    """

    subject: str
    site: str
    group: str
    age: float | None = None
    sex: Sex | None = None
    scanner: str | None = None


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
        folder = Path(self.participant.subject, *session, "pet" if modality == "pet" else "anat")
        said = f"expected {folder / f'{self.name}_{modality}.nii.gz'}"
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


@dataclass
class _Found:
    """Files of one person at one visit, as they are collected."""

    images: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    masks: list[tuple[Path, dict[str, str], str]] = field(default_factory=list)
    spaces: dict[str, str] = field(default_factory=dict)
    broken: list[Path] = field(default_factory=list)


def read_dataset(root: Path) -> Dataset:
    """Index a dataset by its names; no scan is opened but to settle which grid a mask is on.

    Raises
    ------
    DatasetError
        If there is no dataset at ``root``, or its participants.tsv cannot be used.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder. Give the folder that holds participants.tsv.")
    participants = _participants(root / "participants.tsv")
    problems: list[Problem] = []
    visits: list[Visit] = []
    seen: set[str] = set()
    scanners: dict[str, dict[str, str]] = {}
    _check_ends(root)
    files = _files(root)
    near = near_matches(root, {path for found in files.values() for paths in found.images.values() for path in paths})
    for (subject, session), found in sorted(files.items(), key=lambda item: (item[0][0], item[0][1] or "")):
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
        unlisted = sorted({subject for subject, _ in files} - participants.keys())
        if unlisted:
            raise DatasetError(
                f"{root}: nobody who has scans is listed in participants.tsv, such as {unlisted[0]}. List everybody "
                "there, by the names of their folders."
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


def _participants(path: Path) -> dict[str, Participant]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: missing. It says which person belongs to which site (columns participant_id, site)."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as UTF-8 text ({error}). Save it again as tab-separated UTF-8."
        ) from error
    columns = set(rows[0]) if rows else set(text.split("\n")[0].split("\t"))
    for column in ("participant_id", "site"):
        if column not in columns:
            raise DatasetError(
                f"{path}: has no column {column!r}; found {some(sorted(map(str, columns)))}. Is it tab-separated?"
            )
    if not rows:
        raise DatasetError(f"{path}: lists nobody.")
    found: dict[str, Participant] = {}
    for number, row in enumerate(rows, start=2):
        participant = _participant(row, path, number)
        if participant.subject in found:
            raise DatasetError(
                f"{path}, line {number}: {participant.subject} is listed twice. Keep one of the two lines."
            )
        found[participant.subject] = participant
    return found


def _participant(row: dict[str, str], path: Path, number: int) -> Participant:
    subject, site = (row.get("participant_id") or "").strip(), (row.get("site") or "").strip()
    if not subject.startswith("sub-"):
        raise DatasetError(f"{path}, line {number}: participant_id {subject!r} does not begin with sub-.")
    if site in MISSING:
        raise DatasetError(f"{path}, line {number}: {subject} has no site. Fill in the column site.")
    raw_age = (row.get("age") or "").strip()
    try:
        age = None if raw_age in MISSING else float(raw_age.rstrip("+"))
    except ValueError as error:
        raise DatasetError(f"{path}, line {number}: age {raw_age!r} of {subject} is not a number of years.") from error
    if age is not None and not 0 <= age <= MAXIMUM_AGE:
        raise DatasetError(f"{path}, line {number}: age {raw_age} of {subject} is outside 0 to {MAXIMUM_AGE} years.")
    sex = SEXES.get((row.get("sex") or "").strip().lower())
    group = (row.get("group") or "").strip()
    scanner = scanner_of(row, path, number)
    return Participant(subject, site, "" if group in MISSING else group, age, sex, scanner)


def _name(subject: str, session: str | None) -> str:
    return subject + (f"_ses-{session}" if session else "")


def _check_ends(root: Path) -> None:
    """Refuse folders without an end: whoever lists two links that lead back lists them for ever.

    Raises
    ------
    DatasetError
        If there is such a link.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(str(root), (os.path.realpath(root),))]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = [entry for entry in entries if entry.is_dir()]
        except OSError:  # whoever reads it says why
            continue
        for entry in inside:
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if real in above:
                raise DatasetError(f"{entry.path}: is a link to {real}, which it lies in. Remove the link.")
            waiting.append((entry.path, (*above, real)))


def _files(root: Path) -> dict[Visited, _Found]:
    import ancpbids

    found: dict[Visited, _Found] = defaultdict(_Found)
    for artifact in _artifacts(ancpbids.load_dataset(str(root)), root):
        entities, suffix, path = artifact
        key = (f"sub-{entities['sub']}", entities.get("ses"))
        if not path.exists():
            found[key].broken.append(path)
        elif suffix in ("mask", "dseg"):
            found[key].masks.append((path, entities, suffix))
        elif "derivatives" not in path.relative_to(root).parts:
            modality = f"ce-{entities['ce']}_{suffix}" if "ce" in entities else suffix
            found[key].images[modality].append(path)
            found[key].spaces[modality] = entities.get("space", "")
    # A mask without a session belongs to the only visit of its person.
    for subject, session in [key for key in found if key[1] is None]:
        visits = [key for key in found if key[0] == subject and key[1] is not None]
        if not found[subject, session].images and visits:
            orphan = found.pop((subject, session))
            for key in visits:
                found[key].masks += orphan.masks
    return found


def _artifacts(dataset: Any, root: Path) -> list[tuple[dict[str, str], str, Path]]:
    artifacts = []
    for item in dataset.query(return_type="object", suffix=[*SUFFIXES, "mask", "dseg"]):
        if str(item.extension) in (".nii", ".nii.gz") and "sub" in item.entities:
            artifacts.append((dict(item.entities), str(item.suffix), Path(item.get_absolute_path())))
    return sorted(artifacts, key=lambda artifact: str(artifact[2]))


def _visit(participant: Participant, session: str | None, found: _Found, problems: list[Problem], root: Path) -> Visit:
    name = participant.subject + (f"_ses-{session}" if session else "")
    images: dict[str, Path] = {}
    for modality, paths in found.images.items():
        images[modality] = paths[0]
        if len(paths) > 1:
            problems.append(Problem(name, f"{len(paths)} images of {modality}; the first is used, {paths[0].name}"))
    brain: Mask | None = None
    masks: list[Mask] = []
    for path, entities, suffix in found.masks:
        label = entities.get("label", "")
        several = suffix == "dseg" and entities.get("desc") == labels.DESCRIPTION
        if (suffix == "dseg" and not several) or (label in TISSUE and entities.get("desc") != "brain"):
            continue
        grid = _grid_of(path, entities, images, found.spaces)
        if grid is None:
            problems.append(Problem(name, f"{path.name} lies on no scan's grid (space-{entities.get('space', '?')})"))
        elif entities.get("desc") == "brain":
            brain = brain or Mask(path, grid, "brain")
        elif several:
            try:
                masks += [Mask(path, grid, kind, values) for kind, values in labels.names(path, root).items()]
            except ValueError as error:
                problems.append(Problem(name, f"{path.name} {error}: it is left out"))
        elif label:
            masks.append(Mask(path, grid, label))
    spaces = set(found.spaces.values())
    registered = bool(spaces) and all(space.startswith(TEMPLATE_SPACE) for space in spaces)
    lesions = tuple(mask for mask in masks if mask.label != labels.IGNORED)
    ignored = tuple(mask for mask in masks if mask.label == labels.IGNORED)
    return Visit(participant, session, images, brain, lesions, registered, ignored=ignored)


def _grid_of(path: Path, entities: dict[str, str], images: dict[str, Path], spaces: dict[str, str]) -> str | None:
    """The modality on whose grid a mask lies: by name where it says so, else by comparing headers."""
    space = entities.get("space", "")
    if space in images:
        return space
    contrast = [modality for modality in images if modality.endswith(f"_{space}")]
    if space and contrast:
        return contrast[0]
    named = [modality for modality in images if space and spaces[modality] == space]
    if named:
        return named[0]
    from normfed_client.imaging.nifti import same_grid

    return next((modality for modality, image in images.items() if same_grid(path, image)), None)
