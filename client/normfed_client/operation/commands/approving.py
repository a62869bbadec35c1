"""`normfed site asked`, `show`, `approve`, `refuse` and `reconsider`: a person decides what runs here."""

from __future__ import annotations

import re
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from normfed_client.hospital.folder import DEFAULT, Hospital, open_hospital
from normfed_client.operation.commands.showing import show
from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.consent.deciding import Shown
    from normfed_client.consent.decisions import Verdict
    from normfed_common.study.config import StudyConfig

SHOWN = 12  # hex digits of a digest in a list; where digests are compared, they are shown whole
LIST = re.compile(r"[0-9a-f]{16,64}")  # of a list, at least so many

Home = Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")]
Which = Annotated[str, typer.Argument(help="A study's file, or its digest as `normfed site asked` lists it.")]
By = Annotated[
    str, typer.Option(help="Who decides: a name, for the hospital's own record. Nothing checks that it is theirs.")
]


def add_to(site: typer.Typer) -> None:
    """Register the commands."""
    for command in (asked, show, approve, refuse, reconsider):
        site.command()(command)


def asked(home: Home = DEFAULT) -> None:
    """List the studies that were asked for, and how each stands."""
    from normfed_client.consent.approvals import MOST_WAITING, Approvals
    from normfed_client.consent.standing import standing_of

    hospital, console = open_hospital(home), Console(highlight=False)
    found = Approvals(hospital.folder).asked()
    if not found:
        console.print(
            as_typed("No study waits for a person, or was decided on. What a rule let in: normfed site audit.")
        )
        return
    table = Table(Column("digest", no_wrap=True), "study", "asked", "how it stands", box=None, pad_edge=False)
    for study in found:
        day = datetime.fromisoformat(study.at).astimezone().strftime("%d %b %Y %H:%M")
        how = standing_of(hospital, study.config(), date.today()).words
        table.add_row(study.digest[:SHOWN], plain(study.name), day, plain(how))
    console.print(table)
    console.print(
        as_typed(
            "\nLook at one: normfed site show DIGEST. Decide: normfed site approve DIGEST --by NAME, or refuse. "
            f"At most {MOST_WAITING} that nobody decided on are kept."
        ),
        soft_wrap=True,
    )


def approve(
    which: Which,
    by: By,
    manifest: Annotated[
        str, typer.Option(help="The list that was read, as `normfed site show` names it; without it, a question asks.")
    ] = "",
    runs: Annotated[
        int, typer.Option(help="How many runs may begin. One that goes on, or is resumed, is the same run.")
    ] = 1,
    until: Annotated[str | None, typer.Option(help="Last day of the approval, such as 2027-06-30.")] = None,
    home: Home = DEFAULT,
) -> None:
    """Let a study run at this hospital, from the next request on; what `normfed site show` lists leaves, no more."""
    from normfed_client.consent.deciding import find, obstacle

    hospital = open_hospital(home)
    study = find(hospital, which)
    _decide(hospital, study, "approved", by, until=_day(until), shown=_shown(hospital, study, manifest), runs=runs)
    if why := obstacle(hospital, study):
        Console(highlight=False).print(f"[yellow]![/] It will be refused all the same: {plain(why)}", soft_wrap=True)


def refuse(
    which: Which,
    by: By,
    why: Annotated[str, typer.Option(help="For the hospital's own record; the server is not told.")] = "",
    home: Home = DEFAULT,
) -> None:
    """Let a study not run here; one that is under way stops at its next request."""
    from normfed_client.consent.deciding import find

    hospital = open_hospital(home)
    _decide(hospital, find(hospital, which), "refused", by, why=why)


def reconsider(which: Which, by: By, home: Home = DEFAULT) -> None:
    """Take back what was decided of a study: it waits for a person, and no rule lets it in."""
    from normfed_client.consent.deciding import find

    hospital = open_hospital(home)
    _decide(hospital, find(hospital, which), "taken back", by)


def _decide(
    hospital: Hospital,
    study: StudyConfig,
    verdict: Verdict,
    by: str,
    until: date | None = None,
    why: str = "",
    shown: Shown | None = None,
    runs: int = 1,
) -> None:
    from normfed_client.consent.deciding import decide
    from normfed_client.consent.standing import standing_of

    decide(hospital, study, verdict, by, until, why, shown, runs)
    text = f"{study.name} ({study.digest}) {standing_of(hospital, study, date.today()).words}."
    Console(highlight=False).print(plain(text), soft_wrap=True)


def _shown(hospital: Hospital, study: StudyConfig, given: str) -> Shown:
    """What the person had before them: the list that they name, or that they are asked about.

    Raises
    ------
    UserError
        If it is another by now, or nobody can be asked.
    """
    from normfed_client.consent.approvals import Approvals
    from normfed_client.consent.deciding import OtherThanShown, Shown, check_open
    from normfed_client.consent.making import manifest_of
    from normfed_client.consent.sheet import size

    approvals = Approvals(hospital.folder)
    check_open(approvals, study)
    decisions, manifest = len(approvals.of(study.digest)), manifest_of(hospital, study)
    if given and not LIST.fullmatch(given):
        raise UserError(f"--manifest: {given} is no digest of a list. Copy the one that normfed site show prints last.")
    if given and not manifest.digest.startswith(given):
        raise OtherThanShown(
            f"What would leave is another list by now ({manifest.digest}) than the one that was read ({given}), so "
            f"that nothing was approved. Read it anew: normfed site show {study.digest[:SHOWN]}"
        )
    if not given:
        if not sys.stdin.isatty():
            raise UserError(
                f"Nothing says which list was read, so that nothing was approved. Read it: normfed site show "
                f"{study.digest[:SHOWN]}; then add --manifest and the digest that it prints last."
            )
        most = size(manifest.total_bytes)
        Console(highlight=False).print(f"List {manifest.digest}: at most {most} in one run.", soft_wrap=True)
        typer.confirm("Is this the list that normfed site show printed, and do you approve it?", abort=True)
    return Shown(manifest.digest, decisions)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--until: {text} is no day, such as 2027-06-30.") from error
