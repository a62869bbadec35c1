"""Post-processing of a map, alike for every model: smoothing, fluid, edges, small peaks.

A voxel's weight w is 0 outside the brain and in suppressed fluid, `edge_factor` in the edge, else 1, times a prior of
place, g + (1 - g) W: W is the template's white matter spread by 5 mm, as a share of its maximum, g the `grey_factor`.
Of the false alarms of bright FLAIR most are cortex, and registration is not exact to the width of a gyrus, whence the
spread. With G a Gaussian,

    smoothed = w G(w a) / G(w)

so that what is suppressed never spreads into tissue, and nothing fades towards the border; then an area opening.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from normfed_common.foundation.masks import once_per_mask
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.metrics.tissue import depth_mm
from normfed_common.models.maps.area_opening import area_opening
from normfed_common.models.maps.fluid import patients_fluid
from normfed_common.models.voxelwise.intensities import smoothed_inside
from normfed_common.study.postprocessing import PostprocessingConfig

SPREAD_MM = 5.0


def postprocessed(score: Score, scan: Scan, config: PostprocessingConfig, setting: Setting) -> Score:
    """The score with its anomaly, and the uncertainty with it, as the study has them; extras stay.

    Standard errors of neighbours come from the same training people, and how they go together is not known: smoothed
    like the anomaly they are the most that the error of a weighted mean can be. The opening leaves them: it is
    1-Lipschitz, so that no value is wrong by more than the most wrong of its peak.

    Parameters
    ----------
    scan
        As the site prepared it, before any transform: fluid is told from its contrast.
    """
    if config.is_off:
        return score
    weight = weights(scan, config, setting)
    sigma = config.smoothing_mm / setting.voxel_size_mm
    anomaly = _smoothed(score.anomaly, weight, sigma)
    uncertainty = None if score.uncertainty is None else _smoothed(score.uncertainty, weight, sigma)
    voxels = round(config.minimum_cluster_mm3 / setting.voxel_size_mm**3)
    return replace(score, anomaly=area_opening(anomaly, voxels), uncertainty=uncertainty)


def weights(scan: Scan, config: PostprocessingConfig, setting: Setting) -> np.ndarray:
    """Of every voxel, float64 of shape (X, Y, Z) in [0, 1]."""
    found = scan.mask.astype(np.float64)
    if config.edge_mm > 0:
        found[_edge(scan.mask, setting.voxel_size_mm, config.edge_mm)] *= config.edge_factor
    if config.fluid == "template":
        found[setting.anatomy.fluid > 0.5] = 0
    elif config.fluid == "patient":
        found[patients_fluid(scan, setting.modalities)] = 0
    if config.grey_factor < 1:
        found *= config.grey_factor + (1 - config.grey_factor) * setting.anatomy.spread_white(
            SPREAD_MM / setting.voxel_size_mm
        )
    return found


@once_per_mask
def _edge(mask: np.ndarray, voxel_size_mm: float, edge_mm: float) -> np.ndarray:
    """Whether a voxel lies less than that deep, bool (X, Y, Z)."""
    return depth_mm(mask, voxel_size_mm) < edge_mm


def _smoothed(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """The values of shape (X, Y, Z), smoothed and weighted, as float32; ``sigma`` in voxels."""
    return (weight * smoothed_inside(values, weight, sigma)).astype(np.float32)
