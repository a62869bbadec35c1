"""Who withdrew from a run whose model was made with them: a note in the run's folder, that goes with the model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_text
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName

WITHDRAWN = "withdrawn.json"

Why = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$")]
RunFolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,120}$")]


class SiteWithdrawal(Frozen):
    """A site, or people of it, withdrew from a run.

    Parameters
    ----------
    who
        The whole site, or some of its people: who they are only the hospital knows.
    said_by
        The site itself, whose answer was that it withdrew, or the operator.
    time
        UTC, of the first word of it.
    """

    who: Literal["site", "people"] = "site"
    said_by: Literal["site", "operator"]
    time: str
    why: Why = ""


class Withdrawals(Frozen):
    """Who withdrew from one run, and which run replaces it.

    Parameters
    ----------
    replaced_by
        The run that was made again without them; empty where there is none.
    """

    sites: dict[SiteName, SiteWithdrawal] = Field(default_factory=dict)
    replaced_by: RunFolderName = ""

    @property
    def whole(self) -> frozenset[str]:
        """Sites that withdrew altogether, and are not asked any more."""
        return frozenset(site for site, found in self.sites.items() if found.who == "site")

    def sentences(self) -> list[str]:
        """What whoever uses the model must know."""
        found = [
            f"{'' if of.who == 'site' else 'People of '}{site} withdrew ({of.time[:10]}); this model was made with "
            f"{'it' if of.who == 'site' else 'them'}."
            for site, of in sorted(self.sites.items())
        ]
        if found:
            after = f"use {self.replaced_by}, which was made without" if self.replaced_by else "it is to be made again"
            found.append(f"Do not pass this model on: {after}.")
        return found


def read(folder: Path) -> Withdrawals:
    """The note of a run's folder, or of one to pass on; nobody where there is none.

    Raises
    ------
    RunError
        If it is damaged.
    """
    path = folder / WITHDRAWN
    try:
        return Withdrawals.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Withdrawals()
    except (OSError, ValidationError) as error:
        raise RunError(
            f"{path}: damaged ({' '.join(str(error).split())[:200]}). It says who withdrew; restore it, or remove it "
            "and mark the run again: normfed server mark RUN --withdrawn SITE"
        ) from error


def note(
    folder: Path,
    sites: tuple[str, ...],
    said_by: Literal["site", "operator"],
    who: Literal["site", "people"] = "site",
    why: str = "",
    replaced_by: str = "",
) -> Withdrawals:
    """Write down that these withdrew; what was known before stays, but that a whole site is more than some people."""
    with exclusive(folder / f"{WITHDRAWN}.lock"):
        before = read(folder)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = {site: SiteWithdrawal(who=who, said_by=said_by, time=now, why=why) for site in sites}
        kept = {s: of for s, of in before.sites.items() if s not in new or of.who == "site" or who == "people"}
        made = Withdrawals(sites=new | kept, replaced_by=replaced_by or before.replaced_by)
        if made != before:
            write_text(folder / WITHDRAWN, made.model_dump_json(indent=1) + "\n")
    return made
