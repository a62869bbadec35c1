"""Two sums that differ by one person are that person: what a site's record of releases prevents, and what noise leaves.

The server asks for the sums of a site's people, and once more when one of them has left. Without the site's rules it
gets both. The difference is held against what the person adds alone, each less what the site's others add on average,
for all brains are alike: a correlation of 0 is what the others' mean tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.site import Site, people_of
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteError
from normfed_common.foundation.private import secret
from normfed_common.study.config import StudyConfig
from normfed_server.results.audit import Figure, Finding
from normfed_simulation.audit.evidence import added_by
from normfed_simulation.audit.federations import Federation
from normfed_simulation.audit.target import Candidate, Target

NAME = "differencing"
PEOPLE = 3  # who leave, one after the other
SHARED: dict[str, Any] = {
    "attack": NAME,
    "measure": "correlation",
    "chance": 0.0,
    "knows": "a site's sums with and without one person",
}


def attack(target: Target) -> tuple[Finding, ...]:
    """Without the site's rules, and with them."""
    phases = target.new().phases()
    if not phases or phases[0].kind != "summed":
        why = "The model's first phase has no sums: updates of a network that differ by a person are no difference."
        return (Finding(**SHARED, title="Difference of two sums", notes=(why,)),)
    site = _largest(target)
    people = [p for p, member in zip(target.candidates, target.members, strict=True) if member and p.site == site]
    if len(people) < 3:
        return (Finding(**SHARED, title="Difference of two sums", notes=(f"{site} has fewer than three people.",)),)
    return _unruled(target, people), _ruled(target, people)


def recovered(difference: Arrays, person: Arrays, others: Arrays) -> float:
    """Correlation of two releases' difference with what the person adds, each less the others' mean; over the largest
    array."""
    name = max(person, key=lambda key: (person[key].size, key))
    truth, found = ((sums[name] - others[name]).ravel() for sums in (person, difference))
    if truth.std() == 0 or found.std() == 0:
        return 0.0
    return float(np.corrcoef(truth, found)[0, 1])


def _unruled(target: Target, people: list[Candidate]) -> Finding:
    phase = target.new().phases()[0].name
    model = target.new()
    own = [added_by(model, phase, person, target.private) for person in people]
    with_all = _sums(_of_site(target, people, people), people[0].site, phase)
    if with_all is None:
        return Finding(
            **SHARED,
            title="Difference of two sums",
            notes=(
                "Secure aggregation: no site's own sums are seen. The sum over all sites differs by the same, "
                "unless the people of the others change with it.",
            ),
        )
    found = []
    for number, person in enumerate(people[:PEOPLE]):
        rest = [other for other in people if other is not person]
        without = _sums(_of_site(target, people, rest), person.site, phase)
        assert without is not None
        others = {name: np.mean([own[n][name] for n in range(len(people)) if n != number], 0) for name in own[number]}
        difference = {name: with_all[name] - without[name] for name in own[number] if name in with_all}
        found.append(recovered(difference, own[number], others))
        target.told(f"differencing {number + 1} of {min(PEOPLE, len(people))}")
    return Finding(
        **SHARED,
        title="Difference of two sums, without the site's rules",
        figure=Figure(value=float(np.mean(found)), low=min(found), high=max(found)),
        people=len(found),
        decisions=len(found),
        trials=1 + len(found),
        notes=("The interval is the range over people.",),
    )


def _ruled(target: Target, people: list[Candidate]) -> Finding:
    """The same where the hospital keeps its record of releases: one of its people withdraws between two studies."""
    shared: dict[str, Any] = {
        **SHARED,
        "title": "Difference of two sums, with the site's rules",
        "people": 1,
        "trials": 2,
    }
    config, least = target.sites[people[0].site].config, len(people) - 1
    hospital = _hospital(target.folder / "hospital", config, least, target.run.study)
    study = target.training.study(())
    study = study.model_copy(
        update={
            "federation": study.federation.model_copy(update={"minimum_cohort": hospital.config.minimum_people}),
            "data": study.data.model_copy(update={"exclude": {}}),
            "privacy": study.privacy.model_copy(update={"secure_aggregation": None}),  # its hospital has no peers
        }
    )
    released: list[frozenset[str]] = []
    for run, gone in (("first", ()), ("second", (people[0].name,))):
        custody = hospital.custody(run)
        custody = custody.model_copy(update={"rules": custody.rules.model_copy(update={"exclude": gone})})
        site = Site(config.model_copy(update={"custody": custody, "output": hospital.site_config(run).output}), study)
        try:
            site.training_cohort()
            site.release("learning", site.train, "sums")
        except SiteError as error:
            what = "second" if released else "first"
            return Finding(**shared, notes=(f"The {what} sum is refused: {error.code.sentence}.",))
        released.append(frozenset(people_of(site.train)))
    apart = len(released[0] ^ released[1])
    if apart == 0:
        return Finding(**shared, notes=("Both sums are of the same people, so there is no difference.",))
    if apart >= least:
        note = f"The second sum leaves out others as well: the two differ by {apart} people, of whom none stands out."
        return Finding(**shared, notes=(note,))
    note = f"Both sums were released, and differ by {apart} people: the rules did not prevent it."
    return Finding(**shared, notes=(note,))


def _hospital(folder: Path, config: SiteConfig, minimum: int, study: StudyConfig) -> Hospital:
    """A hospital's folder with a record of its own, for as few people as the site has."""
    settings = HospitalConfig(
        site=config.name,
        server="nobody:1",
        data=config.data,
        owns=config.owns,
        device="cpu",
        minimum_people=max(2, minimum),
        minimum_people_per_voxel=2,
        held_out_share=0.0,
        lesion_margin_mm=study.preprocessing.lesion_margin_mm,
    )
    folder.mkdir()
    made = Hospital(folder, settings)
    made.people_secret.write_bytes(secret())
    Releases.create(made.record, PeopleSecret.read(made.people_secret))
    for run in ("first", "second"):
        made.prepare(run)
    return made


def _of_site(target: Target, everybody: list[Candidate], people: list[Candidate]) -> Federation:
    """A federation of one round in which some of a site's people train, and those of all other sites."""
    inside = {person.name for person in people}
    without = {person.name for person in everybody} - inside
    return target.training.trained(without, rounds=1)


def _sums(federation: Federation, site: str, phase: str) -> Arrays | None:
    """What the server got of a site; None where it saw no site's own."""
    return next((one.arrays for one in federation.heard if one.site == site and one.what == (phase, 0)), None)


def _largest(target: Target) -> str:
    """The site with most training people."""
    names, counts = np.unique(target.groups[target.members], return_counts=True)
    return str(names[counts.argmax()])
