"""Several models as one: each learnt as if alone, what they say on one scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import toys
from learning import sum_up
from scipy.stats import rankdata, spearmanr
from synthetic import People, setting, split

from normfed_client.training.loop import trained_parameters
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import PluginError, ScanError, StudyError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build, config_of
from normfed_common.learning.learner import NETWORK
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.atlas import Atlas
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.ensemble import Ensemble
from normfed_common.models.combined.pipeline import Pipeline, assemble
from normfed_common.models.intensity import Intensity
from normfed_common.studies import validate_learner
from normfed_common.study.postprocessing import PostprocessingConfig

AUTOENCODER = {
    "name": "autoencoder",
    "size": 32,
    "filters": 8,
    "most_filters": 8,
    "latent": 4,
    "batch_size": 4,
    "slices_per_subject": 3,
}
MACHINES = {
    "name": "siamese",
    "patch_size": 9,
    "pairs_per_subject": 6,
    "batch_size": 6,
    "one_class": {"fit_on": "location", "spacing_mm": 8.0, "minimum_subjects": 2},
}
T1W, FLAIR = ({"name": "intensity", "modality": modality} for modality in ("T1w", "FLAIR"))


def entry(*members: Any, **values: Any) -> dict[str, Any]:
    return validate_learner(MODELS, {"name": "ensemble", "members": list(members), **values}, "test")


def ensemble(*members: Any, where: Setting | None = None, **values: Any) -> Ensemble:
    made = build(MODELS, entry(*members, **values), where or setting())
    assert isinstance(made, Ensemble)
    return made


def learnt(model: NormativeModel, people: People) -> NormativeModel:
    sum_up(model, people)
    return model


def anomaly(model: NormativeModel, scan: Scan) -> np.ndarray:
    return model.score([scan], np.random.default_rng(1)).anomaly


def lacking(scan: Scan, channel: int) -> Scan:
    images, present = scan.images.copy(), scan.present.copy()
    images[channel], present[channel] = 0, False
    return replace(scan, images=images, present=present)


def test_the_score_is_fishers_mean_of_ranks_among_all_normal_voxels() -> None:
    people = People(6)
    made, scan = learnt(ensemble("atlas", "intensity", weights=[3.0, 1.0]), people), People(1, seed=9).scan(0)
    expected, common = np.zeros(scan.mask.sum()), scan.mask[scan.mask]
    for name, weight in (("atlas", 0.75), ("intensity", 0.25)):
        alone = learnt(assemble((), validate_learner(MODELS, {"name": name}, "test"), setting()), people)
        normal = np.concatenate([anomaly(alone, one).ravel()[one.normal_index] for one in people.scans])
        scores = anomaly(alone, scan)[scan.mask]
        below = rankdata(np.concatenate([scores, normal]), "min")[: len(scores)] - rankdata(scores, "min")
        expected -= weight * np.log((1 + len(normal) - below) / (len(normal) + 1))
        common &= len(normal) - below >= 30
    found = anomaly(made, scan)[scan.mask]
    assert common.mean() > 0.8
    np.testing.assert_allclose(found[common], expected[common], rtol=0.01, atol=0.01)
    assert (found[~common] > 0.95 * expected[~common]).all()  # beyond what is normal ranks go on


@pytest.mark.parametrize("member", ["atlas", "intensity", AUTOENCODER], ids=["atlas", "intensity", "autoencoder"])
def test_an_ensemble_of_one_ranks_voxels_as_its_member_does(member: Any) -> None:
    people = People(4)
    made = learnt(ensemble(member), people)
    alone = learnt(assemble((), entry(member)["members"][0], setting()), people)
    for scan in (people.scan(0), People(1, seed=9).scan(0)):
        found, expected = (anomaly(model, scan)[scan.mask] for model in (made, alone))
        assert spearmanr(found, expected).statistic == pytest.approx(1, abs=1e-7)  # float32 makes a few equal


def test_a_member_without_weight_changes_nothing() -> None:
    people = People(4)
    both, first = learnt(ensemble("atlas", FLAIR, weights=[1.0, 0.0]), people), learnt(ensemble("atlas"), people)
    np.testing.assert_array_equal(anomaly(both, people.scan(0)), anomaly(first, people.scan(0)))


def test_what_members_remark_on_a_scan_is_passed_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learnt(ensemble("atlas", "intensity"), People(3))
    one = People(1, seed=5).scan(0)
    assert model.score([one], np.random.default_rng(0)).remarks == ()
    for kind, remarks in ((Atlas, ("odd", "dark")), (Intensity, ("odd",))):
        whole = kind.score

        def score(self: Any, visits: Any, rng: Any, whole: Any = whole, remarks: Any = remarks) -> Score:
            return replace(whole(self, visits, rng), remarks=remarks)

        monkeypatch.setattr(kind, "score", score)
    assert model.score([one], np.random.default_rng(0)).remarks == ("odd", "dark")


def test_the_federated_ensemble_is_the_pooled_one() -> None:
    people = People(7)
    pooled, federated = ensemble("atlas", FLAIR, T1W), ensemble("atlas", FLAIR, T1W)
    learnt(pooled, people)
    for phase in federated.phases():
        parts = [federated.statistics(phase.name, part, np.random.default_rng(0)) for part in split(people, 2, 4, 1)]
        federated.absorb(phase.name, named.add(parts))
    for scan in (people.scan(3), People(1, seed=9).scan(0)):
        found, expected = (anomaly(model, scan) for model in (federated, pooled))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_lesion_that_one_modality_shows_stands_out_more_than_by_the_other_alone() -> None:
    people, scan = People(6), People(1, seed=9).scan(0)
    lesion = np.zeros_like(scan.mask)
    lesion[10:14, 10:14, 2:4] = True
    scan.images[1, lesion] = 2.0
    made = learnt(ensemble(T1W, FLAIR), people)
    assert (anomaly(made, scan)[lesion].min() > np.quantile(anomaly(made, scan)[scan.mask & ~lesion], 0.95)).all()
    alone = anomaly(learnt(ensemble(T1W), people), scan)
    assert np.median(alone[lesion]) < np.quantile(alone[scan.mask & ~lesion], 0.95)


def test_phases_parts_and_arrays_of_members_have_their_number_and_are_trained_alone() -> None:
    made = ensemble(AUTOENCODER, "atlas", AUTOENCODER)
    alone = assemble((), validate_learner(MODELS, AUTOENCODER, "test"), setting())
    assert [phase.name for phase in made.phases()] == [
        *("member-1-training", "member-3-training", "member-2-moments", "scale", "ranks")
    ]
    for number in (1, 3):
        (phase,) = (phase for phase in made.phases() if phase.name == f"member-{number}-training")
        names = {name.removeprefix(NETWORK) for name in alone.arrays_of(alone.phases()[0])}
        assert made.arrays_of(phase) == {f"{NETWORK}member-{number}.{name}" for name in names}
        assert {name for name, _ in trained_parameters(made, phase)} <= made.arrays_of(phase)
        assert phase.parts == tuple(f"member-{number}-{part}" for part in alone.parts)
    assert made.samples_per_person(made.config) == 3


def test_the_same_network_twice_starts_as_two_and_the_first_as_it_would_alone() -> None:
    made = ensemble(AUTOENCODER, AUTOENCODER)
    alone = assemble((), validate_learner(MODELS, AUTOENCODER, "test"), setting()).share()
    shared = made.share()
    differ = []
    for name, array in alone.items():
        first, second = (shared[name.replace(NETWORK, f"{NETWORK}member-{number}.")] for number in (1, 2))
        np.testing.assert_array_equal(first, array)
        differ.append((first != second).any())
    assert any(differ)


def test_a_member_has_its_own_post_processing_and_the_ensemble_the_studys() -> None:
    where = replace(setting(), postprocessing=PostprocessingConfig(smoothing_mm=3.0))
    made = assemble((), entry({**FLAIR, "postprocessing": {"edge_mm": 1.5}}, "atlas"), where)
    assert isinstance(made, Pipeline)
    assert made.postprocessing.smoothing_mm == 3.0
    assert isinstance(made.model, Ensemble)
    first, second = (member.model for member in made.model.members)
    assert isinstance(first, Pipeline)
    assert (first.postprocessing.edge_mm, first.postprocessing.smoothing_mm) == (1.5, 0.0)
    assert not isinstance(second, Pipeline)


EITHER = replace(setting(), may_lack=("T1w", "FLAIR"))


def test_where_a_modality_is_absent_the_others_say_what_they_see_as_if_they_were_alone() -> None:
    people = People(6)
    people.scans[1], people.scans[2] = lacking(people.scans[1], 1), lacking(people.scans[2], 0)
    made, scan = learnt(ensemble(T1W, FLAIR, where=EITHER), people), People(1, seed=9).scan(0)
    for absent, rest, who in ((1, T1W, 2), (0, FLAIR, 1)):
        some = People(0)
        some.scans = [one for number, one in enumerate(people.scans) if number != who]
        alone = learnt(ensemble(rest), some)
        np.testing.assert_allclose(anomaly(made, lacking(scan, absent)), anomaly(alone, scan), rtol=1e-6)


@pytest.mark.parametrize("weights", [None, [3.0, 1.0]], ids=["alike", "weighed"])
def test_a_threshold_means_the_same_whichever_modality_is_absent(weights: Any) -> None:
    """Scores of people like those learnt from have the same tails with one member and with several."""
    people, others = People(8), People(4, seed=9)
    members = [T1W, FLAIR] if weights else [T1W, FLAIR, FLAIR]  # two that are one: no formula knows how alike they are
    made = learnt(ensemble(*members, weights=weights, where=EITHER), people)
    assert [phase.name for phase in made.phases()] == ["scale", "ranks", "sets"]
    for change in (lambda one: one, lambda one: lacking(one, 0), lambda one: lacking(one, 1)):
        values = np.concatenate([anomaly(made, change(one))[one.mask] for one in others.scans])
        assert values.mean() == pytest.approx(1, abs=0.04)
        for share in (0.5, 0.1, 0.02):
            assert (values >= -np.log(share)).mean() == pytest.approx(share, rel=0.2)


def test_sets_of_members_are_counted_only_where_several_can_meet() -> None:
    for where, members in ((setting(), (T1W, FLAIR)), (EITHER, ("atlas", "atlas")), (EITHER, ("siamese",))):
        assert "sets" not in {phase.name for phase in ensemble(*members, where=where).phases()}
    made = ensemble(T1W, FLAIR, "atlas", where=EITHER)
    sums = {}
    for phase in made.phases():
        sums = made.statistics(phase.name, People(3), np.random.default_rng(0))
        made.absorb(phase.name, sums)
    voxels = sum(len(one.normal_index) for one in People(3).scans)
    np.testing.assert_array_equal(sums["counts"].sum(1), [voxels] * 3)  # all, and two of them without one


def test_a_member_is_trained_on_the_scans_that_have_what_it_needs() -> None:
    people = People(4, visits=2)
    people.scans[2] = lacking(people.scans[2], 1)
    people.scans[6], people.scans[7] = lacking(people.scans[6], 0), lacking(people.scans[7], 0)
    made = ensemble(AUTOENCODER, "atlas", where=replace(setting(), may_lack=("T1w", "FLAIR")))
    found = [batch.person for batch in made.batches("member-1-training", people, np.random.default_rng(0))]
    drawn, visits = np.unique(np.concatenate(found), return_counts=True)
    assert drawn.tolist() == [0, 1, 2]  # who they are stays, though one person and one visit are left out
    assert visits.tolist() == [6, 3, 6]


def test_where_nobody_has_what_a_member_needs_it_says_so() -> None:
    people = People(2)
    people.scans = [lacking(one, 1) for one in people.scans]
    made = ensemble(AUTOENCODER, "atlas", where=replace(setting(), may_lack=("FLAIR",)))
    with pytest.raises(ScanError, match=r"member-1 \(AutoEncoder\) needs T1w and FLAIR, which no scan"):
        [*made.batches("member-1-training", people, np.random.default_rng(0))]


def test_members_are_counted_as_the_site_scores_with_them_and_the_model_stays_as_it_is() -> None:
    """With machines of the site's own, which another model learns: sums must not change who made them."""
    people, rng = People(3), np.random.default_rng
    made, alone = ensemble(MACHINES, "atlas"), assemble((), entry(MACHINES)["members"][0], setting())
    for model in (made, alone):
        for phase in model.phases():
            if phase.kind == "summed" and phase.name != "scale" and phase.name != "ranks":
                model.absorb(phase.name, model.statistics(phase.name, people, rng(0)))
    before = anomaly(made.members[0].model, people.scan(0))
    sums = made.statistics("scale", people, rng(0))
    np.testing.assert_array_equal(anomaly(made.members[0].model, people.scan(0)), before)
    alone.personalise(people, seeds.generator(setting().seed, "personalise", "member-1"))
    scores = [anomaly(alone, one).ravel()[one.normal_index].astype(float) for one in people.scans]
    assert sums["sum"][0] == pytest.approx(np.concatenate(scores).sum(), rel=1e-12)
    shared = [before.ravel()[people.scan(0).normal_index], scores[0]]
    assert not np.allclose(*shared)


def test_a_scan_without_what_its_study_promises_is_refused() -> None:
    people = People(3)
    made = learnt(ensemble("atlas", T1W), people)
    with pytest.raises(ScanError, match="no FLAIR"):
        anomaly(made, lacking(people.scan(0), 1))


def test_what_no_member_can_score_is_refused_in_words() -> None:
    people = People(3)
    made = learnt(ensemble(T1W, FLAIR, where=replace(setting(), may_lack=("T1w", "FLAIR"))), people)
    with pytest.raises(ScanError, match="no T1w and no FLAIR"):
        anomaly(made, lacking(lacking(people.scan(0), 0), 1))


@pytest.mark.parametrize(
    ("members", "weights", "needed"),
    [
        ((T1W, FLAIR), None, ()),
        ((FLAIR, "siamese"), None, ("FLAIR",)),
        (("siamese", "autoencoder"), None, ("T1w", "FLAIR")),
        (("siamese", "atlas"), None, ()),
        (("siamese", "atlas"), [1.0, 0.0], ("T1w", "FLAIR")),
    ],
)
def test_it_needs_what_all_members_that_count_need(members: Any, weights: Any, needed: tuple[str, ...]) -> None:
    config = config_of(MODELS, entry(*members, weights=weights))
    assert Ensemble.needs(config, ("T1w", "FLAIR")) == needed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"members": [{"name": "ensemble"}]}, "members.0: an ensemble cannot be a member. List its members instead."),
        ({"members": ["atlos"]}, "members.0: no model is called 'atlos'. Did you mean atlas?"),
        ({"members": [{"name": "atlas", "prior_subjects": -1}]}, "members.0.prior_subjects"),
        ({"members": [{"name": "atlas", "moon": 1}]}, "members.0.moon"),
        ({"members": [{"name": "atlas", "postprocessing": {"smoothing_mm": -1}}]}, "members.0.smoothing_mm"),
        ({"members": []}, "members must be 1 to 8 models"),
        ({"members": ["atlas"] * 9}, "members must be 1 to 8 models"),
        ({"members": ["atlas"], "weights": [1.0, 1.0]}, "weights must be 1 numbers, one per member"),
        ({"members": ["atlas", "intensity"], "weights": [0.0, 0.0]}, "not all 0"),
        ({"members": ["atlas"], "weights": [-1.0]}, "weights.0"),
    ],
)
def test_what_is_wrong_with_members_or_weights_is_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        validate_learner(MODELS, {"name": "ensemble", **values}, "model")
    assert said in str(caught.value)


def test_members_have_all_their_defaults_when_the_study_is_resolved() -> None:
    found = entry("atlas", {**FLAIR, "postprocessing": {"edge_mm": 4.0}})
    assert found["members"][0] == validate_learner(MODELS, {"name": "atlas"}, "model")
    assert found["members"][1]["postprocessing"]["smoothing_mm"] == 0
    assert validate_learner(MODELS, found, "test") == found


def test_a_member_that_keeps_a_part_at_the_sites_is_refused() -> None:
    with toys.registered(), pytest.raises(PluginError, match=r"member-2 \(TwoPhases\) keeps adapter at the sites"):
        ensemble("atlas", "two-phases")


def test_its_title_names_its_members_while_that_is_short() -> None:
    title = Ensemble.title(config_of(MODELS, entry("atlas", FLAIR)), ("T1w", "FLAIR"))  # type: ignore[arg-type]
    assert title == "ensemble-of-atlas+flair-intensity"
    many = config_of(MODELS, entry(*[FLAIR] * 8))
    assert Ensemble.title(many, ("T1w", "FLAIR")) == "ensemble"  # type: ignore[arg-type]
