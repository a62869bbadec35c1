"""Brain segmentation across scanners: a small look-alike of CC359, from files to the table."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from surface_distance import metrics as oracle
from torch import nn

from normfed_common.foundation.errors import DatasetError, RunError
from normfed_simulation.segmentation import training
from normfed_simulation.segmentation.config import SegmentationConfig
from normfed_simulation.segmentation.network import SegmentationNetwork
from normfed_simulation.segmentation.published import PUBLISHED, SCANNERS, table
from normfed_simulation.segmentation.slices import SPACING_MM, Subject, batch, opened, prepared
from normfed_simulation.segmentation.study import alone, domain_shift, together
from normfed_simulation.segmentation.training import averaged, predicted, train

CPU = torch.device("cpu")
TINY = SegmentationConfig(
    filters=2, crop=16, batch_size=4, epochs=2, batches_per_epoch=2, folds=2, held_back=1, held_back_in_folds=1, seed=3
)


def look_alike(root: Path, scanners: tuple[str, ...] = ("Siemens-3T", "GE-3T"), people: int = 4) -> list[Subject]:
    """Brains that are brighter than what is around them; the second scanner shows another contrast."""
    found = []
    for number, scanner in enumerate(scanners):
        for person in range(people):
            rng = np.random.default_rng((number, person))
            axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (12, 18, 16)], indexing="ij")
            brain = sum(axis**2 for axis in axes) < 0.4 + 0.2 * rng.random()
            image = (100 + 50 * number) * brain + 10 * rng.standard_normal(brain.shape)
            paths = [root / scanner / f"CC{number}{person}{kind}.nii.gz" for kind in ("", "_ss")]
            for path, array in zip(paths, (image, brain), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                nibabel.Nifti1Image(array.astype(np.float32), np.diag([1.0, 1.0, 0.95, 1.0])).to_filename(path)
            found.append(Subject(scanner, *paths))
    return found


def test_the_network_is_as_large_as_the_published_one() -> None:
    """Written out from the repository: 3 blocks of two 3 x 3 convolutions at 4 + 3 places, and what joins them."""
    block = {n: 3 * 2 * (9 * n * n + 2 * n) for n in (16, 32, 64, 128)}
    places = block[16] * 2 + block[32] * 2 + block[64] * 2 + block[128]
    first, head = 9 * 16, (2 * 16 + 16 + 1) + 2
    down = sum(2 * n + 4 * n * 2 * n for n in (16, 32, 64))
    up = sum(4 * n * 2 * n for n in (16, 32, 64))
    skips = sum(n * n + n for n in (16, 32, 64))
    network = SegmentationNetwork()
    assert sum(tensor.numel() for tensor in network.parameters()) == places + first + head + down + up + skips
    assert network(torch.rand(2, 1, 24, 32)).shape == (2, 1, 24, 32)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 7 * 6 + 3 + 2


def test_a_scan_is_resampled_clipped_and_scaled_as_published() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.random((10, 19, 19)) * 40 - 7, np.zeros((10, 19, 19))
    mask[3:7, 5:14, 5:14] = 1
    volume = prepared(image, mask, (1.0, 0.95, 0.95))
    low, high = np.percentile(image, (1, 99))
    expected = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(volume.image, expected, atol=2e-3)
    np.testing.assert_array_equal(volume.mask, mask > 0.5)
    assert prepared(image, mask, (2.0, 0.95, 1.9)).image.shape == (20, 19, 38)


def test_a_crop_beyond_a_slice_is_padded_by_its_least_value_and_one_within_is_of_the_slice() -> None:
    image = (np.arange(20 * 12 * 3).reshape(20, 12, 3) / 1000 + 0.1).astype(np.float16)
    volume = prepared(np.float32(image), image > 0.4, SPACING_MM)
    images, masks = batch([volume], 6, 16, np.random.default_rng(0))
    for crop, mask in zip(images[:, 0], masks[:, 0], strict=True):
        depth = next(d for d in range(3) if np.array_equal(crop[:, 2:14], np.float32(volume.image[2:18, :, d])))
        assert (crop[:, :2] == volume.image[..., depth].min()).all()
        assert (crop[:, 14:] == volume.image[..., depth].min()).all()
        np.testing.assert_array_equal(mask[:, 2:14], volume.mask[2:18, :, depth])
    within, _ = batch([volume], 9, 8, np.random.default_rng(1))
    windows = {
        np.float32(volume.image[x : x + 8, y : y + 8, d]).tobytes()
        for x in range(13)
        for y in range(5)
        for d in range(3)
    }
    assert {crop.tobytes() for crop in within[:, 0]} <= windows


def test_training_learns_to_find_the_brain_and_interrupted_it_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = {"a": [opened(subject) for subject in look_alike(tmp_path, ("a",), 3)]}
    config = TINY.model_copy(update={"epochs": 3, "batches_per_epoch": 10, "learning_rate": 0.1, "filters": 4})
    whole = train("x", volumes, config, CPU, tmp_path / "whole.safetensors")
    network = whole.network("a")
    for volume in volumes["a"]:
        found = predicted(network, volume.image, config)
        assert (found == volume.mask).mean() > 0.97 > 1.1 * max(volume.mask.mean(), 1 - volume.mask.mean())
    real, rounds = training._epoch, iter(range(2))

    def dying(*arguments: object) -> object:
        if next(rounds, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        train("x", volumes, config, CPU, tmp_path / "part.safetensors")
    monkeypatch.undo()
    again = train("x", volumes, config, CPU, tmp_path / "part.safetensors")
    for key, array in whole.states[""].items():
        assert torch.equal(array, again.states[""][key]), key


def test_a_federation_of_one_is_plain_training_without_momentum_across_rounds_and_fedbn_keeps_normalisation(
    tmp_path: Path,
) -> None:
    one, two = ({site: [opened(s) for s in look_alike(tmp_path, (site,), 2)]} for site in "ab")
    once = TINY.model_copy(update={"epochs": 1})
    plain = train("x", one, once, CPU, tmp_path / "1.safetensors")
    alone_ = train("x", {"": one["a"]}, once, CPU, tmp_path / "2.safetensors", "fedavg")
    for key, array in plain.states[""].items():
        torch.testing.assert_close(alone_.states[""][key], array, rtol=0, atol=0)
    shared = train("x", one | two, once, CPU, tmp_path / "3.safetensors", "fedavg").states
    kept = train("x", one | two, once, CPU, tmp_path / "4.safetensors", "fedbn").states
    normalised = {f"{name}." for name, m in SegmentationNetwork(1).named_modules() if isinstance(m, nn.BatchNorm2d)}
    for key in shared["a"]:
        assert torch.equal(shared["a"][key], shared["b"][key])
        mine = any(key.startswith(name) for name in normalised) and "num_batches" not in key
        assert torch.equal(kept["a"][key], kept["b"][key]) != mine, key


def test_the_mean_of_networks_is_by_people() -> None:
    states = {
        "a": {"w": torch.tensor([1.0]), "n": torch.tensor(3)},
        "b": {"w": torch.tensor([4.0]), "n": torch.tensor(5)},
    }
    assert averaged(states, {"a": 1, "b": 2}) == {"w": torch.tensor([3.0]), "n": torch.tensor(5)}
    assert averaged(states, None)["w"] == 2.5


def test_nobody_is_trained_on_and_tested_by_the_same_network(tmp_path: Path) -> None:
    people: dict[str, list[Subject]] = {}
    for subject in look_alike(tmp_path, ("a", "b", "c"), 6):
        people.setdefault(subject.site, []).append(subject)
    mine, federated = list(alone(people, TINY)), list(together(people, TINY, "fedbn"))
    tested: dict[tuple[str, str], list[Subject]] = {}
    for experiment in (*mine, *federated):
        learnt = {subject for subjects in experiment.train.values() for subject in subjects}
        for site, subjects in experiment.test.items():
            assert not learnt & set(subjects)
            tested.setdefault((experiment.row, site), []).extend(subjects)
    for found in tested.values():
        assert len(found) == len(set(found)) == 6
    assert set(tested) == {(a, b) for a in (*people, "fedbn, unseen", "fedbn, seen") for b in people}
    assert [len(experiment.train["a"]) for experiment in mine[:3]] == [5, 2, 2]


def test_a_look_alike_goes_from_files_to_a_table_that_a_second_run_only_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = look_alike(tmp_path / "data")
    output = tmp_path / "out"
    figures = domain_shift(subjects, output, TINY, CPU, "fedavg")
    assert len(figures) == 2 * 2 + 2 * 2
    assert all(0 <= figure <= 1 for figure in figures.values())
    written = (output / "table.md").read_text()
    assert f"{figures['Siemens-3T', 'GE-3T']:.3f} (0.658)" in written
    assert "| fedavg, unseen |" in written
    monkeypatch.setattr("normfed_simulation.segmentation.study.train", None)
    assert domain_shift(subjects, output, TINY, CPU, "fedavg") == figures
    with pytest.raises(RunError, match="other people or parameters"):
        domain_shift(subjects, output, TINY.model_copy(update={"seed": 4}), CPU)


def test_surfaces_are_compared_as_published(tmp_path: Path) -> None:
    """DeepMind's surface-distance, which the paper used."""
    from normfed_common.metrics.segmentation import surface_dice

    one, other = (opened(subject).mask for subject in look_alike(tmp_path, ("a",), 2))
    shape = tuple(min(pair) for pair in zip(one.shape, other.shape, strict=True))
    one, other = (mask[tuple(slice(n) for n in shape)] for mask in (one, np.roll(other, 2, 1)))
    distances = oracle.compute_surface_distances(one, other, SPACING_MM)
    expected = oracle.compute_surface_dice_at_tolerance(distances, 1.0)
    assert surface_dice(one, other, SPACING_MM, 1.0) == pytest.approx(expected, abs=1e-6)
    assert 0.1 < expected < 1


def test_published_figures_stand_beside_ours() -> None:
    assert len(PUBLISHED) == 36
    assert (PUBLISHED["Siemens-3T", "GE-1.5T"], PUBLISHED["GE-3T", "GE-3T"]) == (0.107, 0.886)
    found = table({("Siemens-1.5T", "Siemens-1.5T"): 0.5, ("ours", "Philips-3T"): 0.25})
    assert "| Siemens-1.5T | 0.500 (0.858) | – (0.547) |" in found
    assert "| ours | – | 0.250 |" in found
    assert SCANNERS[0] in found


@pytest.mark.parametrize(
    ("scanners", "people", "sentence"),
    [(("a",), 6, r"1 scanner\(s\)"), (("a", "b"), 3, "a has 3 people, and .* takes 4")],
)
def test_too_few_scanners_or_people_are_said(
    tmp_path: Path, scanners: tuple[str, ...], people: int, sentence: str
) -> None:
    with pytest.raises(DatasetError, match=sentence):
        domain_shift(look_alike(tmp_path, scanners, people), tmp_path / "out", TINY, CPU)
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_used_are_said_in_a_sentence(tmp_path: Path) -> None:
    [good, other] = look_alike(tmp_path, ("a",), 2)
    nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)).to_filename(other.mask)
    with pytest.raises(DatasetError, match="has shape"):
        opened(other)
    nibabel.Nifti1Image(np.ones((12, 18, 16), np.float32), np.eye(4)).to_filename(other.image)
    with pytest.raises(DatasetError, match="nearly everywhere"):
        opened(Subject("a", other.image, good.mask))
    other.mask.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot be read as NIfTI"):
        opened(other)
