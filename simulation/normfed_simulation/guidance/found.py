"""What a dataset says about the study that one could make of it: modalities, sites, what is normal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from normfed_client.imaging.bids import Dataset, Visit
from normfed_client.imaging.groups import groups_of, sounding_healthy
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig
from normfed_common.study.modalities import MODALITIES
from normfed_simulation.taking_part import check_name, foreseen

USUAL_SHARE = 0.5  # of the visits: a modality that so many have is taken


def data_of(dataset: Dataset) -> dict[str, Any]:
    """The section `data` of a study of a dataset's people, as a study file has it.

    Raises
    ------
    DatasetError
        If it has nothing that a study could look at, or a site with a name that no study can list.
    """
    visits = dataset.visits
    modalities = _modalities(visits)
    if not modalities:
        raise DatasetError(
            f"{dataset.root}: has no scan of {', '.join(MODALITIES)}. Look at it with `normfed inspect`."
        )
    usable = [visit for visit in visits if set(modalities) <= visit.images.keys()]
    sites = sorted({visit.participant.site for visit in usable})
    for site in sites:
        check_name(site, sites, dataset.root)
    return {"modalities": modalities, "sites": sites} | _normal(usable)


def usable_sites(study: StudyConfig, dataset: Dataset) -> list[str]:
    """Those that a study lists where people enough train, are held out, or test; all of them where they are nowhere."""
    cast, listed = foreseen(study, dataset), list(study.data.sites or dataset.sites())
    return [site for site in listed if any(count >= cast.minimum for count in cast.at(site).values())] or listed


def reasons(study: StudyConfig, dataset: Dataset) -> list[str]:
    """Why these modalities and sites, and no others."""
    counts = Counter(modality for visit in dataset.visits for modality in visit.images)
    taken = ", ".join(f"{modality} ({counts.pop(modality)})" for modality in study.data.modalities)
    rarer = ", ".join(f"{modality} ({count})" for modality, count in counts.most_common())
    said = [
        f"Modalities, of {len(dataset.visits)} visits: {taken}{f'; not the rarer {rarer}' if rarer else ''}. A study "
        "takes people who have all of its modalities."
    ]
    sites = study.data.sites or ()
    apart: dict[str, list[str]] = {}
    for site, visits in dataset.sites().items():
        if site not in sites:
            apart.setdefault(_why_not(study, visits), []).append(site)
    return said + [f"Sites left out, {why}: {', '.join(names)}." for why, names in apart.items()]


def _why_not(study: StudyConfig, visits: Sequence[Visit]) -> str:
    if not any(set(study.data.modalities) <= visit.images.keys() for visit in visits):
        return f"nobody has {' and '.join(study.data.modalities)}"
    return f"fewer than {study.federation.minimum_cohort} healthy people or people with a lesion mask that counts"


def _modalities(visits: Sequence[Visit]) -> list[str]:
    """Those that most visits have, in the usual order; else the one that most have."""
    counts = Counter(modality for visit in visits for modality in visit.images if modality in MODALITIES)
    usual = [m for m in MODALITIES if counts[m] >= USUAL_SHARE * len(visits)]
    return usual or [modality for modality, _ in counts.most_common(1)]


def _normal(visits: Sequence[Visit]) -> dict[str, Any]:
    """Who is healthy, where studies do not know it by the usual word."""
    groups = groups_of(visits)
    if any(group in groups for group in DataConfig.model_fields["control_groups"].default):
        return {}
    healthy = sounding_healthy(groups)
    if healthy:
        return {"control_groups": healthy}
    return {"normal": "lesion-free-tissue"} if any(visit.lesions for visit in visits) else {}
