"""A server that makes up what it sends before it asks for sums, so that a sum over everybody is one person's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attacker import MINIMUM, Server, as_sums, offered, study

from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_client.imaging.template import common_grid
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS

ENSEMBLE: dict[str, Any] = {
    "name": "ensemble",
    "members": [{"name": "atlas", "prior_subjects": 0.0, "smoothing_mm": 0.0}, {"name": "intensity"}],
}


def test_no_histogram_of_a_made_up_members_scores_reads_a_voxel_of_a_person(server: Server) -> None:
    """A variance that is tiny at one voxel alone: beyond all other scores there is that voxel, once a person."""
    asked = study(model=ENSEMBLE)
    shape, brain = common_grid(4).shape, np.flatnonzero(common_grid(4).brain)
    squares = np.full((2, *shape), 4.0)
    squares.reshape(2, -1)[:, brain[len(brain) // 2]] = 1e-6
    atlas = {"count": np.full(shape, 1e6), "sum": np.zeros((2, *shape)), "squares": 1e6 * squares}
    made_up = as_sums("member-1-moments", atlas) | as_sums("scale", {"count": [1e6, 1e6], "sum": [1e8, 1e6]})
    server.answer("query.describe", asked)
    found = server.answer("train.sums", asked, offered(made_up), phase="ranks")[1]["counts"][0, 0]
    top = np.flatnonzero(found)
    assert found.sum() > 100_000
    assert len(top)
    assert ((found == 0) | (found >= MINIMUM)).all()


@pytest.mark.parametrize("phase", ["nearest", "em"])
@pytest.mark.parametrize("distribution", ["gaussian", "multiple-scale-t"])
def test_no_class_of_a_made_up_mixture_is_one_voxel_of_a_person(server: Server, phase: str, distribution: str) -> None:
    """Once first / responsibility of a class far from all voxels was the nearest voxel, to all its digits."""
    asked = study(model={"name": "mixture", "classes": 3, "distribution": distribution, "voxels_per_person": 100_000})
    site = Site(open_hospital(server.folder).site_config("run-1"), asked)
    y = np.concatenate([scan.images[:, scan.mask] for scan in map(site.training_cohort().scan, range(9))], 1)
    voxel, across = y[:, y.sum(0).argmax()], np.diff(np.sort(y.sum(0))[-2:])[0] / 4
    means = np.array([voxel - across - 0.01, voxel - across + 0.01, [0.0, 0.0]])
    n = 1e6
    moments = {"count": n, "first": [0.5 * n, 0.5 * n], "second": np.array([[0.3, 0.25], [0.25, 0.3]]) * n}
    near = {"3.responsibility": np.full(3, n / 3), "3.first": means * n / 3}
    near["3.second"] = means[:, :, None] * means[:, None] * n / 3
    made_up = as_sums("moments", moments) | as_sums("nearest", {"count": n, **near})
    server.answer("query.describe", asked)
    again = {"iteration": 1} if phase == "nearest" else {}
    found = server.answer("train.sums", asked, offered(made_up), phase=phase, **again)[1]
    shares = found["3.responsibility"]
    assert shares.sum() == pytest.approx(float(found["count"]))
    assert ((shares == 0) | (shares >= MINIMUM)).all()
    build(MODELS, asked.model, Setting(asked.data.modalities, 4, common_grid(4).shape)).load(
        as_sums("moments", moments) | as_sums("nearest", near | {"count": n}) | as_sums(phase, found)
    )
