"""Moments of patches, and their principal components as the yardstick, against scikit-learn's on the pooled patches."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from synthetic import SHAPE, People, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.patchwise import patch_moments
from normfed_common.models.patchwise.patch_moments import PatchMoments
from normfed_common.models.siamese import DRAWS, Siamese

RANGE = (0.0, 1.0)
DIMENSION = 2 * 9 * 9


def siamese(**parameters: object) -> Siamese:
    made = build(MODELS, {"name": "siamese", "patch_size": 9, **parameters}, setting())
    assert isinstance(made, Siamese)
    return made


def smooth(people: People) -> People:
    """The same people with images of which a few components tell most, so that remainders differ from spreads."""
    axes = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"))
    for number, scan in enumerate(people.scans):
        rng = np.random.default_rng(number)
        for channel in scan.images:
            waves = np.zeros(SHAPE)
            for frequency in rng.uniform(-0.5, 0.5, (3, 3)):
                waves += np.cos(np.tensordot(frequency, axes, 1) + rng.uniform(0, 6))
            channel[:] = scan.mask * (0.5 + 0.1 * waves + 0.1 * channel)
    return people


def pooled(model: Siamese, people: People) -> np.ndarray:
    """All patches that the sums are over, (n, D)."""
    blocks = [model._patches(scan) for scan in people.scans]
    return np.concatenate(blocks).reshape(-1, DIMENSION).astype(np.float64)


def sums(model: Siamese, people: People) -> Arrays:
    return model.statistics("patches", people, np.random.default_rng(0))


def test_reference_is_the_reconstruction_error_of_pca_on_pooled_patches_per_pair() -> None:
    model, people = siamese(alpha=0.25), smooth(People(3))
    model.absorb("patches", sums(model, people))
    patches = pooled(model, people)
    pca = PCA(16).fit(patches)
    error = ((patches - pca.inverse_transform(pca.transform(patches))) ** 2).sum(1).mean()
    deviation = np.sqrt(((patches - patches.mean(0)) ** 2).mean())
    assert model.reference_loss("training") == pytest.approx(2 * error / deviation**2 - 0.25, rel=1e-6)
    raw = siamese(alpha=0.0, inputs="raw")
    raw.absorb("patches", sums(raw, people))
    assert raw.reference_loss("training") == pytest.approx(2 * error, rel=1e-6)


def test_alaverdyan_is_measured_against_as_many_components_as_it_has_latents() -> None:
    model, people = siamese(architecture="alaverdyan", patch_size=15, alpha=0.0), smooth(People(2))
    model.absorb("patches", sums(model, people))
    patches = np.concatenate([model._patches(scan) for scan in people.scans]).reshape(-1, 2 * 15 * 15)
    eigenvalues = np.linalg.eigvalsh(np.cov(patches.T.astype(np.float64), ddof=0))[::-1]
    expected = 2 * eigenvalues[64:].sum() / eigenvalues.mean()
    assert model.reference_loss("training") == pytest.approx(expected, rel=1e-5)


def test_federated_sums_are_the_pooled_ones() -> None:
    model, people = siamese(), smooth(People(5))
    whole = sums(model, people)
    total = add([sums(model, part) for part in split(people, 1, 4)])
    for name in whole:
        np.testing.assert_allclose(total[name], whole[name], rtol=1e-12)
    patches = pooled(model, people)
    assert len(patches) == whole["count"] == 5 * DRAWS
    np.testing.assert_allclose(whole["sum"], patches.sum(0), rtol=1e-9)
    np.testing.assert_allclose(whole["products"], (patches.T @ patches)[np.triu_indices(DIMENSION)], rtol=1e-9)


def test_network_sees_patches_of_mean_0_and_deviation_1() -> None:
    people = smooth(People(4))
    for architecture in ("linear", "isbi"):
        model = siamese(architecture=architecture)
        model.absorb("patches", sums(model, people))
        patches = torch.from_numpy(pooled(model, people)).float().view(-1, 2, 9, 9)
        seen = model.autoencoder.centred(patches.to(setting().device)).cpu()
        axes = (0,) if architecture == "linear" else (0, 2, 3)
        assert seen.mean(axes).abs().max() < 1e-3
        assert float(seen.std()) == pytest.approx(1, rel=0.02)


def test_raw_inputs_stay_as_they_are() -> None:
    model, people = siamese(inputs="raw"), People(2)
    model.absorb("patches", sums(model, people))
    patches = torch.rand(2, 2, 9, 9, device=setting().device)
    assert torch.equal(model.autoencoder.centred(patches), patches)


def test_what_sites_are_sent_has_no_products_and_centres_alike() -> None:
    model, site = siamese(), siamese()
    model.absorb("patches", sums(model, People(3)))
    shared = model.share()
    assert {name for name in shared if name.startswith("sums.")} == {
        f"sums.patches.{name}" for name in ("count", "sum", "spread", "remainder")
    }
    site.load(shared)
    assert torch.equal(site.autoencoder.centre, model.autoencoder.centre)
    assert torch.equal(site.autoencoder.scale, model.autoencoder.scale)
    assert site.reference_loss("training") == model.reference_loss("training")


def test_linear_architecture_comes_within_a_twentieth_of_principal_components() -> None:
    model, people = siamese(architecture="linear", alpha=0.0), smooth(People(3))
    model.absorb("patches", sums(model, people))
    reference = model.reference_loss("training")
    assert reference is not None
    patches = torch.from_numpy(pooled(model, people)).float().view(-1, 2, 2, 9, 9).to(setting().device)
    two = torch.ones(len(patches), dtype=torch.bool, device=patches.device)
    optimiser = torch.optim.Adam(model.autoencoder.parameters(), 3e-3)
    draw = torch.Generator().manual_seed(0)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return model.loss("training", Batch({"pairs": patches[rows], "two": two[rows]}, rows[:, None]), draw).mean()

    everything = torch.arange(len(patches))
    with torch.no_grad():
        before = float(loss(everything))
    for _ in range(600):
        optimiser.zero_grad()
        loss(torch.randint(len(patches), (100,), generator=draw)).backward()
        optimiser.step()
    with torch.no_grad():
        after = float(loss(everything))
    assert before > 1.5 * reference  # so that there was something to learn
    assert reference * (1 - 1e-4) <= after <= 1.05 * reference


@pytest.mark.parametrize(
    ("what", "entries"),
    {
        "no patches": {"count": 0.0},
        "fewer than none": {"count": -5.0},
        "a mean above the range": {"sum": 1e9},
        "a mean below the range": {"sum": -1e9},
        "no squares": {"products": 0.0},
        "squares above the range": {"products": 1e9},
        "not a number": {"products": np.nan},
    }.items(),
)
def test_sums_of_no_patches_are_refused(what: str, entries: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    honest = patch_moments.sums_of([rng.random((50, 2, 9, 9))], DIMENSION)
    patch_moments.check(honest, DIMENSION, RANGE)
    wrong = {**honest, **{name: np.full_like(honest[name], value) for name, value in entries.items()}}
    with pytest.raises(WireError):
        patch_moments.check(wrong, DIMENSION, RANGE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0.0), ("sum", 1e9), ("spread", -1.0), ("spread", 1e12), ("remainder", -1.0), ("remainder", np.nan)],
)
def test_moments_of_no_patches_are_not_loaded(name: str, value: float) -> None:
    rng = np.random.default_rng(0)
    moments = PatchMoments.of_total(patch_moments.sums_of([rng.random((50, 2, 9, 9))], DIMENSION), 16)
    arrays = moments.arrays()
    assert PatchMoments.of_arrays(arrays, DIMENSION, RANGE).remainder == moments.remainder
    with pytest.raises(WireError):
        PatchMoments.of_arrays({**arrays, name: np.full_like(arrays[name], value)}, DIMENSION, RANGE)


def test_patches_that_are_all_the_same_are_not_scaled() -> None:
    total = patch_moments.sums_of([np.full((20, 2, 9, 9), 0.5)], DIMENSION)
    patch_moments.check(total, DIMENSION, RANGE)
    assert PatchMoments.of_total(total, 16).scale == pytest.approx(1)
