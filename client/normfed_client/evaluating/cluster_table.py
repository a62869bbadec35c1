"""The clusters of a map as a table beside it: a BIDS TSV file, and a JSON file that says what its columns hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from normfed_common.foundation.files import write_json, write_text
from normfed_common.metrics.cluster_list import Cluster
from normfed_common.metrics.segmentation import MAXIMUM_CLUSTERS
from normfed_common.metrics.tissue import CLASSES, RIM_MM

MAP_ENDING = "_map.nii.gz"
PEAK = "of the voxel with the highest score, in the world coordinates of the scan that the map lies on"
COLUMNS = {
    "rank": {
        "Description": f"1 is the most suspicious: half by size, half by mean excess over the run's threshold. Where "
        f"more than {MAXIMUM_CLUSTERS} clusters are above it, it rises until no more are."
    },
    "volume_mm3": {
        "Description": "In the scan's own size. The smallest that is listed, evaluation.minimum_cluster_mm3 of the "
        "study, is on the grid of the template.",
        "Units": "mm^3",
    },
    "peak_score": {"Description": "Highest anomaly, before the map was resampled to the scan's grid."},
    "mean_score": {"Description": "Mean anomaly, before the map was resampled to the scan's grid."},
    "p_value": {
        "Description": "Smallest share of held-out normal people's voxels that are at least as abnormal, not corrected "
        "for the number of voxels; n/a where the run has no such people."
    },
    "x_mm": {"Description": f"Towards the person's right, {PEAK}.", "Units": "mm"},
    "y_mm": {"Description": f"Towards the front, {PEAK}.", "Units": "mm"},
    "z_mm": {"Description": f"Towards the top, {PEAK}.", "Units": "mm"},
    "tissue": {
        "Description": "At the peak, by the template.",
        "Levels": dict(
            zip(CLASSES, ("grey matter", "white matter", "fluid", f"the outer {RIM_MM:g} mm of the brain"), strict=True)
        ),
    },
}


def write_clusters(clusters: Sequence[Cluster], beside: Path) -> Path:
    """Write the table of a map's clusters, of none a table without rows; returns its path.

    Parameters
    ----------
    beside
        The map.
    """
    stem = beside.name.removesuffix(MAP_ENDING)
    path = beside.with_name(f"{stem}_clusters.tsv")
    write_text(path, "\n".join("\t".join(row) for row in [[*COLUMNS], *map(_row, clusters)]) + "\n")
    write_json(path.with_suffix(".json"), COLUMNS)
    return path


def _row(cluster: Cluster) -> list[str]:
    return [
        str(cluster.rank),
        f"{cluster.volume_mm3:.1f}",
        f"{cluster.peak_score:.6g}",
        f"{cluster.mean_score:.6g}",
        "n/a" if math.isnan(cluster.p_value) else f"{cluster.p_value:.3g}",
        *(f"{place:.1f}" for place in cluster.peak_mm),
        cluster.tissue,
    ]
