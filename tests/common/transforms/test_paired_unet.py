"""DeepHarmony: recovers known maps of intensity on people that it never saw, and changes nobody else's scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.federating import Federation, learnt_alone, settings
from scipy.ndimage import gaussian_filter
from synthetic import People, setting

from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import train
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.foundation.errors import ScanError, SiteCode, SiteError, StudyError
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.studies import validate_learner
from normfed_common.study.base import Frozen
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.paired.network import ViewNetwork
from normfed_common.transforms.paired.pairs import patches, scanned_on, travelled
from normfed_common.transforms.paired_unet import PairedUNet

SHAPE = (32, 32, 24)
SMALL = {"source": "old", "target": "new", "patch_size": 32, "patches_per_scan": 4, "batch_size": 4, "filters": 2}


def made(told_together: int = 1, shape: tuple[int, int, int] = SHAPE, **values: Any) -> PairedUNet:
    entry = validate_learner(TRANSFORMS, {"name": "paired-unet", **SMALL, **values}, "test")
    where = replace(setting(shape=shape), value_range=(-3.0, 3.0), told_together=told_together)
    found = build(TRANSFORMS, entry, where)
    assert isinstance(found, PairedUNet)
    return found


def seen_by(scanner: str, tissue: np.ndarray, mask: np.ndarray, person: int) -> Scan:
    """T1w has another gamma on the new scanner, FLAIR the opposite contrast."""
    shown = tissue if scanner == "old" else np.stack([tissue[0] ** 2.5, 1 - tissue[1]])
    images = (2 * shown - 1).astype(np.float32) * mask
    whose = Person(person, scanner=f"a/{scanner}")
    return Scan(images, mask, np.flatnonzero(mask).astype(np.int32), np.ones(2, bool), whose)


def travellers(count: int, first: int = 0, scanners: tuple[str, ...] = ("old", "new")) -> People:
    """People of whom each has much of one tissue and little of the others."""
    found = People(0)
    for person in range(first, first + count):
        rng = np.random.default_rng(person)
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
        mask = sum(axis**2 for axis in axes) < 0.9
        smooth = np.stack([gaussian_filter(rng.standard_normal(SHAPE), 2.0) for _ in range(2)])
        tissue = np.digitize(smooth / smooth.std(), rng.normal() + np.array([-0.6, 0.6])) * 0.35 + 0.15
        found.scans += [seen_by(scanner, tissue, mask, person - first) for scanner in scanners]
    return found


def matched(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Histogram matching: the value at the same rank."""
    ranks = np.searchsorted(np.sort(source), source, side="right") / len(source)
    found: np.ndarray = np.quantile(target, ranks)
    return found


def test_a_known_gamma_and_a_known_inversion_are_recovered_on_people_it_never_saw() -> None:
    """Within 0.12 of values from -1 to 1. Matching the histogram to the training people's keeps the order of values,
    and takes their shares of each tissue for this person's: it cannot invert, and is off on people unlike them."""
    transform, people, held_out = made(filters=4, patches_per_scan=40), travellers(6), travellers(3, first=50)
    for number, rate in enumerate((1e-2, 1e-2, 3e-3), start=1):
        train(transform, people, replace(settings(transform.phases()[0], "a", number), learning_rate=rate))
    transform.network.eval()
    pooled = np.concatenate([scan.images[:, scan.mask] for scan in people.scans[1::2]], 1)
    errors: dict[str, list[np.ndarray]] = {"network": [], "nothing": [], "matching": []}
    for old, new in zip(held_out.scans[::2], held_out.scans[1::2], strict=True):
        with torch.no_grad():
            harmonized = transform.transform(old).images[:, new.mask]
        before, truth = old.images[:, old.mask], new.images[:, new.mask]
        both = np.stack([matched(before[channel], pooled[channel]) for channel in range(2)])
        for name, found in (("network", harmonized), ("nothing", before), ("matching", both)):
            errors[name].append(np.abs(found - truth).mean(1))
    mean = {name: np.mean(found, 0) for name, found in errors.items()}
    assert (mean["network"] < 0.12).all()
    assert (mean["matching"] > 0.15).all()
    assert (mean["nothing"] > 0.4).all()


def test_the_network_is_as_large_as_the_published_one() -> None:
    """Dewey 2019, figure 2, layer by layer: kernel, inputs, outputs; batch normalisation has two numbers a feature."""
    layers = [
        *((3, a, b) for a, b in ((4, 16), (16, 32), (32, 64), (64, 128), (128, 256))),
        *((4, width, width) for width in (16, 32, 64, 128)),
        *((4, 2 * width, width) for width in (16, 32, 64, 128)),
        *((3, 2 * width, width) for width in (16, 32, 64, 128)),
    ]
    expected = sum(k * k * a * b + b + 2 * b for k, a, b in layers) + (16 + 4) * 4 + 4
    network = ViewNetwork(4, 4, 16)
    assert sum(tensor.numel() for tensor in network.parameters()) == expected
    assert network(torch.rand(2, 4, 48, 32)).shape == (2, 4, 48, 32)


@pytest.mark.parametrize(
    ("mapping", "inputs"), [("many-to-many", [2]), ("many-to-one", [2, 2]), ("one-to-one", [1, 1])]
)
def test_a_modality_depends_on_what_the_mapping_lets_its_network_see(mapping: str, inputs: list[int]) -> None:
    transform = made(mapping=mapping)
    networks = transform.network.views["axial"]
    assert [network.head.in_channels - SMALL["filters"] for network in networks] == inputs  # type: ignore[union-attr,operator]
    slices, another = (
        torch.rand(1, 2, 32, 32, device=transform.setting.device),
        torch.rand(1, 1, 32, 32, device=transform.setting.device),
    )
    other = torch.cat([slices[:, :1], another], 1)
    with torch.no_grad():
        before, after = (transform.network.eval()("axial", x) for x in (slices, other))
    assert torch.equal(before[:, 0], after[:, 0]) == (mapping == "one-to-one")
    assert not torch.equal(before[:, 1], after[:, 1])


def test_what_the_study_does_not_change_stays_and_so_do_scans_of_any_other_scanner() -> None:
    transform = made(mapping="one-to-one", modalities=["FLAIR"])
    [old, new, third] = travellers(1, scanners=("old", "new", "third")).scans
    for scan in (new, third, replace(old, person=Person(0))):
        assert transform.transform(scan) is scan
    with torch.no_grad():
        found = transform.transform(old)
    np.testing.assert_array_equal(found.images[0], old.images[0])
    assert np.abs(found.images[1] - old.images[1]).max() > 0


@pytest.mark.parametrize(
    ("scanner", "name", "same"),
    [
        ("a/GE 3T", "GE 3T", True),
        ("a/GE 3T", "a/GE 3T", True),
        ("a", "a", True),
        ("b/GE 3T", "a/GE 3T", False),
        ("a/GE 3T", "a", False),
        ("", "GE 3T", False),
        ("GE 3T", "", False),
    ],
)
def test_a_scanner_is_known_by_its_name_alone_or_with_its_site_s(scanner: str, name: str, same: bool) -> None:
    assert scanned_on(Person(0, scanner=scanner), name) == same


def test_pairs_are_the_scans_of_people_who_were_on_both_scanners() -> None:
    people = travellers(2, scanners=("old", "new", "old"))
    people.scans += travellers(1, first=9, scanners=("old", "third")).scans
    people.scans[-2:] = [replace(scan, person=replace(scan.person, index=2)) for scan in people.scans[-2:]]
    found = travelled(people, "old", "new")
    assert [(person.source, person.target) for person in found] == [((0, 2), (1,)), ((3, 5), (4,))]
    batches = [*made(patches_per_scan=3).batches("training", people, np.random.default_rng(0))]
    assert sorted(int(index) for batch in batches for index in batch.person.flatten()) == [0] * 6 + [1] * 6


def test_what_is_told_apart_is_what_the_networks_learn_from() -> None:
    scans = [Person(0, scanner="a/old"), Person(1, scanner="a/old"), Person(0, scanner="a/third")]
    scans += [Person(0, scanner="a/new"), Person(2, scanner="a/new"), Person(1, scanner="a/new")]
    alone = made(source="old", target="new")
    assert list(alone.told_apart("training", scans)) == [[0, 1, 3, 5]]
    pipeline = Pipeline([alone], Nothing(Frozen(), setting(shape=SHAPE)))
    assert list(pipeline.told_apart("transform-1-training", scans)) == [[0, 1, 3, 5]]


def test_patches_of_three_views_hold_the_same_voxel_in_their_middle_and_nothing_beyond_the_grid() -> None:
    old, new = travellers(1).scans
    new = replace(new, normal_index=new.normal_index[1::2])
    x, y, z = 3, 20, 11
    found = patches(old, new, (x, y, z), 40)
    planes = {"sagittal": np.s_[x], "coronal": np.s_[:, y], "axial": np.s_[:, :, z]}
    normal = np.zeros(SHAPE, bool)
    normal.flat[new.normal_index] = True
    for view, plane in planes.items():
        assert (found[f"{view}_source"][:, 20, 20] == old.images[:, x, y, z]).all()
        assert (found[f"{view}_target"][:, 20, 20] == new.images[:, x, y, z]).all()
        expected = (~new.mask | normal)[plane].sum()  # a patch leaves some of the plane out
        assert found[f"{view}_counts"].sum() <= expected
        assert found[f"{view}_source"].shape == (2, 40, 40)
    np.testing.assert_array_equal(found["axial_counts"][0, 17:, :32], (~new.mask | normal)[:23, :, z])
    assert not found["axial_counts"][0, :17].any()


def test_tissue_that_is_not_normal_and_absent_modalities_teach_nothing() -> None:
    transform = made(mapping="one-to-one", batch_size=2)
    people = travellers(1)
    [batch] = [*transform.batches("training", people, np.random.default_rng(0))][:1]
    batch, rng = batch.to(transform.setting.device), torch.Generator()
    transform.network.eval()
    with torch.no_grad():
        before = transform.loss("training", batch, rng)
        data = dict(batch.data)
        for view in ("sagittal", "coronal", "axial"):
            data[f"{view}_target"] = torch.where(data[f"{view}_counts"] > 0, data[f"{view}_target"], 99.0)
        assert torch.equal(transform.loss("training", replace(batch, data=data), rng), before)
        data["present"] = torch.tensor([[1.0, 0.0]], device=transform.setting.device).repeat(len(batch), 1)
        one = transform.loss("training", replace(batch, data=data), rng)
        for view in ("sagittal", "coronal", "axial"):
            data[f"{view}_target"] = (
                data[f"{view}_target"] + torch.tensor([0.0, 5.0], device=transform.setting.device)[:, None, None]
            )
        assert torch.equal(transform.loss("training", replace(batch, data=data), rng), one)


class Nothing(NormativeModel):
    """Learns nothing."""

    Config = Frozen

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        return Score(visits[-1].images[0])


def test_a_federation_of_one_site_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    people, alone = travellers(2), made()
    federation = Federation(
        lambda: Pipeline([made()], Nothing(Frozen(), setting(shape=SHAPE))), {"a": people}, tmp_path
    )
    learnt_alone(alone, people, "a")
    shared = federation.server.share()
    for name, array in alone.share().items():
        np.testing.assert_array_equal(shared[name.replace("network.", "network.transform-1.", 1)], array, err_msg=name)


def test_a_site_without_enough_pairs_says_so_to_its_own_log_and_to_others_by_a_code() -> None:
    some = travellers(2)
    some.scans += [
        replace(scan, person=Person(2, scanner="a/old")) for scan in travellers(1, first=7, scanners=("old",)).scans
    ]
    job = settings(made().phases()[0], "a", 1)
    with pytest.raises(SiteError) as caught:
        train(made(told_together=3), some, job)
    assert caught.value.code is SiteCode.NOTHING_PAIRED
    assert "a/old" not in str(caught.value)
    assert caught.value.detail.endswith("2 of 3 people were scanned on old and new; 3 are needed")
    train(made(told_together=2), some, job)
    with pytest.raises(SiteError) as caught:
        train(made(target="mars"), some, job)
    assert caught.value.code is SiteCode.NOTHING_PAIRED
    assert caught.value.detail.endswith("no scan is of mars; the scanners here are a/new, a/old")


def test_under_fedbn_a_site_that_never_trained_its_normalisation_refuses_to_change_a_scan() -> None:
    people, transform, elsewhere = travellers(2), made(), made()
    learnt_alone(transform, people, "a")
    kept = personal_arrays(Pipeline([transform], Nothing(Frozen(), setting(shape=SHAPE))), {"name": "fedbn"})
    kept = {name.replace("transform-1.", "") for name in kept}
    assert 0 < len(kept) < len(transform.share())
    elsewhere.load(elsewhere.share() | {name: a for name, a in transform.share().items() if name not in kept})
    elsewhere.network.eval()
    with pytest.raises(ScanError, match=r"keeps batch normalisation at the sites.*such as fedavg"):
        elsewhere.transform(people.scan(0))
    assert elsewhere.transform(people.scan(1)) is people.scan(1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"target": "old"}, "source and target are both old"),
        ({"modalities": ["T2w"]}, "the study has no T2w, only T1w, FLAIR"),
        ({"patch_size": 40}, "multiple of 16"),
    ],
)
def test_wrong_parameters_are_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        made(**values)


def test_training_that_was_interrupted_ends_in_the_same_weights(tmp_path: Path) -> None:
    people, whole, killed, resumed = travellers(2), made(), made(), made()
    job = settings(whole.phases()[0], "a", 1)
    kept = replace(job, checkpoints=TrainingCheckpoints(tmp_path, every_s=0.0))
    train(whole, people, job)
    batches = killed.batches
    killed.batches = lambda *given: islice(batches(*given), 1)  # type: ignore[method-assign,assignment]
    train(killed, people, kept)
    train(resumed, people, replace(job, checkpoints=TrainingCheckpoints(tmp_path, every_s=0.0)))
    for name, array in whole.share().items():
        np.testing.assert_array_equal(resumed.share()[name], array, err_msg=name)
        assert array.std() == 0 or "head.bias" in name or not np.array_equal(killed.share()[name], array)
