"""Planted anomalies: what a batch holds, the loss by hand, dense scoring against stacks, and that training finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learning import training
from sklearn.metrics import roc_auc_score
from synthetic import SHAPE, People, scan, setting

from normfed_client.training.loop import Settings, train
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.models import synthetic_anomalies
from normfed_common.models.catalogue import MODELS
from normfed_common.models.synthetic.window import stacks
from normfed_common.models.synthetic_anomalies import SyntheticAnomalies
from normfed_common.models.voxelwise.intensities import robust_units
from normfed_common.studies import validate_learner

RNG = np.random.default_rng(0)


def made(modalities: tuple[str, ...] = ("T1w", "FLAIR"), **values: Any) -> SyntheticAnomalies:
    found = build(MODELS, {"name": "synthetic-anomalies", **values}, setting(modalities))
    assert isinstance(found, SyntheticAnomalies)
    return found


def epoch(model: SyntheticAnomalies, people: People, seed: int = 0) -> list[Batch]:
    return list(model.batches("training", people, np.random.default_rng(seed)))


def partly_normal(people: People) -> People:
    """Nothing in the left half is."""
    found = People(0)
    for one in people.scans:
        left = np.unravel_index(one.normal_index, SHAPE)[0] < SHAPE[0] // 2
        found.scans.append(replace(one, normal_index=one.normal_index[~left]))
    return found


def test_batches_are_full_but_for_the_last_and_of_slices_with_normal_tissue() -> None:
    model = made(slabs_per_subject=3, batch_size=5)
    found = epoch(model, People(4))
    assert [len(batch) for batch in found[:-1]] == [5] * (len(found) - 1)
    assert 0 < len(found[-1]) <= 5
    for batch in found:
        assert batch.data["normal"].flatten(1).any(1).all()
        assert batch.data["stack"].shape[1:] == (12, *model.window.sides)
        assert batch.data["undoing"].shape[1] == 2


def test_without_augmentation_nothing_but_normal_tissue_differs_and_undoing_undoes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "normfed_common.models.synthetic_anomalies"
    monkeypatch.setattr(f"{module}.augmented", lambda both, *_: (both, 0))
    monkeypatch.setattr(f"{module}.FLIPPED", 0.0)
    model, people = made(foreign=0.0, slabs_per_subject=4), partly_normal(People(1))
    one = people.scans[0]
    units = robust_units(one.images, one.mask, one.present, -5.0)
    whole = np.moveaxis(model.window.slab(units, 0, SHAPE[2], -5.0), -1, 0)
    changed = 0.0
    for batch in epoch(model, people):
        undoing, normal, target = (batch.data[name].numpy() for name in ("undoing", "normal", "target"))
        assert (undoing[~np.broadcast_to(normal > 0, undoing.shape)] == 0).all()
        np.testing.assert_allclose(target[:, 0], np.clip(np.abs(undoing).max(1) - 0.7, 0, 1), atol=1e-5)
        clean = batch.data["stack"].numpy()[:, [1, 4]] + undoing  # the middle slices of both modalities
        for healed in clean:
            assert np.abs(whole - healed).max((1, 2, 3)).min() < 1e-4
        changed += target.sum()
    assert changed > 0


@pytest.mark.parametrize(("voxel_size_mm", "blobs", "voxels"), [(2, 5.0, 1), (1, 2.5, 2)])
def test_slabs_of_half_the_height_have_half_the_blobs_and_are_moved_as_far(
    voxel_size_mm: int, blobs: float, voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = build(
        MODELS, {"name": "synthetic-anomalies", "blobs": 5.0}, replace(setting(), voxel_size_mm=voxel_size_mm)
    )
    assert isinstance(found, SyntheticAnomalies)
    assert found.recipe.blobs == pytest.approx(blobs)
    moved = list[int]()
    monkeypatch.setattr(
        synthetic_anomalies, "_moved", lambda window, part, by, _: moved.append(by) or window.slab(window.guides, *part)
    )
    epoch(found, People(1))
    assert {*moved} == {voxels}


def test_seeds_repeat() -> None:
    model, people = made(), People(3)
    for one, other in zip(epoch(model, people, 4), epoch(model, people, 4), strict=True):
        for name, tensor in one.data.items():
            assert torch.equal(tensor, other.data[name])
    assert not torch.equal(epoch(model, people, 5)[0].data["stack"], epoch(model, people, 4)[0].data["stack"])


def test_the_loss_is_the_formula_slice_by_slice() -> None:
    model = made(undo=0.4, batch_size=4)
    batch = epoch(model, People(3))[0]
    found = model.loss("training", batch, torch.Generator()).detach().numpy()
    with torch.no_grad():
        said = model.unet(batch.data["stack"]).double().numpy()
    for n in range(len(batch)):
        target, undoing, normal = (batch.data[name][n].double().numpy() for name in ("target", "undoing", "normal"))
        chance = 1 / (1 + np.exp(-said[n, :1]))
        crossed = -target * np.log(chance) - (1 - target) * np.log(1 - chance)
        expected = ((crossed + 0.4 * np.abs(said[n, 1:] - undoing).sum(0)) * normal).sum() / model.window.area
        assert found[n] == pytest.approx(expected, rel=1e-4)


def test_scoring_is_the_network_on_stacks_built_by_hand_and_on_their_mirror_images() -> None:
    model, one = made(learnt=0.3), scan(np.random.default_rng(9))
    units = robust_units(one.images, one.mask, one.present, -5.0)
    window = model.window
    seen = torch.from_numpy(
        stacks(window.slab(units, -1, SHAPE[2] + 2, -5.0), window.slab(window.guides, -1, SHAPE[2] + 2))
    )
    anomaly = model.score([one], RNG).anomaly
    with torch.no_grad():
        logit = (model.unet(seen)[:, 0] + model.unet(seen.flip(2))[:, 0].flip(1)) / 2
    for x, y, z in np.argwhere(one.mask)[::17]:
        said = max(float(logit[z, x - window.start[0], y - window.start[1]]), -8)
        assert anomaly[x, y, z] == pytest.approx(np.log1p(np.exp(units[1, x, y, z] + 0.3 * said)), rel=1e-4)


@pytest.mark.parametrize("at_once", [1, 4])
def test_slices_are_scored_a_few_at_a_time_and_alike(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a whole brain at 1 mm the stacks alone take hundreds of megabytes."""
    model, one = made(), scan(np.random.default_rng(5))
    units = robust_units(one.images, one.mask, one.present, -5.0)
    together, depths = model.logit(units), list[int]()
    monkeypatch.setattr(synthetic_anomalies, "SLICES_AT_ONCE", at_once)
    slab = model.window.slab

    def watched(volume: np.ndarray, first: int, depth: int, outside: float = 0.0) -> np.ndarray:
        depths.append(depth)
        return slab(volume, first, depth, outside)

    monkeypatch.setattr(model.window, "slab", watched)
    np.testing.assert_allclose(model.logit(units), together, atol=1e-5)
    assert max(depths) == at_once + 2


def test_without_weight_the_score_is_brightness_and_on_t1_darkness() -> None:
    one = scan(np.random.default_rng(9))
    units = robust_units(one.images, one.mask, one.present)
    for modality, sign, channel in (("FLAIR", 1, 1), ("T1w", -1, 0)):
        found = made(learnt=0.0, modality=modality).score([one], RNG).anomaly
        np.testing.assert_allclose(found[one.mask], np.log1p(np.exp(sign * units[channel][one.mask])), rtol=1e-5)


def smooth(seed: int, person: int = 0) -> Scan:
    """A brain of two tissues with little noise, in which a blob stands out by its place alone."""
    rng = np.random.default_rng(seed)
    one, shells = scan(rng, 1, person=person), setting().anatomy
    tissue = 0.6 * shells.grey + 0.4 * shells.white + 0.1 * shells.fluid
    noise = 0.02 * rng.standard_normal(SHAPE)
    return replace(one, images=((tissue + noise) * one.mask)[None].astype(np.float32))


def test_training_finds_what_was_planted_in_an_unseen_scan_where_intensity_cannot() -> None:
    people = People(0)
    people.scans = [smooth(seed, seed) for seed in range(4)]
    model = made(("FLAIR",), slabs_per_subject=8, amplitude=[1.0, 2.0], radius_mm=[3.0, 6.0], learnt=1.0)
    ill = smooth(99)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    blob = (np.linalg.norm(grid - [18, 14, 3], axis=-1) <= 2.5) & (setting().anatomy.white > 0) & ill.mask
    # As bright as normal grey matter: no intensity tells the two apart.
    ill = replace(ill, images=np.where(blob, ill.images + 0.2, ill.images).astype(np.float32))

    def found() -> float:
        units = robust_units(ill.images, ill.mask, ill.present, -5.0)
        return float(roc_auc_score(blob[ill.mask], model.logit(units)[ill.mask]))

    before = found()
    for number in range(1, 5):
        train(model, people, Settings(training(model), 1, "a", number, 2, 3e-3))
    assert found() > max(0.9, before)


def test_limits_in_the_wrong_order_are_refused_in_words() -> None:
    for name, limits in (("radius_mm", [9.0, 2.0]), ("amplitude", [4.0, 0.5])):
        with pytest.raises(StudyError, match="the smaller comes first"):
            validate_learner(MODELS, {"name": "synthetic-anomalies", name: limits}, "model")
