"""Begin a run on a server: a complete folder first, then the entry in the ledger that makes it wanted."""

from __future__ import annotations

from normfed_common.algorithms.sharing import check_study
from normfed_common.chain.kinds.server import Steered
from normfed_common.foundation import private
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.foundation.files import write_json, write_text
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig
from normfed_common.study.names import check_names
from normfed_server.runs import folder as runs
from normfed_server.sites.secure import check_enough
from normfed_server.state import admission
from normfed_server.state.chain import record
from normfed_server.state.folder import ServerHome
from normfed_server.state.notes import EXCUSED, REPLACES, Replaces
from normfed_server.steps.catalogue import check_steps


def begin(
    home: ServerHome,
    study: StudyConfig,
    canary: bool,
    without: tuple[str, ...],
    statistics: bool = False,
    replaces: Replaces | None = None,
) -> str:
    """Make a run's folder and want it run; returns its name.

    Parameters
    ----------
    statistics
        Whether it asks for the cohorts in figures only, and trains nothing.
    replaces
        The run that is made again; then only its sites are asked.

    Raises
    ------
    UserError
        If no site is accepted, too few are for secure sums, or the study cannot be run.
    """
    accepted = [name for name, member in admission.members(home).items() if member.state == "accepted"]
    if not accepted:
        raise UserError("No site is accepted yet: normfed server enrol SITE, then normfed server accept SITE.pub")
    if replaces is not None:
        accepted = [site for site in accepted if site in replaces.sites]
        if not accepted:
            raise UserError(f"None of {', '.join(replaces.sites)} is accepted any more: nobody is left to train.")
    for site in without:
        admission.known(home, site)
    check_for_hospitals(study.data)
    check_study(study)
    check_steps(study)
    check_names(study.data, admission.members(home), None, "members of this federation")
    check_enough(study, [site for site in accepted if _may_train(site, study.data)], deployed=True)
    ledger = home.ledger
    run = runs.begin(study, home.runs, {"canary": canary} | ({"statistics": True} if statistics else {}))
    private.make_folder(run.folder)
    write_json(run.folder / EXCUSED, sorted(without))
    if replaces is not None:
        write_text(run.folder / REPLACES, replaces.model_dump_json(indent=1) + "\n")
    record(home, Steered(kind="run-begun", run=run.folder.name, study=study.digest))
    ledger.add(run.folder.name)
    return run.folder.name


def check_for_hospitals(data: DataConfig) -> None:
    """Refuse what only a simulation can do with people.

    Raises
    ------
    StudyError
        If the study asks for it.
    """
    if data.split is not None:
        raise StudyError("data.split divides people in a simulation; hospitals keep theirs. Leave it out.")
    if data.people_per_site is not None:
        raise StudyError("data.people_per_site keeps a simulation small; hospitals' people all count. Leave it out.")
    if data.normal == "lesion-free-slices":
        raise StudyError("data.normal: lesion-free-slices is for simulations; hospitals take lesion-free-tissue.")


def _may_train(site: str, data: DataConfig) -> bool:
    return data.trains(site) and site not in data.exclude and (data.sites is None or site in data.sites)
