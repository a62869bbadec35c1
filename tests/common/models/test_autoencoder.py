"""The published network of whole slices: its shape, its score, its gradients."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from synthetic import People, scan, setting

from normfed_common.foundation.errors import ScanError, StudyError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.learning.learner import NORMALISATION_GROUP
from normfed_common.models.autoencoder import AutoEncoder, AutoEncoderConfig
from normfed_common.models.catalogue import MODELS
from normfed_common.models.slicewise.slices import signs_of

SMALL = {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 16, "latent": 8, "batch_size": 4}


def model(**changes: object) -> AutoEncoder:
    found = build(MODELS, {**SMALL, **changes}, setting())
    assert isinstance(found, AutoEncoder)
    return found


def batches(tried: AutoEncoder, people: People, seed: int = 0) -> Iterator[Batch]:
    for batch in tried.batches("training", people, np.random.default_rng(seed)):
        yield batch.to(setting().device)


def test_the_published_network_has_the_published_shape() -> None:
    network = AutoEncoder(AutoEncoderConfig(), setting()).slices
    x = torch.zeros(1, 2, 128, 128, device=setting().device)
    assert network.encoder(network.stem(x)).shape == (1, 128, 16, 16)
    assert network(x).shape == x.shape


def left_over(tried: AutoEncoder, one: Scan, depth: int) -> np.ndarray:
    """The residual of an axial slice by hand, of each modality that the network sees."""
    padded = np.zeros((1, len(one.images), 32, 32), np.float32)
    padded[0, :, 3:29, 2:30] = one.images[..., depth]
    padded = padded[:, tried.channels]
    tried.slices.eval()
    with torch.inference_mode():
        found = tried.slices(torch.from_numpy(padded).to(setting().device)).cpu().numpy()
    left: np.ndarray = (padded - found)[0, :, 3:29, 2:30] * one.mask[..., depth]
    return left


SIGNS: list[tuple[object, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = [
    (None, lambda t1, flair: np.maximum(flair, 0)),
    ("absolute", lambda t1, flair: (np.abs(t1) + np.abs(flair)) / 2),
    ("positive", lambda t1, flair: (np.maximum(t1, 0) + np.maximum(flair, 0)) / 2),
    ("negative", lambda t1, flair: (np.maximum(-t1, 0) + np.maximum(-flair, 0)) / 2),
    ({"T1w": "negative"}, lambda t1, flair: np.maximum(-t1, 0)),
    (
        {"FLAIR": "positive", "T1w": "negative"},
        lambda t1, flair: (np.maximum(-t1, 0) + np.maximum(flair, 0)) / 2,
    ),
]


@pytest.mark.parametrize(("residual", "expected"), SIGNS, ids=[str(residual) for residual, _ in SIGNS])
def test_the_score_is_the_residual_of_the_modalities_that_count_in_their_direction(
    residual: object, expected: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    tried, one = model(residual=residual), scan(np.random.default_rng(0))
    found = tried.score([one], np.random.default_rng(0)).anomaly
    assert found[one.mask].std() > 0
    for depth in range(6):
        np.testing.assert_allclose(found[..., depth], expected(*left_over(tried, one, depth)), atol=1e-5)


@pytest.mark.parametrize("shape", [(26, 28, 6), (40, 50, 5)])
def test_the_score_is_on_the_scans_own_grid(shape: tuple[int, int, int]) -> None:
    one = scan(np.random.default_rng(0), shape=shape)
    found = model().score([one], np.random.default_rng(0)).anomaly
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert (found[~one.mask] == 0).all()
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [
        (("T1w", "FLAIR", "T2w"), {"FLAIR": "positive"}),
        (("T1w", "T2w"), {"T2w": "positive"}),
        (("T1w", "pet"), {"T1w": "absolute", "pet": "absolute"}),
    ],
)
def test_what_counts_by_default_is_what_is_bright_where_lesions_are(
    modalities: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert signs_of(None, modalities) == expected


def test_a_network_that_sees_one_modality_needs_no_other() -> None:
    tried = model(modalities=["FLAIR"])
    assert tried.needs(tried.config, ("T1w", "FLAIR")) == ("FLAIR",)
    one = scan(np.random.default_rng(0))
    without = replace(one, images=one.images * np.array([0, 1], np.float32)[:, None, None, None])
    without = replace(without, present=np.array([False, True]))
    found = tried.score([without], np.random.default_rng(0)).anomaly
    np.testing.assert_array_equal(found, tried.score([one], np.random.default_rng(0)).anomaly)
    np.testing.assert_allclose(found[..., 2], np.maximum(left_over(tried, one, 2)[0], 0), atol=1e-5)
    with pytest.raises(ScanError, match="no FLAIR,"):
        tried.score([replace(one, present=np.array([False, False]))], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modalities": ["T2w"]}, "modalities: the study has no T2w, only T1w, FLAIR"),
        ({"residual": {"T2w": "positive"}}, "residual: the network sees no T2w, only T1w, FLAIR"),
        ({"modalities": ["T1w"], "residual": {"FLAIR": "positive"}}, "residual: the network sees no FLAIR, only T1w"),
    ],
)
def test_a_modality_that_is_not_there_is_refused_by_its_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        model(**changes)


def test_tissue_that_is_not_normal_has_no_say_in_the_loss() -> None:
    tried = model(dropout=0.0)
    people = People(1)
    one = people.scans[0]
    ill = np.zeros(one.mask.shape, bool)
    ill[10:14, 10:14, 2] = True
    people.scans[0] = replace(one, normal_index=np.flatnonzero(one.mask & ~ill).astype(np.int32))
    weights = torch.cat([b.data["counts"][:, 0, 3:29, 2:30] for b in batches(tried, people)])
    assert int((weights == 0).sum()) == int((ill & one.mask).sum())


def test_it_learns() -> None:
    tried = model()
    people = People(2)
    optimiser = torch.optim.Adam(tried.slices.parameters(), lr=1e-2)
    losses = []
    for epoch in range(12):
        for batch in batches(tried, people, epoch):
            optimiser.zero_grad()
            loss = tried.loss("training", batch, torch.Generator()).mean()
            loss.backward()
            optimiser.step()
            losses.append(float(loss))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_dropout_follows_the_generator_that_it_is_given() -> None:
    tried = model(dropout=0.5)
    batch = next(batches(tried, People(1)))

    def loss(seed: int) -> float:
        return float(tried.loss("training", batch, torch.Generator().manual_seed(seed)).detach().sum())

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_per_sample_gradients_add_up_to_the_gradient() -> None:
    tried = model(dropout=0.0)
    batch = next(batches(tried, People(1)))
    tried.loss("training", batch, torch.Generator()).sum().backward()
    expected = {n: p.grad.clone() for n, p in tried.slices.named_parameters() if p.grad is not None}
    tried.slices.zero_grad()
    wrapped = GradSampleModule(tried.slices, loss_reduction="sum")
    slices, counts = batch.data["slices"], batch.data["counts"]
    error = ((slices - wrapped(slices)).abs() * counts).sum((1, 2, 3))
    (error / (counts.sum((1, 2, 3)) * 2)).sum().backward()
    for name, parameter in wrapped._module.named_parameters():
        torch.testing.assert_close(parameter.grad_sample.sum(0), expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "entry", [{"name": "siamese", "architecture": "isbi", "norm": "layer"}, {"name": "autoencoder"}, {"name": "vae"}]
)
def test_every_array_belongs_to_exactly_one_part(entry: dict[str, str]) -> None:
    tried = build(MODELS, entry, setting())
    groups = tried.groups()
    assert groups.pop(NORMALISATION_GROUP)
    found = sorted(array for part in groups.values() for array in part)
    assert found == sorted(tried.share())
    assert next(iter(groups)) == "stem"
    assert list(groups)[-1] == "decoder"


def test_batch_normalisation_brings_its_running_statistics_but_no_counter() -> None:
    tried = model(norm="batch")
    kept = tried.groups()[NORMALISATION_GROUP]
    assert any(name.endswith("running_var") for name in kept)
    assert not any(name.endswith("num_batches_tracked") for name in kept)


def test_models_without_a_network_have_no_parts() -> None:
    for name in MODELS:
        tried = build(MODELS, {"name": name}, setting())
        assert bool(tried.groups()) == (tried.network is not None)
