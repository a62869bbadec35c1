"""Names in a study that nobody has: unnoticed, a typing error lets the very site train that was to be held out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import DataConfig
from normfed_common.wording.spelling import meant, sentences

SUBJECT = "sub-"
SHOWN = 30  # of the known names in an error


def check_names(data: DataConfig, sites: Collection[str], subjects: Collection[str] | None, where: str) -> None:
    """Refuse a study that names sites or people who are not there.

    Parameters
    ----------
    sites
        Names of all there are.
    subjects
        Names of all people; None where only the hospitals may know them: then names of people are not looked at.
    where
        What was searched, for the error: a dataset, the members of a server.

    Raises
    ------
    StudyError
        If a name is not known; it says which ones are, and which was probably meant.
    """
    for key in ("sites", "train_sites", "out_of_sample"):
        _check(f"data.{key}", "site", getattr(data, key) or (), sites, where)
    people = [name for name in data.exclude if name.startswith(SUBJECT)]
    _check("data.exclude", "site", (name for name in data.exclude if name not in people), sites, where, subjects or ())
    if subjects is not None:
        _check("data.exclude", "person", people, subjects, where)


def _check(
    key: str, kind: str, names: Iterable[str], known: Collection[str], where: str, people: Collection[str] = ()
) -> None:
    for name in names:
        if name not in known:
            shown = sorted(known)[:SHOWN]
            rest = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
            unknown = f"{key}: no {kind} is called {name} ({where})."
            person = f"Did you mean the person {SUBJECT}{name}?" if f"{SUBJECT}{name}" in people else ""
            raise StudyError(sentences(unknown, person or meant(name, known), f"Known: {', '.join(shown)}{rest}."))
