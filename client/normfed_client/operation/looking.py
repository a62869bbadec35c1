"""A hospital's look at its own cohort: run it, keep it, decide on people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from normfed_client.hospital.folder import Hospital, HospitalConfig, open_hospital
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.quality.doubts import Doubt
from normfed_client.quality.kept import KeptLook, Records, decision, people_of, seen, undecided
from normfed_client.quality.look import Look, Told, look_at
from normfed_client.recording.audit import Audit
from normfed_common.chain.kinds.site import LookDecided
from normfed_common.deployment import settings
from normfed_common.foundation.errors import UserError
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig
from normfed_common.study.modalities import MODALITIES, asked
from normfed_common.study.preprocessing import PreprocessingConfig

HEALTHY: tuple[str, ...] = DataConfig.model_fields["control_groups"].default


def recipe_of(
    study: StudyConfig | None, visits: Sequence[Visit], modalities: Sequence[str], healthy: Sequence[str]
) -> tuple[Recipe, tuple[str, ...]]:
    """How scans are prepared for a look, and which groups are healthy: as a study says; else with defaults, of all
    modalities that there are.

    Raises
    ------
    UserError
        If there are none.
    """
    if study is not None:
        return Recipe.of(study), tuple(healthy) or study.data.control_groups
    there = {modality for visit in visits for modality in visit.images}
    known = [m for m in MODALITIES if m in there] + sorted(there - set(MODALITIES))
    chosen = asked(modalities or known)
    if not there & set(chosen):
        raise UserError(f"no scans of {', '.join(chosen) or 'any modality'}; the dataset has {', '.join(known)}.")
    return Recipe(PreprocessingConfig(), chosen, None), tuple(healthy) or HEALTHY


def look(hospital: Hospital, recipe: Recipe, healthy: tuple[str, ...], workers: int, told: Told) -> Look:
    """Look at a hospital's people who are not excluded, and keep what is found."""
    people = people_of(hospital)
    before = {name: seen(visits) for name, visits in people.items()}
    visits = [visit for visits in people.values() for visit in visits]
    found = look_at(visits, recipe, hospital.cache, healthy, workers, told)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    kept = KeptLook(time=time, modalities=recipe.modalities, healthy=healthy, people=before, doubts=found.doubts)
    Records(hospital.quality).keep(kept)
    return found


def decide(hospital: Hospital, what: Literal["keep", "exclude"], subjects: Sequence[str], by: str, why: str) -> None:
    """Put decisions on record; who is excluded is written to site.yaml as well.

    Raises
    ------
    UserError
        If nobody looked, or a person is not as they were looked at; nothing is decided of anybody then.
    """
    records = Records(hospital.quality)
    kept, people = _latest(records), people_of(hospital)
    for name in subjects:
        if name in hospital.config.exclude:
            raise UserError(f"{name}: in `exclude` of site.yaml already. Take the line out first to decide otherwise.")
    found = [decision(kept, what, name, by, why, people.get(name, [])) for name in subjects]
    for one in found:
        if what == "exclude":
            settings.add(hospital.folder / "site.yaml", HospitalConfig, "exclude", one.subject)
        Audit(hospital).append(LookDecided(decision=what, by=by))
        records.decide(one)


def left(hospital: Hospital) -> list[Doubt]:
    """Serious doubts of the latest look that nobody decided on, by site.yaml as it is now."""
    records, now = Records(hospital.quality), open_hospital(hospital.folder)
    return undecided(_latest(records), records.decisions(), now.config.exclude)


def _latest(records: Records) -> KeptLook:
    found = records.latest()
    if found is None:
        raise UserError("Nobody has looked at the cohort. Run: normfed site quality")
    return found
