"""Begin a run on a server: a complete folder first, then the entry in the ledger that makes it wanted."""

from __future__ import annotations

import json
from pathlib import Path

from normfed_common.algorithms.sharing import check_study
from normfed_common.errors import UserError
from normfed_common.files import write_json
from normfed_common.operation import private
from normfed_common.study.config import StudyConfig
from normfed_common.study.names import check_names
from normfed_server import runs
from normfed_server.operation import admission
from normfed_server.operation.home import ServerHome
from normfed_server.operation.ledger import Ledger
from normfed_server.operation.serving import EXCUSED, OPTIONS


def begin(home: ServerHome, study: StudyConfig, canary: bool, without: tuple[str, ...]) -> str:
    """Make a run's folder and want it run; gives its name.

    Raises
    ------
    UserError
        If no site is accepted, or the study cannot be run.
    """
    accepted = [name for name, member in admission.members(home).items() if member.state == "accepted"]
    if not accepted:
        raise UserError("No site is accepted yet: normfed server enrol SITE, then normfed server accept SITE.pub")
    for site in without:
        _known(home, site)
    check_study(study)
    check_names(study.data, admission.members(home), None, "members of this federation")
    run = runs.begin(study, home.runs)
    private.make_folder(run.folder)
    write_json(run.folder / OPTIONS, {"canary": canary})
    write_json(run.folder / EXCUSED, sorted(without))
    Ledger(home.folder / "runs.sqlite").add(run.folder.name)
    return run.folder.name


def excuse(home: ServerHome, folder: Path, site: str) -> None:
    """Let a run go on without a site."""
    _known(home, site)
    path = folder / EXCUSED
    excused = json.loads(path.read_text()) if path.exists() else []
    write_json(path, sorted({*excused, site}))


def _known(home: ServerHome, site: str) -> None:
    known = admission.members(home)
    if site not in known:
        raise UserError(f"No site is called {site}. Sites: {', '.join(known) or 'none'}.")
