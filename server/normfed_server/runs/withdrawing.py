"""A site withdraws from a run that was made with it: the run is marked, and made again without it.

The new run is of the same study, to the digest, but it is another run: a hospital whose approval was for one run
approves it once more. It asks the sites that took part
in the old one, less those that withdrew, and nobody else: nothing of these can be in it, and with the seed and the
scans the same it is, bit for bit on a CPU, the run that it would have been without them. That holds for sums and for
rounds alike. The server keeps no site's sums, so there is nothing to subtract, and nothing to keep of who withdrew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from normfed_common.chain.kinds.server import Steered
from normfed_common.foundation.errors import RunError, StudyError, UserError
from normfed_common.secure.lists import too_few
from normfed_common.studies import study_of_run
from normfed_common.study import withdrawn
from normfed_common.study.config import StudyConfig
from normfed_common.study.withdrawn import Withdrawals
from normfed_server.events.kinds import People, Planned, RoundDone
from normfed_server.runs import starting
from normfed_server.runs.folder import INITIAL, counts_only
from normfed_server.runs.following import Tail
from normfed_server.sites.closing import Outcome
from normfed_server.state import admission
from normfed_server.state.chain import record
from normfed_server.state.folder import ServerHome, run_folder
from normfed_server.state.ledger import State
from normfed_server.state.notes import OPTIONS, Replaces, read
from normfed_server.steps.catalogue import make_step


def took_part(folder: Path) -> dict[str, int]:
    """Sites that a run was planned with or that took part in a round, and how many people each had to train on.

    The number is that of the first plan with the site; -1 where they are too few to say, or where the site is in no
    plan and only took part. Sorted by name; empty before the run was planned.
    """
    found: dict[str, int] = {}
    for event in Tail(folder / "events.jsonl").new():
        if isinstance(event, Planned):
            found = _of_plan(event.sites) | found
        elif isinstance(event, RoundDone):
            came = [site for site, outcome in event.outcomes.items() if outcome == Outcome.TOOK_PART]
            found = dict.fromkeys(came, -1) | found
    return dict(sorted(found.items()))


def _of_plan(sites: Mapping[str, People]) -> dict[str, int]:
    return {site: people.train for site, people in sites.items()}


def mark(home: ServerHome, name: str, sites: tuple[str, ...], people: bool, why: str) -> Withdrawals:
    """Write down that sites, or people of theirs, withdrew from a run.

    Raises
    ------
    UserError
        If there is no such run, or a site took no part in it.
    """
    folder = run_folder(home, name)
    _check_sites(home, name, sites, took_part(folder))
    return withdrawn.note(folder, sites, "operator", "people" if people else "site", why)


def retrain(home: ServerHome, name: str, without: tuple[str, ...], why: str) -> str:
    """Begin a run again without sites, and replace the old one by it, which is stopped where it still runs.

    Returns
    -------
    The name of the new run.

    Raises
    ------
    UserError
        If there is no such run, a site took no part in it, the others are too few, or the sums of both runs together
        would tell the sites apart that withdrew.
    """
    entry, folder = home.ledger.get(name), run_folder(home, name)
    noted = withdrawn.read(folder)
    if noted.replaced_by:
        raise RunError(
            f"{name}: is replaced already. Begin again what is in its place: normfed server retrain {noted.replaced_by}"
        )
    people = took_part(folder)
    _check_sites(home, name, without, people)
    gone = {*without, *noted.whole}
    staying = tuple(site for site in people if site not in gone)
    study = _study(folder)
    _check_rest(home, name, study, people, staying, counts_only(folder))
    options = read(folder / OPTIONS) or {}
    replaces = Replaces(run=name, without=tuple(sorted(gone)), sites=staying, why=why)
    made = starting.begin(
        home, study, bool(options.get("canary", True)), (), bool(options.get("statistics", False)), replaces
    )
    withdrawn.note(folder, tuple(sorted(gone)), "operator", why=why, replaced_by=made)
    if entry.state is State.OPEN:
        record(home, Steered(kind="run-stopped", run=name))
        home.ledger.set(name, State.STOPPED, f"replaced by {made}, without {', '.join(sorted(gone))}")
    return made


def mark_withdrawn(home: ServerHome, study: str, site: str) -> Iterator[str]:
    """Mark every run of a study in which a site took part that says now that it withdrew; yields their names."""
    for entry in home.ledger.all():
        folder = home.runs / entry.name
        try:
            if study_of_run(folder).digest == study and site in took_part(folder):
                withdrawn.note(folder, (site,), "site")
                yield entry.name
        except UserError:  # a run that is damaged is seen to when it is used
            continue


def _check_sites(home: ServerHome, name: str, sites: Collection[str], people: Mapping[str, int]) -> None:
    if not people:
        raise RunError(
            f"{name}: nobody took part yet, so there is nothing to withdraw from: normfed server stop {name}"
        )
    for site in sites:
        if site in people:
            continue
        admission.known(home, site)
        raise UserError(
            f"{site} took no part in {name}, so nothing of it is in the model. Took part: {', '.join(people)}."
        )


def _check_rest(
    home: ServerHome, name: str, study: StudyConfig, people: Mapping[str, int], staying: tuple[str, ...], counts: bool
) -> None:
    """Whether a model can be made of those that stay, and without telling more than the old run's did."""
    if not staying:
        raise UserError(
            f"{name}: nobody is left, so there is no model without them. Mark it: "
            f"normfed server mark {name} --withdrawn SITE"
        )
    least = max(study.federation.minimum_cohort, 1)
    train = [site for site in people if people[site] >= least or people[site] == -1]
    left = [site for site in train if site in staying]
    needed = 1 if counts else make_step(study.strategy, study.federation).minimum
    if len(left) < needed:
        raise UserError(
            f"{name}: of the sites that stay {len(left)} can train (federation.minimum_cohort: {least} people); "
            f"{needed} must. Mark the run, and do not use its model: normfed server mark {name} --withdrawn SITE"
        )
    secure = study.privacy.secure_aggregation
    noise = study.privacy.epsilon is not None and study.privacy.unit == "patient"
    if secure is None or noise:
        return
    if few := too_few([train], left, secure.minimum_sites):
        raise StudyError(
            f"{name}: its sums are secure, over {secure.minimum_sites} sites at least. The sums of both runs, one less "
            f"the other, are over {', '.join(sorted(few))} alone, so the other hospitals refuse. Mark it, and do not "
            f"use its model: normfed server mark {name} --withdrawn SITE. A new study whose privacy.epsilon "
            "gives every hospital noise of its own can be trained without them."
        )


def _study(folder: Path) -> StudyConfig:
    """The study as the new run reads it: its initial model lies in the old run's folder."""
    study = study_of_run(folder)
    if study.initial_model is None:
        return study
    return study.model_copy(update={"initial_model": str(folder / INITIAL)})
