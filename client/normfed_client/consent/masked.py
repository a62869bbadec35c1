"""What masks make of arrays in a secure sum, found by encoding zeros as real ones are encoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from normfed_client.consent import words
from normfed_client.consent.manifest import Leaving, Row
from normfed_client.training.loop import trained_parameters
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.spending import spending
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint, WidePoint
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import SecureAggregationConfig


def of_sums(study: StudyConfig, plain: Leaving, phases: Sequence[Phase], noisy: Collection[str] = ()) -> Leaving:
    """Sums as they leave: in the clear, or masked where the study's are secure.

    Parameters
    ----------
    noisy
        Names of the arrays that have noise in them.
    """
    secure = study.privacy.secure_aggregation
    if secure is None:
        return plain
    share = _noise_share(study, phases, sums=True)
    zeros = {row.array: np.zeros([axis for axis in row.shape if isinstance(axis, int)]) for row in plain.rows}
    grid = parts.NO_GRID if share is None else share.grid(noisy)
    sent = parts.of_sums(zeros, 1, WidePoint(parts.SUMS_BITS, secure.largest_sum, secure.minimum_sites), grid)
    rows = _rows(sent, {row.array: row.what for row in plain.rows}, plain.rows[0].about)
    return plain.model_copy(update={"masked": True, "rows": rows})


def round_rows(
    study: StudyConfig, secure: SecureAggregationConfig, model: NormativeModel, phase: Phase, weights: Arrays
) -> tuple[Row, ...]:
    """Of a round of training."""
    share = _noise_share(study, model.phases(), sums=False)
    if share is None:
        loss = None if study.privacy.epsilon is not None else 0.0
        point = FixedPoint(parts.ROUND_BITS, secure.largest_change, secure.minimum_sites)
        sent = parts.of_update(weights, weights, 1, 1, loss, point)
        return _rows(sent, dict.fromkeys(weights, words.WEIGHT), "trained on")
    gradients = {name: np.zeros(tuple(each.shape)) for name, each in trained_parameters(model, phase)}
    sent = parts.of_gradients(gradients, 1, share.grid(gradients))
    return _rows(sent, dict.fromkeys(gradients, words.GRADIENT), "trained on")


def _rows(sent: Arrays, meaning: Mapping[str, str], about: str) -> tuple[Row, ...]:
    return tuple(
        Row(array=name, what=words.masked(name, meaning), dtype=str(array.dtype), shape=array.shape, about=about)
        for name, array in sent.items()
    )


def _noise_share(study: StudyConfig, phases: Sequence[Phase], sums: bool) -> NoiseShare | None:
    """What this site adds of the noise of a secure sum; None where it adds all of it, or none."""
    spent = spending(study, phases) if study.privacy.noise_sites > 1 else None
    release = None if spent is None else spent.sums if sums else spent.round
    return None if release is None else NoiseShare.of(release)
