"""What a manifest promises in words: how people are protected, what may be said of the method, what stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from normfed_client.hospital.folder import HospitalConfig
from normfed_client.hospital.personal import STALE
from normfed_client.hospital.places import note_of_cubes
from normfed_common.algorithms.table import configure
from normfed_common.learning.learner import Learner
from normfed_common.privacy.spending import spending
from normfed_common.study.config import StudyConfig

ALWAYS_STAYS = (
    "scans, parts of scans, and maps of a person",
    "names of people, files and folders, and the table of participants",
    "figures of one person",
    "the content of an error: a code and a fixed sentence leave in its place",
)


def protection_of(study: StudyConfig, rules: HospitalConfig, models: Iterable[Learner]) -> tuple[str, ...]:
    """Noise, masks, and what this site does of its own accord."""
    privacy = study.privacy
    found = [
        f"Nothing that leaves is about fewer than {max(study.federation.minimum_cohort, rules.minimum_people)} people.",
        f"Sums per voxel over fewer than {rules.minimum_people_per_voxel} people leave as means of cubes of "
        f"{rules.cube_mm:g} mm.",
    ]
    if privacy.epsilon is None:
        found.append("No noise is added: differential privacy is off.")
    else:
        found.append(
            f"Noise hides every {privacy.unit} in what is learnt: epsilon {privacy.epsilon:g}, delta {privacy.delta:g} "
            f"for each model, added {'at this site' if privacy.noise_sites == 1 else 'in shares'} "
            f"({'; '.join(_multipliers(study, models))}). Figures of tests have none."
        )
    secure = privacy.secure_aggregation
    if secure is None:
        found.append("Nothing is masked: the server sees what this site sends.")
    else:
        found.append(
            f"What is learnt leaves masked: the server can read it only in the sum of at least {secure.minimum_sites} "
            "sites. Figures of tests are not masked."
        )
    if privacy.central is not None:
        found.append(
            f"The server adds noise of its own against whoever sees its models: epsilon {privacy.central.epsilon:g} "
            "for each site. Against the server it does nothing."
        )
    return tuple(found)


def _multipliers(study: StudyConfig, models: Iterable[Learner]) -> Sequence[str]:
    """How much noise there is, by model."""
    found = []
    for model in models:
        spent = spending(study, model.phases())
        if spent is not None and spent.sums is not None:
            found.append(f"in sums {spent.sums.noise_multiplier:.2f} times the most that one person adds")
        if spent is not None and spent.round is not None:
            found.append(
                f"in steps of training {spent.round.noise_multiplier:.2f} times the most of one {study.privacy.unit}"
            )
    return tuple(dict.fromkeys(found)) or ("no model learns from people",)


def notes_of(rules: HospitalConfig, said: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The only sentences that an answer may say of the method."""
    ours = (STALE, note_of_cubes(rules.cube_mm, rules.minimum_people_per_voxel))
    return tuple(dict.fromkeys((*ours, *(note for notes in said for note in notes))))


def stays_of(study: StudyConfig) -> tuple[str, ...]:
    """What never leaves in this study."""
    found = list(ALWAYS_STAYS)
    rows = [configure(entry)[0] for entry in (study.strategy, *study.comparisons.strategies)]
    if any(row.sharing != "all" for row in rows):
        found.append("the parts of the network that the strategy keeps at every site")
    if any(row.beside_a_personal_model or row.fine_tuned for row in rows):
        found.append("the model that is trained for this site alone")
    if any(row.objective == "controlled" for row in rows):
        found.append("the control variates of this site, which the server works out for itself")
    return tuple(found)


HOW_FAR = (
    "Figures of tests tell about what score one of the people tested or held out has, the one that only as many people "
    "as the minimum reach; not who it is."
)


def remains_of(study: StudyConfig) -> tuple[str, ...]:
    """What a dishonest server could still learn, in the words of the guide `what-leaves`."""
    if study.privacy.epsilon is not None:
        found = [
            "What is learnt tells of one person no more than the noise allows, whatever the server does. Figures of "
            "tests are without noise.",
            HOW_FAR,
        ]
    else:
        found = [
            "A server that sends a network built to react to a few people's scans learns from the update whatever it "
            "was built for: nothing but noise bounds that, and this study has none.",
            "A server that asks twice with parameters that differ a little may learn one voxel of nobody knows whom.",
            "Whoever has somebody's scan already may find out whether it is among those learnt from.",
            HOW_FAR,
        ]
    if study.privacy.secure_aggregation is not None and study.privacy.epsilon is None:
        found[0] = (
            "A server that sends a network built to react to a few people's scans learns what it was built for from "
            "the sum of all sites. Masks hide one site's part from a server that keeps to the protocol; one that asks "
            "for the same twice, and says of the second time that the site dropped out, has it as the difference."
        )
    return tuple(found)
