"""The siamese autoencoder of patches, against the published one and by its gradients."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from synthetic import People, scan, setting

from normfed_common.learning.batch import Batch
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.patchwise.patch_networks import ARCHITECTURES, PatchAutoEncoder
from normfed_common.models.patchwise.patches import extract
from normfed_common.models.siamese import Siamese

NETWORKS = [
    ("isbi", 9, "none", "linear", "centred"),
    ("isbi", 15, "none", "activated", "centred"),
    ("isbi", 15, "layer", "linear", "raw"),
    ("isbi", 15, "layer", "activated", "centred"),
    ("isbi", 21, "layer", "activated", "raw"),
    ("isbi", 15, "batch", "linear", "centred"),
    ("isbi", 15, "batch", "activated", "raw"),
    ("alaverdyan", 15, "none", "linear", "centred"),
    ("alaverdyan", 15, "none", "activated", "raw"),
    ("linear", 9, "none", "linear", "centred"),
    ("linear", 11, "none", "linear", "raw"),
]
EVERY_NETWORK = pytest.mark.parametrize(("architecture", "patch", "norm", "latent", "inputs"), NETWORKS)


def network(
    architecture: str, patch: int, norm: str, latent: str = "activated", inputs: str = "raw", channels: int = 2
) -> PatchAutoEncoder:
    torch.manual_seed(patch)
    made = ARCHITECTURES[architecture](channels, patch, norm, latent, inputs)  # type: ignore[arg-type]
    for module in made.modules():  # statistics that are not the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.rand_like(module.running_mean)  # type: ignore[arg-type]
            module.running_var = 0.5 + torch.rand_like(module.running_var)  # type: ignore[arg-type]
    if inputs == "centred":
        made.centre_on(torch.rand(channels, patch, patch), 0.3)
    return made.eval()


def siamese(**parameters: object) -> Siamese:
    made = build(
        MODELS, {"name": "siamese", "patch_size": 9, "pairs_per_subject": 20, "batch_size": 10, **parameters}, setting()
    )
    assert isinstance(made, Siamese)
    return made


def batch(pairs: torch.Tensor, lone: bool) -> Batch:
    people = torch.tensor([[0, 0 if lone else 1]]).expand(len(pairs), 2)
    made = Batch({"pairs": pairs, "two": torch.full((len(pairs),), not lone)}, people)
    return made.to(setting().device)


@EVERY_NETWORK
def test_dense_encoding_equals_encoding_every_patch(
    architecture: str, patch: int, norm: str, latent: str, inputs: str
) -> None:
    model = network(architecture, patch, norm, latent, inputs)
    slices = torch.rand(2, 2, 24, 27)
    radius = patch // 2
    padded = torch.nn.functional.pad(slices, (radius,) * 4)
    patches = padded.unfold(2, patch, 1).unfold(3, patch, 1).permute(0, 2, 3, 1, 4, 5)
    with torch.inference_mode():
        one_by_one = model.encode(patches.reshape(-1, 2, patch, patch)).reshape(2, 24, 27, -1)
        dense = model.encode_dense(slices).permute(0, 2, 3, 1)
    assert dense.shape == one_by_one.shape
    assert (dense - one_by_one).abs().max() < 1e-5


@EVERY_NETWORK
def test_decoder_gives_back_patches_of_the_encoders_shape(
    architecture: str, patch: int, norm: str, latent: str, inputs: str
) -> None:
    model = network(architecture, patch, norm, latent, inputs)
    patches = torch.rand(3, 2, patch, patch)
    latents = model.encode(patches)
    assert latents.shape == (3, model.latent_dimension)
    assert model.decode(latents).shape == patches.shape


def test_published_parameter_counts() -> None:
    isbi, alaverdyan = network("isbi", 15, "batch"), network("alaverdyan", 15, "none")
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert (count(isbi.encoder), count(isbi.decoder)) == (2523, 2477)
    assert count(alaverdyan) == 12_034


def test_published_settings_build_the_published_layers() -> None:
    published = siamese(architecture="isbi", patch_size=15, norm="batch", latent="activated", inputs="raw").autoencoder
    names = [type(layer).__name__ for layer in (*published.encoder, *published.decoder)]
    stage = ["BatchNorm2d", "GELU"]
    assert names == ["Conv2d", *stage] * 4 + ["ConvTranspose2d", *stage] * 3 + ["ConvTranspose2d", "Sigmoid"]


def test_loss_is_the_equation_on_a_batch_of_two() -> None:
    model = siamese(alpha=0.3)
    pairs = torch.rand(2, 2, 2, 9, 9, device=setting().device)
    expected = 0.0
    with torch.inference_mode():
        for first, second in pairs:
            z = [model.autoencoder.encode(x[None]) for x in (first, second)]
            for x, latent in zip((first, second), z, strict=True):
                expected += float(((x - model.autoencoder.decode(latent)[0]) ** 2).sum())
            expected -= 0.3 * float((z[0] @ z[1].T) / (z[0].norm() * z[1].norm()))
        found = model.loss("training", batch(pairs, lone=False), torch.Generator())
        assert float(found.mean()) == pytest.approx(expected / 2, rel=1e-5)


def test_a_lone_person_has_no_siamese_term() -> None:
    model = siamese(alpha=10.0)
    pairs = torch.rand(3, 2, 2, 9, 9)
    plain = siamese(alpha=0.0)
    plain.load(model.share())
    with torch.inference_mode():
        found = model.loss("training", batch(pairs, lone=True), torch.Generator())
        expected = plain.loss("training", batch(pairs, lone=False), torch.Generator())
    assert torch.equal(found, expected)


def test_an_epoch_shows_everybody_as_often_and_pairs_the_same_place() -> None:
    people = People(3)
    for index, item in enumerate(people.scans):  # images whose values are their own location, plus who they are
        item.images[0] = np.arange(item.mask.size).reshape(item.mask.shape)
        item.images[1] = index
    model = siamese(pairs_per_subject=25, batch_size=12)
    found = list(model.batches("training", people, np.random.default_rng(1)))
    batches = torch.cat([one.data["pairs"] for one in found])
    assert batches.shape == (75, 2, 2, 9, 9)
    assert torch.equal(batches[:, 0, 0], batches[:, 1, 0])
    first = batches[:, 0, 1, 4, 4].long()
    assert torch.bincount(first).tolist() == [25, 25, 25]
    assert torch.equal(torch.cat([one.person for one in found]), batches[:, :, 1, 4, 4].long())
    assert (first != batches[:, 1, 1, 4, 4].long()).all()
    centres = batches[:, 0, 0, 4, 4].long().numpy()
    both = [people.scans[i].mask.ravel()[centres] for i in range(3)]
    assert all(both[int(f)][k] for k, f in enumerate(first))


def test_extract_equals_slicing_one_by_one() -> None:
    item = scan(np.random.default_rng(3))
    x, y, z = np.array([4, 10, 21]), np.array([4, 12, 23]), np.array([0, 3, 5])
    patches = extract(item.images, np.ravel_multi_index((x, y, z), item.mask.shape), 9)
    for k in range(3):
        expected = item.images[:, x[k] - 4 : x[k] + 5, y[k] - 4 : y[k] + 5, z[k]]
        np.testing.assert_array_equal(patches[k], expected)


@pytest.mark.parametrize("architecture", ["isbi", "linear"])
def test_latents_of_a_volume_are_those_of_its_patches(architecture: str) -> None:
    model = siamese(architecture=architecture)
    people = People(3)
    model.absorb("patches", model.statistics("patches", people, np.random.default_rng(0)))
    assert model.autoencoder.centre.abs().max() > 0
    item = scan(np.random.default_rng(4))
    field = model.encode(item)
    inside = [k for k, flat in enumerate(field.index) if _inside(flat, item.mask.shape)][::37]
    patches = torch.from_numpy(extract(item.images, field.index[inside], 9))
    with torch.inference_mode():
        expected = model.autoencoder.encode(patches.to(setting().device)).cpu()
    assert (field.latents[inside] - expected).abs().max() < 1e-5
    np.testing.assert_array_equal(field.index, np.flatnonzero(item.mask))


def _inside(flat: int, shape: tuple[int, ...]) -> bool:
    x, y, _ = np.unravel_index(flat, shape)
    return bool(4 <= x < shape[0] - 4 and 4 <= y < shape[1] - 4)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(123)
    first = siamese().share()
    with ThreadPoolExecutor(8) as threads:  # arms of a study are built at the same time
        others = list(threads.map(lambda _: siamese().share(), range(64)))
    assert all((first[name] == other[name]).all() for other in others for name in first)


@pytest.mark.parametrize(
    ("architecture", "patch", "norm", "latent"),
    [
        ("isbi", 9, "none", "linear"),
        ("isbi", 9, "layer", "activated"),
        ("alaverdyan", 15, "none", "activated"),
        ("linear", 9, "none", "linear"),
    ],
)
def test_per_pair_gradients_add_up_to_the_batchs(architecture: str, patch: int, norm: str, latent: str) -> None:
    """Opacus must be able to clip per sample; it refuses some layers and is silently wrong for others."""
    plain, wrapped = (network(architecture, patch, norm, latent) for _ in range(2))
    sampled = GradSampleModule(wrapped.train().encoder, loss_reduction="sum", force_functorch=True)
    patches = torch.rand(6, 2, patch, patch)
    plain.encoder(patches).square().sum().backward()
    sampled(patches).square().sum().backward()
    for (name, a), b in zip(plain.encoder.named_parameters(), wrapped.encoder.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(b.grad_sample.sum(0), a.grad, rtol=1e-3, atol=1e-4, msg=name)  # type: ignore[attr-defined]
