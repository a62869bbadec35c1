"""What is in a BIDS dataset, per site, and what is wrong with it: `normfed inspect`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normfed_common.deployment.terminal import NOTHING, print_table, wide_in_a_file
from normfed_common.foundation.errors import UserError
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import say
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from normfed_client.imaging.bids import Dataset, Problem, Visit
    from normfed_client.imaging.parts import Cast

COLUMNS = (
    "site",
    "people",
    "visits",
    "groups",
    "ages",
    "modalities (visits)",
    "without (people)",
    "brain masks",
    "lesion masks",
)
NUMBERS = ("people", "visits", "brain masks")


@dataclass(frozen=True)
class OfStudy:
    """What a study makes of a dataset.

    Parameters
    ----------
    file
        That holds it.
    cast
        What it does with everybody.
    sites
        Those that it lists; None for all.
    """

    file: Path
    cast: Cast
    sites: tuple[str, ...] | None


def inspect(dataset: Dataset, check: bool, every: bool, title: Path, study: OfStudy | None, as_json: bool) -> int:
    """Show what is in a BIDS dataset, per site, and what is wrong with it; on a terminal at the study's sites alone.

    Returns the exit code: 2 where the study cannot begin with these people.

    Parameters
    ----------
    title
        How people know the folder.
    study
        None without one, where the defaults count.
    """
    if as_json:
        _say(dataset, check, title, study)
    elif study is not None and not study.cast.parts:  # it names what is not there, and nothing else matters
        _remark(wide_in_a_file(), _cannot_begin(study))
    else:
        _show(dataset, check, every, title, study)
    return UserError.exit_code if study is not None and study.cast.why_not else 0


def _say(dataset: Dataset, check: bool, title: Path, study: OfStudy | None) -> None:
    from normfed_client.imaging.part_table import people

    cast = None if study is None else study.cast
    items = [_item(site, visits, cast) for site, visits in dataset.sites().items()]
    more = {} if cast is None else {"people": people(cast)}
    found, remarks = [asdict(problem) for problem in _problems(dataset, check)], _remarks(dataset, study)
    say("sites", items, folder=str(title), visits=len(dataset.visits), remarks=remarks, problems=found, **more)


def _show(everything: Dataset, check: bool, every: bool, title: Path, study: OfStudy | None) -> None:
    from normfed_client.imaging.part_table import print_roles
    from normfed_client.imaging.problem_list import print_problems

    console = wide_in_a_file()
    dataset = everything if study is None or study.sites is None else everything.at(study.sites)
    sites, others = dataset.sites(), len(everything.sites()) - len(dataset.sites())
    beside = f"; {others} other site{'s' if others > 1 else ''} not in data.sites" if others else ""
    console.print(
        f"[italic]{plain(str(title))}: {len(dataset.visits)} visits{beside}[/]", highlight=False, soft_wrap=True
    )
    known = {modality for visit in dataset.visits for modality in visit.images}
    print_table(console, COLUMNS, [_row(site, visits, known) for site, visits in sites.items()], NUMBERS)
    if study is not None:
        print_roles(console, sites, str(study.file), study.cast)
    for remark in _remarks(dataset, study):
        _remark(console, remark)
    everybody = print_problems(console, _problems(dataset, check), "Left out, or worth a look", every)
    if not everybody:
        console.print(as_typed("[dim]To name everybody: normfed inspect DIR --every[/]"), highlight=False)
    if not check:
        console.print(
            as_typed("[dim]Names only were read. To open every scan: normfed inspect DIR --check[/]"), highlight=False
        )


def _problems(dataset: Dataset, check: bool) -> list[Problem]:
    """Those of reading, then modalities nearly had, then, if asked to check, what opening the scans finds."""
    from normfed_client.imaging.bids import Problem
    from normfed_client.imaging.faults import faults

    problems = list(dataset.problems)
    problems += [Problem(v.name, v.lacks(nearly)) for v in dataset.visits if (nearly := v.nearly_has())]
    if check:
        problems += [Problem(visit.name, fault) for visit in dataset.visits for fault in faults(visit)]
    return problems


def _remark(console: Console, text: str) -> None:
    console.print(f"[yellow]![/] {plain(text)}", highlight=False)


def _remarks(dataset: Dataset, study: OfStudy | None) -> list[str]:
    """What of the dataset as a whole stops a study, or surprises it."""
    first = _no_controls(dataset) if study is None else _cannot_begin(study)
    few = "" if first else _too_few_sites(dataset) if study is None else _one_site(study.cast)
    return [remark for remark in (first, few, *_spelt_alike(dataset)) if remark]


def _cannot_begin(study: OfStudy) -> str:
    return f"{study.file} cannot begin with these people: {study.cast.why_not}" if study.cast.why_not else ""


def _one_site(cast: Cast) -> str:
    """That a study which can begin trains at a single site; empty else."""
    train = [site for site in cast.sites if cast.at(site)["train"] >= cast.minimum]
    return f"Only {train[0]} trains in this study: that is no federation." if len(train) == 1 else ""


def _row(site: str, visits: list[Visit], known: set[str]) -> list[str]:
    from normfed_client.imaging.bids import people_without

    people = {visit.participant.subject: visit.participant for visit in visits}
    groups = Counter(person.group or "?" for person in people.values())
    ages = [person.age for person in people.values() if person.age is not None]
    modalities = Counter(modality for visit in visits for modality in visit.images)
    lesions = Counter(mask.label for visit in visits for mask in visit.lesions)
    return [
        site,
        str(len(people)),
        str(len(visits)),
        _counts(groups),
        f"{min(ages):.0f}–{max(ages):.0f}" if ages else NOTHING,
        _counts(modalities),
        _counts(people_without(visits, known)) or NOTHING,
        str(sum(visit.brain is not None for visit in visits)),
        _counts(lesions) or NOTHING,
    ]


def _item(site: str, visits: list[Visit], cast: Cast | None) -> dict[str, object]:
    """A site for a program to read."""
    from normfed_client.imaging.part_table import roles_of

    people = {visit.participant.subject: visit.participant for visit in visits}
    ages = [person.age for person in people.values() if person.age is not None]
    return {
        "name": site,
        "people": len(people),
        "visits": len(visits),
        "groups": Counter(person.group or None for person in people.values()),
        "ages": [min(ages), max(ages)] if ages else None,
        "modalities": Counter(modality for visit in visits for modality in visit.images),
        "brain_masks": sum(visit.brain is not None for visit in visits),
        "lesion_masks": Counter(mask.label for visit in visits for mask in visit.lesions),
        **({} if cast is None else {"roles": roles_of(site, cast)}),
    }


def _no_controls(dataset: Dataset) -> str:
    """That no group has the name that studies know, where one sounds healthy; empty else."""
    from normfed_client.imaging.groups import groups_of, none_healthy, sounding_healthy
    from normfed_common.study.data import DataConfig

    groups = groups_of(dataset.visits)
    if not sounding_healthy(groups):
        return ""  # of patients alone: studies learn from their lesion-free tissue
    why = none_healthy(groups, DataConfig.model_fields["control_groups"].default)
    return why[:1].upper() + why[1:]


def _too_few_sites(dataset: Dataset) -> str:
    """That a study could train at one site or none, by the default minimum or by that of hospitals; empty else."""
    from normfed_client.hospital.rules import Rules
    from normfed_client.imaging.cohort import people_to_train_on
    from normfed_common.study.federation import FederationConfig

    people = people_to_train_on(dataset.sites())
    minima = {
        "a study asks for (federation.minimum_cohort)": FederationConfig().minimum_cohort,
        "hospitals ask for (minimum_people of site.yaml)": Rules().minimum_people,
    }
    for who, minimum in minima.items():
        enough = [site for site, count in people.items() if count >= minimum]
        if len(enough) < 2:
            return (
                f"{f'Only {enough[0]}' if enough else 'No site'} has the {minimum} people to train on that {who} by "
                "default, without those held out: training at fewer than two sites is no federation. Add people or "
                "sites, or lower the minimum where that is allowed."
            )
    return ""


def _spelt_alike(dataset: Dataset) -> list[str]:
    """Sites, and scanners of a site, that are likely one, and count as several."""
    from normfed_client.imaging.cohort import person_of
    from normfed_client.imaging.scanners import nearly_alike

    sites = dataset.sites()
    scanners = {person_of(visit).scanner for visits in sites.values() for visit in visits} - sites.keys()
    kinds = {"sites": nearly_alike(sites), "scanners": nearly_alike(scanners)}
    return [
        f"The {kind} {', '.join(alike[:-1])} and {alike[-1]} differ in spelling alone, and count as {len(alike)}. "
        "If they are one, write them alike in participants.tsv or sessions.tsv."
        for kind, found in kinds.items()
        for alike in found
    ]


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))
