"""What a dataset says about the study that one could make of it: modalities, sites, what is normal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.groups import groups_of, sounding_healthy
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.data import DataConfig
from normfed_common.study.modalities import MODALITIES
from normfed_simulation.datasets.recognition import as_bids

USUAL_SHARE = 0.5  # of the visits: a modality that so many have is taken


def data_of(folder: Path) -> dict[str, Any]:
    """The section `data` of a study of the people in ``folder``, as a study file has it.

    Raises
    ------
    DatasetError
        If there is no dataset, or it has nothing that a study could look at.
    """
    visits = read_dataset(as_bids(folder)).visits
    modalities = _modalities(visits)
    if not modalities:
        raise DatasetError(f"{folder}: has no scan of {', '.join(MODALITIES)}. Look at it with `normfed inspect`.")
    usable = [visit for visit in visits if set(modalities) <= visit.images.keys()]
    found: dict[str, Any] = {
        "modalities": modalities,
        "sites": sorted({visit.participant.site for visit in usable}),
    }
    return found | _normal(usable)


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
