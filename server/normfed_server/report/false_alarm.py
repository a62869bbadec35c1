"""How much is called abnormal beside how much is lesion: a map that touches lesions may mark half a brain."""

from __future__ import annotations

from normfed_server.report.words import number
from normfed_server.results.layout import RunResults
from normfed_server.results.volumes import Volume

MOSTLY_FALSE = 3.0  # times the lesions: two thirds of what is called abnormal, at least, are none


def called_abnormal(results: RunResults) -> list[str]:
    """Millilitres at the run's threshold, and at which site they are furthest beyond the lesions'; nothing where single
    patients are not known."""
    volumes = results.volumes
    if volumes.all is None:
        return []
    called, lesions = number(volumes.all.called_ml), number(volumes.all.lesion_ml)
    text = f"At the run's threshold it calls {called} ml of a brain abnormal; the lesions have {lesions} ml (medians)"
    worst = max(volumes.sites, key=lambda site: _times(volumes.sites[site]), default="")
    if len(volumes.sites) > 1 and _times(volumes.sites[worst]) >= MOSTLY_FALSE:
        there = volumes.sites[worst]
        text += f"; at {worst} {number(there.called_ml)} ml where they have {number(there.lesion_ml)} ml"
    if max(map(_times, (volumes.all, *volumes.sites.values()))) >= MOSTLY_FALSE:
        text += ": most of that is false"
    return [f"{text}."]


def _times(volume: Volume) -> float:
    return volume.called_ml / volume.lesion_ml
