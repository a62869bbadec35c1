"""How much is called abnormal beside how much is lesion: a map that touches lesions may mark half a brain."""

from __future__ import annotations

from normfed_server.report.words import counted, small
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.layout import RunResults
from normfed_server.results.volumes import Volume


def false_alarm(results: RunResults) -> list[str]:
    """Millilitres at the run's threshold, in how many patients half of them are no lesion, and the site at which that
    is most often so; nothing where single patients are not known."""
    volumes = results.volumes
    if volumes.all is None:
        return []
    text = f"At the run's threshold it calls {_beside_lesions(volumes.all)} (medians)"
    if volumes.all.mostly_false:
        text += f"; in {volumes.all.mostly_false} of {volumes.all.patients} patients half of that or more is no lesion"
        worst = max(volumes.sites, key=lambda site: _rank(volumes.sites[site]))
        there = volumes.sites[worst]
        if len(volumes.sites) > 1 and 2 * there.mostly_false > there.patients:
            few = f" ({counted(there.patients, 'patient', 'patients')})" if there.patients < FEWEST_PATIENTS else ""
            text += f", most often at {worst}{few}: {_beside_lesions(there)}"
    return [f"{text}."]


def _beside_lesions(volume: Volume) -> str:
    return f"{small(volume.found_ml)} ml of a brain abnormal where the lesions have {small(volume.lesion_ml)} ml"


def _rank(volume: Volume) -> tuple[float, float]:
    """By how often, then by how much."""
    return volume.mostly_false / volume.patients, volume.found_ml - volume.lesion_ml
