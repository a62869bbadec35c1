"""Studies that come with normfed beside its code, and how a study is found by what a person types."""

from __future__ import annotations

from pathlib import Path

from normfed_common.foundation.errors import StudyError
from normfed_common.wording.spelling import meant, nearest, sentences

YAML = ("*.yaml", "*.yml")


def shipped_folder() -> Path:
    """Where the studies lie that come with normfed: in the wheel, or in the source tree."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "shipped_studies", here.parents[1] / "studies") if folder.is_dir())


def names() -> list[str]:
    """Of the studies that come with normfed."""
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))


def shipped_study(name: str) -> Path:
    """The file of a study that comes with normfed.

    Raises
    ------
    StudyError
        If there is none of this name.
    """
    if name not in names():
        known = f"Known: {', '.join(names())}."
        raise StudyError(sentences(f"No study called {name} comes with normfed.", meant(name, names()), known))
    return shipped_folder() / f"{name}.yaml"


def study_file(path: Path) -> Path:
    """A study's file: the one given, or where there is none, the study of that name that comes with normfed.

    Raises
    ------
    StudyError
        If there is neither; it says what is there.
    """
    name = str(path)
    if not path.is_file() and name in names():
        return shipped_study(name)
    if not path.exists():
        beside = [file.name for pattern in YAML for file in sorted(path.parent.glob(pattern))]
        near = nearest(path.name, beside)
        guess = f"Did you mean {path.with_name(near)}?" if near is not None else meant(path.stem, names())
        known = f"Studies that come with normfed: {', '.join(names())}."
        raise StudyError(sentences(f"{path}: no such file.", guess, known))
    return path
