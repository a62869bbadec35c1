"""Who learns and who is scored in every study of `bench_models`.

Every site of lesion-free tissue is scored by a model of all other training sites; patients beside healthy controls by
one of all of these, and the controls by one of the other half of each site; a phantom's people by one of its training
people. Nobody's own tissue is in the model that scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normfed_client.hospital.site import Case
from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.cohort import Roles, assign, kind, select
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import StudyError
from normfed_common.study.config import StudyConfig
from normfed_simulation.datasets import place_of

Cases = Mapping[str, Sequence[Case]]  # by site


@dataclass(frozen=True)
class Fold:
    """People to learn from, by site, and people to score.

    Parameters
    ----------
    group
        Of each scored site: thresholds come from people of other groups.
    """

    name: str
    learn: Cases
    scored: Cases
    group: Mapping[str, str]


def prepared(study: StudyConfig, data: Path | None, workers: int) -> dict[str, Roles]:
    """Everybody of a study by site and role; a dataset that is made is made.

    Raises
    ------
    StudyError
        If the study reads a dataset, and none is given.
    """
    made = place_of(study)
    if made is not None:
        dataset, place = made
        data = default_root() / place
        if not dataset.written(data):
            dataset.write(data, workers, lambda _name: None)
    if data is None:
        raise StudyError(f"{study.name} needs a BIDS dataset. Say where it is with --data.")
    found = {}
    for site, visits in read_dataset(data).sites().items():
        chosen, _ = select(visits, site, study.data)
        roles = assign(chosen, site, study)
        if roles.everybody():
            found[site] = roles
    return found


def cases_of(study: StudyConfig, roles: Mapping[str, Roles], workers: int) -> dict[str, dict[str, list[Case]]]:
    """The same people prepared: role to site to cases. Who cannot be prepared is left out."""
    recipe = Recipe.of(study)
    cache = default_root() / "scans"
    everybody = [visit for role in roles.values() for visit in role.everybody()]
    failed = {problem.what for problem in prepare_all(everybody, recipe, cache, workers).problems}
    store = Cache(cache)
    return {
        role: {
            site: [
                Case(visit, prepare(visit, recipe, store), kind(visit, study.data))
                for visit in getattr(own, role)
                if visit.name not in failed
            ]
            for site, own in roles.items()
        }
        for role in ("train", "held_out", "test")
    }


def folds(study: StudyConfig, cases: Mapping[str, Cases]) -> list[Fold]:
    """Who learns and who is scored; see the module."""
    everybody = _some({site: [case for role in cases.values() for case in role[site]] for site in cases["test"]})
    if study.data.normal == "lesion-free-tissue":
        return [
            Fold(
                f"without {site}",
                {other: people for other, people in everybody.items() if other != site and study.data.trains(other)},
                {site: people},
                {site: site},
            )
            for site, people in everybody.items()
        ]
    if any(cases["held_out"].values()) and study.data.made is not None:
        scored = {site: [*cases["held_out"][site], *cases["test"][site]] for site in everybody}
        return [Fold("all sites", _some(cases["train"]), _some(scored), {site: site for site in scored})]
    controls = {
        site: [*cases["train"][site], *cases["held_out"][site]] for site in everybody if study.data.trains(site)
    }
    patients = _some({site: cases["test"][site] for site in everybody})
    whole = Fold("all controls", _some(controls), patients, dict.fromkeys(patients, "patients"))
    return [whole, *_crossed(halves(study, controls))]


def _crossed(both: tuple[Cases, Cases]) -> Iterator[Fold]:
    """Each half of every site's people, scored by the other."""
    for number, half in enumerate(both):
        name = f"half {number + 1} of the controls"
        yield Fold(name, _some(both[1 - number]), _some(half), dict.fromkeys(half, name))


def halves(study: StudyConfig, people: Cases) -> tuple[Cases, Cases]:
    """Every site's people, in two."""
    both: tuple[dict[str, list[Case]], dict[str, list[Case]]] = ({}, {})
    for site, cases in people.items():
        subjects = sorted({case.visit.participant.subject for case in cases})
        order = seeds.generator(study.seed, "halves", site).permutation(subjects)
        for number, half in enumerate(both):
            chosen = {*order[number::2]}
            half[site] = [case for case in cases if case.visit.participant.subject in chosen]
    return both


def _some(cases: Cases) -> dict[str, Sequence[Case]]:
    """The sites that have people."""
    return {site: people for site, people in cases.items() if people}
