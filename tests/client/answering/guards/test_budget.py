"""What a request spends is on record before the work, or the request is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jobs import STUDY, job

from normfed_client.answering.guards.budget import WITHOUT_NOISE, Budget, spent_by
from normfed_client.answering.job import Job
from normfed_client.answering.outline import Outline
from normfed_client.hospital import folder as folder_module
from normfed_client.hospital.bookkeeping.budget import spent
from normfed_client.hospital.bookkeeping.entries import Release
from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.outbox import digest
from normfed_client.hospital.rules import ONLY_REFUSE, Rules
from normfed_client.hospital.secure_sums import Kept
from normfed_common.algorithms.private_training import scores_with_people
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.privacy.spending import spending
from normfed_common.secure.adverts import Advert
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import (
    Canary,
    Count,
    Describe,
    FineTune,
    Measure,
    Payload,
    ScorePeople,
    Sums,
    TrainRound,
)
from normfed_common.wire.secure import Masking

PRIVATE = STUDY.model_copy(update={"privacy": PrivacyConfig(epsilon=2.0)})
PHASES = (Phase("moments", "summed"), Phase("training", "averaged"))


class Model:
    """Sums, then rounds; nothing of it stays."""

    network = None
    keeps_to_site = False

    def phases(self) -> tuple[Phase, ...]:
        return PHASES

    def people_per_sample(self, phase: str) -> int:
        return 2


def asked(
    folder: Path,
    payload: Payload,
    study: StudyConfig = PRIVATE,
    scans: str = "s",
    unit: str = "patient",
    device: str = "cpu",
    secret: bytes = b"s",
    **header: Any,
) -> Job[Any]:
    found = job(folder, payload, **header)
    study = study.model_copy(update={"privacy": study.privacy.model_copy(update={"unit": unit})})
    case = SimpleNamespace(
        visit=SimpleNamespace(participant=SimpleNamespace(subject="sub-1")),
        entry=SimpleNamespace(content=lambda: scans),
    )
    custody = SimpleNamespace(rules=Rules(), noise_key=lambda *names: secret + "".join(names).encode())
    site = SimpleNamespace(
        study=study, custody=custody, device=torch.device(device), train=[case], model=lambda *_: Model()
    )
    found.__dict__["site"] = site
    return found


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    staying(monkeypatch, frozenset())


def staying(monkeypatch: pytest.MonkeyPatch, personal: frozenset[str]) -> None:
    """Of the model these arrays stay at the site, whatever the strategy."""

    def outline(site: Any, entry: Any, strategy: Any) -> Outline:
        model = site.model(entry, 0)
        return Outline(tuple(model.phases()), personal, scores_with_people(model, strategy, personal))

    monkeypatch.setattr("normfed_client.answering.job.outline_of", outline)


def hospital(folder: Path, **rules: Any) -> Hospital:
    found = Hospital(folder, HospitalConfig(site="a", server="f:1", data=folder, **rules))
    key = ec.generate_private_key(ec.SECP384R1())
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    found.key.write_bytes(key.private_bytes(*formats))
    return found


def refused(guard: Budget, asked: Job[Any]) -> SiteError:
    with pytest.raises(SiteError) as caught:
        guard.inbound(asked)
    return caught.value


def test_sums_and_rounds_spend_what_the_study_gives_each_and_nothing_else_spends(tmp_path: Path) -> None:
    plan = spending(PRIVATE, PHASES)
    assert plan is not None
    assert spent_by(asked(tmp_path, Sums(phase="moments"))) == (plan.sums,)
    assert spent_by(asked(tmp_path, TrainRound(round=1))) == (plan.round,)
    assert spent_by(asked(tmp_path, FineTune(round=4))) == ()
    for payload in (Describe(), Canary(), ScorePeople(), Measure(threshold=0.0)):
        assert spent_by(asked(tmp_path, payload)) == ()
        assert spent_by(asked(tmp_path, payload, STUDY)) == ()
    for payload in (Sums(phase="moments"), TrainRound(round=1), FineTune(round=4)):
        assert spent_by(asked(tmp_path, payload, STUDY)) == (WITHOUT_NOISE,)


def test_a_whole_study_spends_its_epsilon_and_is_entered_once_a_request(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    guard, rounds = Budget(ours), PRIVATE.federation.rounds
    for _ in range(2):  # asked again, as after a fault
        guard.inbound(asked(tmp_path, Sums(phase="moments")))
        for number in range(1, rounds + 1):
            request = asked(tmp_path, TrainRound(round=number))
            guard.inbound(request)
            assert guard.outbound(request, answer := Answer(site="a", payload=Trained()), {}) == (answer, {})
    entries = ours.ledger().entries()
    assert [entry.settled for entry in entries] == [False] + [True] * rounds
    assert spent(entries, PRIVATE.privacy.delta) == pytest.approx(2.0, rel=5e-3)
    assert spent(entries, PRIVATE.privacy.delta) <= 2.0


def test_a_model_never_costs_more_than_its_study_says_however_it_is_asked_for(tmp_path: Path) -> None:
    """No budget is set: a round is asked for in ever new ways, each of which has noise of its own."""
    guard = Budget(hospital(tmp_path))
    plan = spending(PRIVATE, PHASES)
    assert plan is not None
    for turn in range(plan.requests):
        guard.inbound(asked(tmp_path, Sums(phase="moments", iteration=turn)))
    for number in range(plan.rounds):
        guard.inbound(asked(tmp_path, TrainRound(round=number + 1)))
    guard.inbound(asked(tmp_path, TrainRound(round=1)))  # the same again
    guard.inbound(asked(tmp_path, TrainRound(round=1), arm="another"))
    error = refused(guard, asked(tmp_path, TrainRound(round=1, since=1)))
    assert error.code is SiteCode.BUDGET_SPENT
    assert "privacy.epsilon: the study says 2 per patient and model" in error.detail


def test_what_has_the_same_noise_is_entered_once_and_what_has_noise_of_its_own_by_itself(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    guard, round_2 = Budget(ours), TrainRound(round=2)
    same = [asked(tmp_path, round_2), asked(tmp_path, round_2), asked(tmp_path, round_2, run="another")]
    guard.inbound(same[0])
    same.append(asked(tmp_path, round_2, ledger=ours.ledger_counter()))
    others = [asked(tmp_path, round_2, scans="others"), asked(tmp_path, round_2, arm="another")]
    store = others[0].store
    before = {one.origin for one in (*same, *others)}
    store.save(1, {"w": np.ones(2, np.float32)}, since=0)
    others.append(asked(tmp_path, round_2))
    assert others[-1].origin not in before
    for one in (*same, *others):
        guard.inbound(one)
    assert len(ours.ledger().entries()) == len({one.origin for one in (*same, *others)}) == 1 + len(others)


def test_noise_of_another_secret_or_of_another_name_is_another_release(tmp_path: Path) -> None:
    """Two folders may share a ledger; draws depend on the site's name."""
    one, other = (asked(tmp_path, TrainRound(round=2), secret=secret) for secret in (b"one", b"other"))
    renamed = replace(one, config=one.config.model_copy(update={"name": "renamed"}))
    renamed.__dict__["site"] = one.site
    assert len({one.origin, other.origin, renamed.origin}) == 3


def test_a_limit_of_site_yaml_that_is_raised_in_a_run_costs_nothing(tmp_path: Path) -> None:
    """As a hospital does that broke a round off after `longest_task_hours`, or that got to know another peer."""
    ours = hospital(tmp_path)

    def under(**rules: Any) -> Job[Any]:
        found = asked(tmp_path, TrainRound(round=2))
        found.site.custody.rules = Rules(**rules)  # type: ignore[union-attr]
        return found

    raised = under(longest_task_hours=96.0, peers={"b": "1F0C " * 8})
    Budget(ours).inbound(under())
    Budget(ours).inbound(raised)
    assert len(ours.ledger().entries()) == 1
    assert under().origin != under(cube_mm=12.0).origin  # what changes an answer has noise of its own


def test_every_rule_of_a_hospital_that_changes_answers_is_known() -> None:
    changes = {
        "minimum_people",
        "minimum_people_per_voxel",
        "cube_mm",
        "held_out_share",
        "test_share",
        "exclude",
        "lesion_margin_mm",
        "metrics",
        "minimum_people_per_metric",
    }
    assert set(Rules.model_fields) - ONLY_REFUSE == changes
    assert set(Rules.model_fields) > ONLY_REFUSE


def test_a_request_beyond_the_budget_is_refused_in_words_and_not_worked_on(tmp_path: Path) -> None:
    ours = hospital(tmp_path, epsilon_per_year=2.1)
    guard = Budget(ours)
    guard.inbound(asked(tmp_path, Sums(phase="moments")))
    error = refused(guard, asked(tmp_path, Sums(phase="moments"), arm="another"))
    assert error.code is SiteCode.BUDGET_SPENT
    assert error.detail.startswith("epsilon_per_year: ")
    assert len(ours.ledger().entries()) == 1


@pytest.mark.parametrize(("limit", "begins"), [(1.9, False), (2.1, True)])
def test_a_model_that_the_budget_has_not_got_to_its_end_is_not_begun(
    tmp_path: Path, limit: float, begins: bool
) -> None:
    """Half of an epsilon of 2 was once spent on the sums of a model whose rounds were refused."""
    ours = hospital(tmp_path, epsilon_per_year=limit)
    sums = asked(tmp_path, Sums(phase="moments"))
    if begins:
        Budget(ours).inbound(sums)
        for number in range(1, PRIVATE.federation.rounds + 1):
            Budget(ours).inbound(asked(tmp_path, TrainRound(round=number)))
        return
    Budget(ours).inbound(asked(tmp_path, FineTune(round=3)))  # which once counted as its beginning
    error = refused(Budget(ours), sums)
    assert error.code is SiteCode.BUDGET_SPENT
    assert "0 of 1.9 is spent" in error.detail
    assert "With all that the study asks of federated it would be 2" in error.detail
    assert [entry.release.kind for entry in ours.ledger().entries()] == ["stays"]


def test_noise_for_one_sample_protects_nobody_and_counts_as_none(tmp_path: Path) -> None:
    """A person's samples add up: their round once was entered as if it had only one."""
    assert spent_by(asked(tmp_path, TrainRound(round=1), unit="sample")) == (WITHOUT_NOISE,)
    for rules in ({"largest_epsilon": 9.0}, {"epsilon_per_year": 9.0}):
        error = refused(Budget(hospital(tmp_path, **rules)), asked(tmp_path, Describe(), unit="sample"))
        assert error.code is SiteCode.PRIVACY_REQUIRED


@pytest.mark.parametrize("payload", [ScorePeople(), Count(low=0.0, high=1.0), Measure(threshold=0.0)])
def test_figures_of_what_was_learnt_of_people_without_noise_are_without_noise(
    tmp_path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    for strategy in ({"name": "ditto"}, {"name": "fine-tuning"}):
        assert spent_by(asked(tmp_path, payload, strategy=strategy)) == (WITHOUT_NOISE,)
    for strategy in ({"name": "fedavg"}, {"name": "fedprox", "mu": 0.1}):
        assert spent_by(asked(tmp_path, payload, strategy=strategy)) == ()
    monkeypatch.setattr(Model, "keeps_to_site", True)
    assert spent_by(asked(tmp_path, payload)) == (WITHOUT_NOISE,)
    for rules in ({"epsilon_per_year": 9.0}, {"largest_epsilon": 9.0}, {"require_privacy": True, "largest_epsilon": 9}):
        error = refused(Budget(hospital(tmp_path, **rules)), asked(tmp_path, payload))
        assert error.code is SiteCode.BUDGET_SPENT
        assert "without noise: of a model that stays at the site" in error.detail


def test_running_statistics_that_stay_make_figures_without_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "network", torch.nn.BatchNorm1d(2))
    for name, expected in (("weight", ()), ("running_mean", (WITHOUT_NOISE,))):
        stays = frozenset({f"network.{name}"})
        staying(monkeypatch, frozenset(stays))
        assert spent_by(asked(tmp_path, ScorePeople())) == expected


@pytest.mark.parametrize(
    "rules",
    [
        {"require_privacy": True, "largest_epsilon": 9.0},
        {"largest_epsilon": 9.0},
        {"epsilon_per_year": 9.0},
        {"epsilon_for_life": 9.0},
    ],
)
def test_a_study_without_noise_is_refused_from_its_first_request_on(tmp_path: Path, rules: dict[str, Any]) -> None:
    guard = Budget(hospital(tmp_path, **rules))
    assert refused(guard, asked(tmp_path, Describe(), STUDY)).code is SiteCode.PRIVACY_REQUIRED
    guard.inbound(asked(tmp_path, Describe()))


@pytest.mark.parametrize("rules", [{"require_privacy": True}, {"require_privacy": True, "budget_delta": 1e-6}])
def test_requiring_privacy_without_saying_how_much_is_refused_when_site_yaml_is_read(
    tmp_path: Path, rules: dict[str, Any]
) -> None:
    """Once a study with an epsilon of 1000 was served by a hospital that required privacy."""
    with pytest.raises(ValueError, match=r"require_privacy bounds nothing by itself.*Add largest_epsilon"):
        hospital(tmp_path, **rules)


def test_a_study_that_protects_less_than_the_hospital_asks_is_refused_in_words(tmp_path: Path) -> None:
    guard = Budget(hospital(tmp_path, require_privacy=True, largest_epsilon=4.0))
    for privacy, what in (
        (PrivacyConfig(epsilon=1000.0), "privacy.epsilon: the study says 1000, and largest_epsilon of site.yaml is 4:"),
        (PrivacyConfig(epsilon=4.0, delta=0.01), "privacy.delta: the study says 0.01, and largest_delta of site.yaml"),
    ):
        error = refused(guard, asked(tmp_path, Describe(), STUDY.model_copy(update={"privacy": privacy})))
        assert error.code is SiteCode.TOO_LITTLE_PRIVACY
        assert error.code.of_the_study
        assert error.detail.startswith(what)
    guard.inbound(asked(tmp_path, Describe(), STUDY.model_copy(update={"privacy": PrivacyConfig(epsilon=4.0)})))


def test_two_attempts_at_a_secure_sum_have_the_same_part_below_the_same_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that signs no list of survivors may be in the sums of both: once with other digits, as of a GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    guard, answer = Budget(hospital(tmp_path)), Answer(site="a", payload=Trained())
    rounds = [TrainRound(round=1, secure=Masking(attempt=attempt, boxes={})) for attempt in (0, 1)]
    first, second = (asked(tmp_path, payload, device="cuda:0") for payload in rounds)
    assert first.origin == second.origin
    guard.inbound(first)
    guard.outbound(first, answer, {"w": np.zeros(1)})
    guard.inbound(second)
    guard.outbound(second, answer, {"w": np.zeros(1)})
    with pytest.raises(SiteError, match="BUDGET_SPENT"):
        guard.outbound(second, answer, {"w": np.ones(1)})


def test_noise_lies_over_one_answer_where_the_same_work_may_end_in_other_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a GPU answered anew what the outbox had forgotten: the difference of the two was without noise."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    ours = hospital(tmp_path)
    guard, answer = Budget(ours), Answer(site="a", payload=Trained())

    def gpu(**header: Any) -> Job[Any]:
        return asked(tmp_path, TrainRound(round=1), device="cuda:0", **header)

    guard.inbound(died := gpu())  # before it was answered: goes on
    guard.inbound(again := gpu())
    assert guard.outbound(again, answer, {}) == (answer, {})
    error = refused(guard, gpu())
    assert error.code is SiteCode.BUDGET_SPENT
    assert "Begin a new run, which has noise of its own" in error.detail
    with pytest.raises(SiteError):  # the first was not dead
        guard.outbound(died, answer, {"w": np.ones(1)})
    guard.inbound(other := gpu(run="another"))
    assert other.origin != again.origin
    assert len(ours.ledger().entries()) == 2
    cpu = asked(tmp_path, TrainRound(round=1))
    for _ in range(2):  # comes to the same bits
        guard.inbound(cpu)
        guard.outbound(cpu, answer, {})


def test_a_plug_in_is_not_believed_to_repeat(tmp_path: Path) -> None:
    one = asked(tmp_path, TrainRound(round=1))
    other = replace(one, let_in=(("normfed-x", "1"),))
    other.__dict__["site"] = one.site
    assert (one.repeats, other.repeats) == (True, False)


def test_without_a_budget_a_study_without_noise_is_entered_as_such(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1), STUDY))
    assert [entry.release.kind for entry in ours.ledger().entries()] == ["without noise"]


def test_what_stays_at_the_site_has_an_entry_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staying(monkeypatch, frozenset({"norm"}))
    ours = hospital(tmp_path)
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1)))
    Budget(ours).inbound(asked(tmp_path, FineTune(round=4)))
    assert [entry.release.kind for entry in ours.ledger().entries()] == ["noise", "stays", "stays"]


def test_an_old_copy_is_refused_by_the_servers_counter_and_by_the_folders_of_the_runs(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    guard = Budget(ours)
    guard.inbound(asked(tmp_path, TrainRound(round=1)))
    shutil.copy(ours.ledger_file, tmp_path / "backup")
    guard.inbound(asked(tmp_path, TrainRound(round=2)))
    counter = ours.ledger_counter()
    guard.inbound(asked(tmp_path, TrainRound(round=2), ledger=counter))
    shutil.copy(tmp_path / "backup", ours.ledger_file)
    error = refused(guard, asked(tmp_path, Describe()))
    assert error.code is SiteCode.RECORD_UNUSABLE
    assert "ledger.json knows of. Restore the newest copy" in error.detail
    shutil.rmtree(ours.state)  # restored with the rest of the folder
    guard.inbound(asked(tmp_path, Describe()))
    error = refused(guard, asked(tmp_path, Describe(), ledger=counter))
    assert error.code is SiteCode.RECORD_UNUSABLE
    assert "1 of the 2 entries that the server knows of. Restore the newest copy" in error.detail


def test_a_request_reads_the_whole_ledger_when_it_comes_when_it_is_entered_and_when_its_answer_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, read, times = hospital(tmp_path), Ledger._read, [0]
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1)))
    counter = ours.ledger_counter()

    def counting(ledger: Ledger, *arguments: Any) -> Any:
        times[0] += 1
        return read(ledger, *arguments)

    monkeypatch.setattr(Ledger, "_read", counting)
    request = asked(tmp_path, TrainRound(round=2), ledger=counter)
    Budget(ours).inbound(request)
    assert times == [2]
    Budget(ours).outbound(request, Answer(site="a", payload=Trained()), {})
    found = ours.ledger_counter()
    assert found is not None
    assert (found.entries, times) == (2, [3])


def test_a_ledger_that_another_process_goes_on_with_meanwhile_is_no_old_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, read = hospital(tmp_path), folder_module._mark
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1)))

    def meanwhile(path: Path) -> tuple[int, str, str]:
        Ledger(ours.ledger_file).reserve(Release("k", "stays", (), "run", "federated", "train.round 2"), lambda *_: "")
        ours.mark_ledger("run")
        return read(path)

    monkeypatch.setattr(folder_module, "_mark", meanwhile)
    assert len(ours.ledger().entries()) == 2


def test_a_counter_of_the_servers_own_making_is_refused(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1)))
    counter = ours.ledger_counter()
    assert counter is not None
    made_up = counter.model_copy(update={"entries": 7})
    assert refused(Budget(ours), asked(tmp_path, Describe(), ledger=made_up)).code is SiteCode.BAD_REQUEST


def test_a_damaged_ledger_lets_nothing_out(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    ours.ledger_file.write_bytes(b"x" * 5000)
    error = refused(Budget(ours), asked(tmp_path, TrainRound(round=1)))
    assert error.code is SiteCode.RECORD_UNUSABLE
    assert "Restore its newest copy" in error.detail


def test_the_counter_is_no_part_of_what_is_asked(tmp_path: Path) -> None:
    class Nothing(Frozen):
        """No rules."""

    ours = hospital(tmp_path)
    Budget(ours).inbound(asked(tmp_path, TrainRound(round=1)))
    with_it = asked(tmp_path, TrainRound(round=1), ledger=ours.ledger_counter()).request
    assert with_it.ledger is not None
    without = with_it.model_copy(update={"ledger": None})
    assert digest(with_it, digests.of_arrays("", {}), Nothing()) == digest(
        without, digests.of_arrays("", {}), Nothing()
    )


class OfSums(Model):
    """Two rounds of sums."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("moments", "summed", rounds=2),)


def masked(folder: Path, attempt: int = 0, run: str = "run", seed: str = "0" * 64) -> Job[Any]:
    """Asked for sums with distributed noise, once this site has made keys for them."""
    secure = {"secure_aggregation": {"minimum_sites": 4, "noise": "distributed"}}
    study = STUDY.model_copy(update={"privacy": PrivacyConfig.model_validate({"epsilon": 2.0} | secure)})
    payload = Sums(phase="moments", secure=Masking(attempt=attempt, boxes={}))
    found = asked(folder, payload, study, run=run)
    found.site.model = lambda *_: OfSums()
    advert = Advert(site="a", people=10, cipher="1" * 64, mask="2" * 64, seed=seed)
    step = found.request.step
    assert step is not None
    found.secure_sums.write(step, Kept(context="", advert=advert, secrets=None))
    return found


def test_distributed_noise_is_another_in_every_run_and_attempt_and_the_same_for_the_same_again(tmp_path: Path) -> None:
    """Two sums over other sites that have noise of a site in common would differ by less noise than is charged."""
    same = [masked(tmp_path), masked(tmp_path)]
    others = [masked(tmp_path, run="another"), masked(tmp_path, attempt=1, seed="3" * 64)]
    assert len({job.origin for job in (*same, *others)}) == 3
    assert same[0].origin == same[1].origin


def test_distributed_noise_is_charged_as_that_of_the_sum_with_how_many_sites_it_is_of(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    guard = Budget(ours)
    guard.inbound(masked(tmp_path))
    guard.inbound(masked(tmp_path))  # the same again
    (entry,) = ours.ledger().entries()
    (release,) = entry.release.spent
    assert (release.sites, entry.release.kind) == (3, "noise")
    delta = PRIVATE.privacy.delta
    assert accounting.epsilon([release.repeated(2)], delta) == pytest.approx(2.0, rel=5e-3)
    assert accounting.epsilon([release.alone().repeated(2)], delta) > 3.5


def test_attempts_whose_noise_is_another_cost_no_more_together_than_the_study_says(tmp_path: Path) -> None:
    guard = Budget(hospital(tmp_path))
    for attempt in range(2):  # as many as the study has sums
        guard.inbound(masked(tmp_path, attempt, seed=f"{attempt}" * 64))
    assert refused(guard, masked(tmp_path, 2, seed="2" * 64)).code is SiteCode.BUDGET_SPENT
