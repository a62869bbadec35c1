"""What an operator may say of a run once it is there: stop it, go on with it, let it go on without a site."""

from __future__ import annotations

import json
from pathlib import Path

from normfed_common.chain.kinds.server import Steered
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.study import withdrawn
from normfed_server.state import admission
from normfed_server.state.chain import record
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import DONE, Entry, State
from normfed_server.state.notes import DEATHS, EXCUSED, OUTCOME, replaces


def stop(home: ServerHome, name: str) -> None:
    """Stop a run; it can be resumed.

    Raises
    ------
    RunError
        If there is no such run, or it ended already.
    """
    ledger = home.ledger
    entry = ledger.get(name)
    if entry.state in DONE:
        raise RunError(f"{name}: {entry.state} already.")
    record(home, Steered(kind="run-stopped", run=name))
    ledger.set(name, State.STOPPED, "by the operator")


def resume(home: ServerHome, name: str) -> Entry:
    """Want a run again that was stopped or failed; one that finished stays as it is.

    Returns
    -------
    How the run stands now.

    Raises
    ------
    RunError
        If there is no such run, or another replaces it.
    """
    ledger = home.ledger
    entry = ledger.get(name)
    if entry.state in DONE:
        return entry
    if made := withdrawn.read(home.runs / name).replaced_by:
        raise RunError(f"{name}: is replaced by {made}, without who withdrew. Go on with that: give its name.")
    record(home, Steered(kind="run-resumed", run=name))
    for note in (OUTCOME, DEATHS):
        (home.runs / name / note).unlink(missing_ok=True)
    ledger.set(name, State.OPEN)
    return ledger.get(name)


def nothing_left(entry: Entry) -> str:
    """Why a run that finished cannot go on, and what can be done instead."""
    if entry.state is State.FINISHED:
        return f"{entry.name} is finished: nothing is left to do."
    return (
        f"{entry.name} is finished, and what is missing in it cannot be made up for by resuming. {entry.why} "
        "For a model with everybody, begin a new run once every site is connected: normfed server run STUDY.yaml"
    )


def withdrawal(folder: Path) -> list[str]:
    """Who withdrew from a run, what replaces it, and what it replaces, in sentences; or that a note is damaged."""
    try:
        found, before = withdrawn.read(folder).sentences(), replaces(folder)
    except RunError as error:
        return [str(error)]
    return found + ([f"In the place of {before.run}, without {', '.join(before.without)}."] if before else [])


def excuse(home: ServerHome, folder: Path, site: str) -> None:
    """Let a run go on without a site.

    Raises
    ------
    UserError
        If there is no such site.
    """
    admission.known(home, site)
    path = folder / EXCUSED
    with exclusive(folder / f"{EXCUSED}.lock"):
        record(home, Steered(kind="site-excused", run=folder.name, site=site))
        excused = json.loads(path.read_text()) if path.exists() else []
        write_json(path, sorted({*excused, site}))
