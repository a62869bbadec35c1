"""`normfed site forget`: a person withdraws, the hospital withdraws from a study, or what is kept too long goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from normfed_client.hospital.folder import DEFAULT, Hospital, open_hospital
from normfed_common.deployment.terminal import print_wrapped
from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from normfed_client.withdrawal.erasing import Erased
    from normfed_client.withdrawal.people import NextRelease, PersonToForget

ROLE = {"train": "learnt from", "held_out": "held out", "test": "tested"}
KIND = {"learning": "of what was learnt", "figures": "of figures"}


def forget(
    subject: Annotated[str | None, typer.Argument(help="A person who withdraws, such as sub-014.")] = None,
    study: Annotated[
        str | None, typer.Option(help="Withdraw from this study for good: a run, or a digest as `site asked` lists it.")
    ] = None,
    expired: Annotated[bool, typer.Option("--expired", help="Erase what site.yaml keeps no longer.")] = False,
    by: Annotated[str, typer.Option(help="Who decides: a name, for the hospital's own record.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Annotated[Path, typer.Option("--home", help="The site's folder.", envvar="NORMFED_SITE_HOME")] = DEFAULT,
) -> None:
    """Erase what is kept of a person who withdraws, or of a study that this hospital withdraws from.

    The dataset is not touched. What was spent of privacy, and over whom anything was released, stays without names.
    """
    from normfed_common.processes.supervision import only_one

    if sum((subject is not None, study is not None, expired)) != 1:
        raise UserError("normfed site forget: give one of SUBJECT, --study and --expired.")
    hospital, console = open_hospital(home), Console(highlight=False)
    if expired:
        _expired(hospital, console, dry_run)
        return
    if not dry_run and not by.strip():
        raise UserError("normfed site forget: say who decides, with --by NAME. It is for the hospital's own record.")
    # Neither the client nor another `forget` begins while a person reads what is to be erased.
    with nullcontext() if dry_run else only_one(hospital.log, "the client, or another normfed site forget,"):
        if subject is not None:
            _person(hospital, console, subject, by.strip(), dry_run, yes)
        else:
            assert study is not None
            _study(hospital, console, study, by.strip(), dry_run, yes)


def _person(hospital: Hospital, console: Console, subject: str, by: str, dry_run: bool, yes: bool) -> None:
    from normfed_client.withdrawal import people

    with console.status("Looking whose the prepared scans are"):
        found = people.look_up(hospital, subject)
    begin = "withdrew before" if found.again else "withdraws"
    released = "; that they were in a release stays as a keyed digest, which guards the others" if found.runs else ""
    _say(
        console,
        f"{subject} {begin}: nothing of them is read from now on, for good, and what is listed here is erased. The "
        f"privacy that was spent stays spent{released}.",
    )
    _list(console, found.erased)
    for path in found.named_in:
        _item(console, f"their name and their lines in {path.relative_to(hospital.folder)}")
    _shared(hospital, console)
    _runs(hospital, console, found)
    if not _agreed(console, "Erase, for good?", dry_run, yes):
        return
    people.forget(hospital, found, by)
    _say(console, "\nDone, and in the audit without the name. Start the client again:")
    _start(hospital, console)
    _left(hospital, console, found)


def _agreed(console: Console, question: str, dry_run: bool, yes: bool) -> bool:
    """Whether to erase; a person who says no ends the command."""
    if dry_run:
        _say(console, "\nNothing was changed (--dry-run).")
    elif not yes:
        typer.confirm(f"\n{question}", abort=True)
    return not dry_run


def _shared(hospital: Hospital, console: Console) -> None:
    """Of prepared scans nobody can tell whose they are."""
    if hospital.cache.is_symlink():
        _warn(console, f"cache/ is a link to {hospital.cache.resolve()}: what others prepared there goes as well.")


def _runs(hospital: Hospital, console: Console, found: PersonToForget) -> None:
    """Which runs the person was in, and what this hospital answers about the others from now on."""
    from normfed_client.withdrawal import people

    if not found.runs:
        _say(console, "\nThey took part in no run.")
        return
    listed = (
        f"{run.name} ({', '.join(ROLE[role] for role in run.roles) or 'in which way, is not known any more'})"
        for run in found.runs
    )
    _say(console, f"\nThey took part in {', '.join(listed)}.")
    told = people.next_releases(hospital, found.digest)
    if told:
        _say(
            console,
            "Questions of these runs about the same people are refused from now on (code 216): beside earlier answers "
            f"they would tell what was {found.subject}'s. Of new runs:",
        )
    for sentence in dict.fromkeys(_sentence(one, found.subject, hospital.config.minimum_people) for one in told):
        _item(console, sentence)
    learnt = [run.name for run in found.runs if "train" in run.roles or not run.roles]
    if learnt:
        _say(
            console,
            "\nWhat models learnt from them is mixed with what they learnt from others, and cannot be taken out. In a "
            "new run the operator can make models without this hospital:",
        )
    _retrain(hospital, console, learnt)


def _sentence(one: NextRelease, subject: str, minimum: int) -> str:
    """What is told next of a set that the person was in."""
    of = f"of the {one.people} others who were in a release {KIND[one.kind]}"
    if one.allowed == 0:
        return f"{of} none is answered about, until {minimum} people joined who were in no release"
    waiting = one.people - one.allowed
    wait = f"; {waiting} wait beside {subject}, so that nobody is told by subtraction" if waiting else ""
    return f"{of} {one.allowed} may take part{wait}"


def _retrain(hospital: Hospital, console: Console, runs: Iterable[str]) -> None:
    """What to send the operator, to be copied."""
    for name in runs:
        console.print(
            as_typed(plain(f"    normfed server retrain {name} --without {hospital.config.site}")), soft_wrap=True
        )


def _left(hospital: Hospital, console: Console, found: PersonToForget) -> None:
    """What a person at the hospital has to see to."""
    from normfed_client.hospital.neighbours import folders_of_same_people
    from normfed_client.imaging.cache import default_root
    from normfed_client.withdrawal import people

    for path in people.in_dataset(hospital, found.subject):
        _warn(console, f"{path} is still there. The client reads it no more; whether it is deleted is yours to decide.")
    for path in people.left_over(hospital, found.subject):
        _warn(console, f"{path} still names {found.subject}: it is not the client's. Look at it.")
    for folder in folders_of_same_people(hospital):
        _warn(
            console, as_typed(f"{folder} serves the same people: normfed site forget {found.subject} --home {folder}")
        )
    if (default_root() / "scans").is_dir() and (default_root() / "scans").resolve() != hospital.cache.resolve():
        _warn(
            console,
            as_typed(
                f"{default_root() / 'scans'} is the cache of normfed preprocess, normfed score and simulations of this "
                "user, which does not say whose scans it holds. Delete it if this hospital's may be among them."
            ),
        )
    _say(console, "Not reached from here: backups, pages and exports that people made, the system's own logs.")


def _study(hospital: Hospital, console: Console, which: str, by: str, dry_run: bool, yes: bool) -> None:
    from normfed_client.withdrawal import studies

    with console.status("Looking which prepared scans are for this study alone"):
        found = studies.look_up(hospital, which)
    before = f" Before this, {found.again}." if found.again else ""
    runs = ", ".join(found.runs) or "none"
    _say(
        console,
        f"{hospital.config.site} withdraws from {found.name} ({found.digest[:12]}) for good: its requests are refused "
        f"(code 254), and this is erased.{before} Runs of which anything is kept: {runs}.",
    )
    _list(console, found.erased)
    _shared(hospital, console)
    _say(
        console,
        "\nKept: who took part, as keyed digests; what was asked, signed, spent and released; the study, its list of "
        "what left and the decisions on it; the audit. Without them less would protect the people who took part.",
    )
    if not _agreed(console, "Withdraw and erase, for good?", dry_run, yes):
        return
    studies.withdraw(hospital, found, by)
    _say(console, "\nDone, and in the audit. Start the client again:")
    _start(hospital, console)
    if found.runs:
        _say(console, "What was learnt from this hospital stays in models. The operator can make them without it:")
    _retrain(hospital, console, found.runs)
    if hospital.config.approve_by_rule:
        _warn(
            console,
            "a rule of approve_by_rule may let in the same study under other words, which is another study. Take the "
            "rule out of site.yaml if that is not wanted.",
        )


def _expired(hospital: Hospital, console: Console, dry_run: bool) -> None:
    from normfed_client.withdrawal import expiring

    found = expiring.due(hospital) if dry_run else expiring.expire(hospital)
    for what, paths in found.items():
        _item(console, f"{what}: {len(paths)}")
    done = "would be erased" if dry_run else "erased, and in the audit"
    _say(console, f"{done.capitalize()}." if found else "Nothing is kept longer than site.yaml says.")


def _list(console: Console, erased: Sequence[Erased]) -> None:
    """A row per kind; of what there is nothing it is not said."""
    table = Table("erased", "files", "size", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for found in erased:
        if found.files:
            table.add_row(found.what, str(len(found.files)), _size(found.files))
    if table.row_count:
        console.print(table)
    else:
        _say(console, "Nothing is left to erase.")


def _size(paths: Iterable[Path]) -> str:
    from normfed_client.withdrawal.erasing import files_below

    megabytes = sum(path.lstat().st_size for path in files_below(*paths)) / 1e6
    return f"{megabytes:,.1f} MB" if megabytes >= 0.1 else "under 0.1 MB"


def _start(hospital: Hospital, console: Console) -> None:
    """To be copied."""
    console.print(as_typed(plain(f"    normfed site start --home {hospital.folder}")), soft_wrap=True)


def _say(console: Console, text: str) -> None:
    if text.startswith("\n"):
        console.print()
    print_wrapped(console, text.strip(), "")


def _item(console: Console, text: str, margin: str = "  ") -> None:
    print_wrapped(console, text, margin + "  ", f"{margin}- ")


def _warn(console: Console, text: str) -> None:
    print_wrapped(console, text, "  ", "[yellow]![/] ")
