"""The clusters of a map as a table beside it: a TSV file, and a JSON file that says what its columns hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from normfed_client.imaging.brain_places import BESIDE_GREY_MM, MIDLINE_MM, PERIVENTRICULAR_MM, in_words
from normfed_common.foundation.files import write_json, write_text
from normfed_common.metrics.cluster_list import Cluster
from normfed_common.metrics.segmentation import MAXIMUM_CLUSTERS
from normfed_common.metrics.tissue import CLASSES, RIM_MM

MAP_ENDING = "_map.nii.gz"
PEAK = "of the voxel with the highest score, in the world coordinates of the scan that the map lies on"
MNI = "of the same voxel in MNI152 (ICBM 2009a symmetric), by an affine registration"
COLUMNS = {
    "rank": {
        "Description": f"1 is the most suspicious: half by size, half by mean excess over the run's threshold. Where "
        f"more than {MAXIMUM_CLUSTERS} clusters are above it, it rises until no more are."
    },
    "volume_ml": {
        "Description": "In the scan's own size. The smallest that is listed, evaluation.minimum_cluster_mm3 of the "
        "study, is on the grid of the template.",
        "Units": "mL",
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
    "mni_x_mm": {"Description": f"Towards the person's right, {MNI}.", "Units": "mm"},
    "mni_y_mm": {"Description": f"Towards the front, {MNI}.", "Units": "mm"},
    "mni_z_mm": {"Description": f"Towards the top, {MNI}.", "Units": "mm"},
    "tissue": {
        "Description": "At the peak, by the template.",
        "Levels": dict(
            zip(CLASSES, ("grey matter", "white matter", "fluid", f"the outer {RIM_MM:g} mm of the brain"), strict=True)
        ),
    },
    "place": {
        "Description": f"The peak in words, by the template and not by an atlas of labels. Midline: within "
        f"{MIDLINE_MM:g} mm of it. White matter is periventricular within {PERIVENTRICULAR_MM:g} mm of the lateral "
        f"ventricles, else beside grey matter within {BESIDE_GREY_MM:g} mm of some, else deep. Anterior, central and "
        "posterior, superior, middle and inferior are thirds of the brain's extent."
    },
}


def write_clusters(clusters: Sequence[Cluster], beside: Path, to_scan: np.ndarray) -> Path:
    """Write the table of a map's clusters, of none a table without rows; returns its path.

    Parameters
    ----------
    beside
        The map.
    to_scan
        From the world of the template to that of the scan in mm, RAS, (4, 4).
    """
    path = beside.with_name(f"{beside.name.removesuffix(MAP_ENDING)}_clusters.tsv")
    from_scan = np.linalg.inv(to_scan)
    rows = [_row(cluster, from_scan) for cluster in clusters]
    write_text(path, "\n".join("\t".join(row) for row in [[*COLUMNS], *rows]) + "\n")
    write_json(path.with_suffix(".json"), COLUMNS)
    return path


def _row(cluster: Cluster, from_scan: np.ndarray) -> list[str]:
    x, y, z = (from_scan[:3, :3] @ cluster.peak_mm + from_scan[:3, 3]).tolist()
    return [
        str(cluster.rank),
        f"{cluster.volume_mm3 / 1000:.4g}",
        f"{cluster.peak_score:.6g}",
        f"{cluster.mean_score:.6g}",
        "n/a" if math.isnan(cluster.p_value) else f"{cluster.p_value:.3g}",
        *(f"{place:.1f}" for place in (*cluster.peak_mm, x, y, z)),
        cluster.tissue,
        in_words((x, y, z), cluster.tissue),
    ]
