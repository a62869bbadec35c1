"""A run is attacked from the command line, and every attack says how far it got or why it could not be made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import normfed, run_folder

from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.results.audit import PrivacyAudit, read
from normfed_server.runs.folder import begin, reopen
from normfed_simulation.audit import inversion
from normfed_simulation.audit.catalogue import ATTACKS
from normfed_simulation.audit.evidence import ANOMALY, TITLES, TRACED, Tracing
from normfed_simulation.audit.federations import EVERYBODY
from normfed_simulation.audit.games import Game
from normfed_simulation.audit.membership import measure
from normfed_simulation.audit.target import Options, opened

pytestmark = pytest.mark.xdist_group("audit")  # made once

NOTHING_BESIDE = {"local": False, "pooled": False, "baselines": []}
MODELS = {
    "atlas": {"name": "atlas"},
    "siamese": {"name": "siamese", "patch_size": 9, "pairs_per_subject": 60, "batch_size": 30},
}


@pytest.fixture(scope="module", params=MODELS)
def run(
    request: pytest.FixtureRequest, study: StudyConfig, hospitals: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("audited")
    text = study.model_dump(mode="json") | {"model": MODELS[request.param]}
    if request.param != "atlas":  # whose run has all that may lie beside, the pooled site too
        text["comparisons"] = NOTHING_BESIDE
    (folder / "study.yaml").write_text(yaml.safe_dump(text))
    normfed("simulate", folder / "study.yaml", "--out", folder / "runs", "--workers", 0, "--quiet")
    return run_folder(folder / "runs")


@pytest.fixture(scope="module")
def audit(run: Path) -> PrivacyAudit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inversion, "STEPS", 10)
        patch.setattr(inversion, "TRIALS", 2)
        result = normfed("audit-privacy", run, "--shadows", 4, "--canaries", 200, "--device", "cpu", "--quiet")
    assert result.stdout.strip() == str(run / "privacy-audit.json")
    return read(run)


def test_every_attack_says_something_with_its_chance_and_its_interval(audit: PrivacyAudit) -> None:
    assert {finding.attack for finding in audit.findings} == set(ATTACKS)
    for finding in audit.findings:
        assert finding.figure is not None or finding.notes, finding.title
        if finding.measure == "AUC" and finding.figure is not None:
            assert finding.chance == 0.5
            assert finding.figure.low is not None
            assert finding.figure.high is not None
            assert finding.figure.low <= finding.figure.value <= finding.figure.high


def test_the_file_is_what_its_schema_says_and_has_no_names_of_people(audit: PrivacyAudit, run: Path) -> None:
    text = (run / "privacy-audit.json").read_text()
    assert PrivacyAudit.model_validate(json.loads(text), strict=False) == audit
    assert "sub-" not in text


def test_what_sums_without_noise_tell_of_their_people_is_found(audit: PrivacyAudit) -> None:
    """The oracle is linear algebra: sums of fewer people than entries have one solution."""
    by_sums = [f for f in audit.findings if f.attack == "membership" and "sums" in f.title]
    assert [f.figure.value for f in by_sums if f.figure is not None] == [1.0]


def test_a_difference_of_sums_is_a_person_unless_the_rules_forbid_it(audit: PrivacyAudit) -> None:
    free, ruled = [f for f in audit.findings if f.attack == "differencing"]
    assert free.figure is not None
    assert free.figure.value == pytest.approx(1.0, abs=1e-6)
    assert ruled.figure is None
    assert "did not prevent it" not in ruled.notes[0]


def test_without_noise_no_epsilon_is_claimed_and_the_canaries_are_told_apart(audit: PrivacyAudit) -> None:
    assert audit.protection.epsilon is None
    (canaries,) = [f for f in audit.findings if f.attack == "canaries"]
    assert canaries.epsilon_at_least is not None
    assert canaries.epsilon_at_least > 3


def test_a_model_that_never_saw_anybody_tells_nobody_apart(run: Path) -> None:
    """The run's own model, with the sums of nobody audited: those of noise."""
    with opened(reopen(run), None, Options(), lambda _text: None) as target:
        tracing = Tracing(target.new, target.arrays, target.candidates)
        rng, areas = np.random.default_rng(0), []
        for _ in range(30):
            shared = {name: rng.standard_normal(array.shape) for name, array in target.arrays.items()}
            found = tracing.coefficients(shared)
            assert found is not None
            areas.append(Game(found[None], target.members[None], target.groups).auc())
    assert np.mean(areas) == pytest.approx(0.5, abs=0.12)  # four standard errors of an area over 9 and 6 people


def test_the_measure_for_benchmarks_is_that_of_the_command(run: Path, audit: PrivacyAudit) -> None:
    with opened(reopen(run), None, Options(), lambda _text: None) as target:
        pairs = list(zip(target.candidates, target.members, strict=True))
        members, others = ([p for p, member in pairs if member is np.bool_(which)] for which in (True, False))
        model = target.model(target.arrays)
        tracing = Tracing(target.new, target.arrays, [*members, *others])
        games = measure(model, members, others, tracing)
    told = {f.title: f.figure.value for f in audit.findings if f.attack == "membership" and f.figure is not None}
    assert sorted(game.auc() for game in games.values()) == pytest.approx(sorted(told.values()))
    assert {ANOMALY, TRACED} <= set(games)


def test_shadow_federations_train_whom_the_coins_say_and_nobody_else(run: Path) -> None:
    with opened(reopen(run), None, Options(shadows=1), lambda _text: None) as target:
        (federation,) = target.shadows
        inside = target.inside(federation)
        assert 0 < inside.sum() < len(inside)
        assert federation.members <= {person.name for person in target.candidates}
        again = target.training.trained([p.name for p, into in zip(target.candidates, inside, strict=True) if not into])
    assert federation.arrays.keys() == again.arrays.keys()


def test_with_secure_aggregation_nothing_is_heard_but_the_sum(run: Path) -> None:
    with opened(reopen(run), None, Options(), lambda _text: None) as target:
        each, together = (target.training.trained([], secure=secure) for secure in (False, True))
    sites = {one.site for one in each.heard}
    assert len(sites) > 1
    assert {one.site for one in together.heard} <= {EVERYBODY}
    people = {site: len({v.participant.subject for v in roles.train}) for site, roles in each.roles.items()}
    for one in together.heard:
        shares = [(people[other.site], other.arrays) for other in each.heard if other.what == one.what]
        for name, array in one.arrays.items():
            mean = sum(n * arrays[name] for n, arrays in shares) / sum(n for n, _ in shares)
            np.testing.assert_allclose(array, mean, atol=1e-5)


def private_run(study: StudyConfig, model: str, folder: Path, **privacy: float) -> Path:
    """A finished run of one round, or of sums, with an epsilon of 4, and nothing beside it."""
    text = study.model_dump(mode="json") | {"model": MODELS[model], "privacy": {"epsilon": 4, **privacy}}
    text["federation"]["rounds"] = 1
    text["comparisons"] = NOTHING_BESIDE
    (folder / "study.yaml").write_text(yaml.safe_dump(text))
    normfed("simulate", folder / "study.yaml", "--out", folder / "runs", "--workers", 0, "--quiet")
    return run_folder(folder / "runs")


def test_noise_hides_the_person_in_a_difference_of_private_sums(
    study: StudyConfig, hospitals: Path, tmp_path: Path
) -> None:
    """The arrays held against each other are the person's own, and never public ones, which do not differ."""
    run = private_run(study, "atlas", tmp_path)
    normfed("audit-privacy", run, "--attack", "differencing", "--device", "cpu", "--quiet")
    found = read(run)
    assert found is not None
    free = found.findings[0].figure
    assert free is not None
    assert free.low is not None
    assert free.high is not None
    assert free.low < free.high
    assert -0.9 < free.value < 0.9


def test_a_private_network_is_attacked_in_every_way_and_no_attack_gets_past_its_claim(
    study: StudyConfig, hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion, "STEPS", 10)
    monkeypatch.setattr(inversion, "TRIALS", 2)
    run = private_run(study, "siamese", tmp_path, sampling_rate=0.5, steps_per_round=2, samples_per_patient=10)
    normfed("audit-privacy", run, "--shadows", 4, "--canaries", 200, "--device", "cpu", "--quiet")
    found = read(run)
    assert found is not None
    assert {finding.attack for finding in found.findings} == set(ATTACKS)
    assert found.protection.epsilon == pytest.approx(4, rel=0.01)
    bounds = [finding.epsilon_at_least for finding in found.findings if finding.epsilon_at_least is not None]
    assert len(bounds) == 1 + len(TITLES)  # the canaries, and shadow federations by every kind of evidence
    assert max(bounds) <= found.protection.epsilon
    inverted = [finding for finding in found.findings if finding.attack == "inversion"]
    assert len(inverted) == 2
    for finding in inverted:
        assert finding.figure is not None
        assert finding.figure.value < finding.baselines["mean sample"]


def test_every_attack_has_a_name_of_its_own(audit: PrivacyAudit) -> None:
    """The page draws a curve for each."""
    titles = [finding.title for finding in audit.findings]
    assert len(set(titles)) == len(titles)


def test_the_rules_are_tried_on_a_run_with_secure_sums_too(study: StudyConfig, hospitals: Path, tmp_path: Path) -> None:
    privacy = {"secure_aggregation": {"minimum_sites": 3}}
    compared = {"comparisons": NOTHING_BESIDE}
    text = study.model_dump(mode="json") | compared | {"model": {"name": "atlas"}, "privacy": privacy}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(text))
    normfed("simulate", tmp_path / "study.yaml", "--out", tmp_path / "runs", "--workers", 0, "--quiet")
    run = run_folder(tmp_path / "runs")
    normfed("audit-privacy", run, "--attack", "differencing", "--device", "cpu", "--quiet")
    found = read(run)
    assert found is not None
    assert [finding.figure for finding in found.findings] == [None, None]
    assert "Secure aggregation" in found.findings[0].notes[0]


def test_what_is_no_finished_simulation_is_refused_in_words(study: StudyConfig, tmp_path: Path) -> None:
    run = begin(study, tmp_path)
    with pytest.raises(RunError, match="no simulation on this machine"):
        normfed("audit-privacy", run.folder, "--device", "cpu")
    run.sites_file.write_text("[]")
    with pytest.raises(RunError, match=r"is not finished\. Finish it first: normfed simulate --resume"):
        normfed("audit-privacy", run.folder, "--device", "cpu")


def test_an_attack_that_there_is_not_is_refused_with_those_there_are(run: Path) -> None:
    with pytest.raises(StudyError, match=r"bribery.*canaries"):
        normfed("audit-privacy", run, "--attack", "bribery", "--device", "cpu")
