"""A training round at a site whose study protects people: what is answered, and what its noise comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from normfed_client.answering import tasks
from normfed_client.answering.job import Job
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.origin import content
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, StudyError
from normfed_common.privacy.spending import steps_of
from normfed_common.studies import resolve
from normfed_common.wire import offers
from normfed_common.wire.answers import CanaryBack, FineTuned, Trained
from normfed_common.wire.counter import Counter
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Canary, FineTune, Payload, Request, TrainRound

MODEL = {"name": "siamese", "architecture": "isbi", "norm": "layer", "patch_size": 9, "batch_size": 6}
Asked = Callable[..., Job[Any]]


@pytest.fixture
def asked(study_file: Path, hospitals: Path, cache: Path, tmp_path: Path) -> Asked:
    """A job at a simulated site, with the first weights."""

    def made(
        payload: Payload,
        strategy: str = "fedavg",
        folder: str = "a",
        run: str = "run",
        privacy: dict[str, Any] | None = None,
        **header: Any,
    ) -> Job[Any]:
        changes = {
            "model": {**MODEL, "pairs_per_subject": 12},
            "strategy": {"name": strategy},
            "privacy": {"epsilon": 4, "samples_per_patient": 5, **(privacy or {})},
        }
        study = resolve({**yaml.safe_load(study_file.read_text()), **changes}, "test")
        request = Request(
            study=study.model_dump_json(),
            arm="x",
            run=run,
            model=study.model,
            strategy=study.strategy,
            payload=payload,
        ).model_copy(update=header)
        output = tmp_path / folder
        config = SiteConfig(name="a", data=hospitals, owns=("a",), cache=cache / "scans", output=output, device="cpu")
        job: Job[Any] = Job(request, payload, {}, config)
        return replace(job, arrays=offers.encode(Offer((job.model().share(),))))

    return made


def weights(job: Job[Any]) -> Arrays:
    return tasks.train(job)[1]


def same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.items())


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fednova", "scaffold", "ditto", "fedper", "fedrep"])
@pytest.mark.parametrize("unit", ["patient", "sample"])
def test_an_answer_tells_no_loss_and_the_steps_that_the_study_makes(asked: Asked, strategy: str, unit: str) -> None:
    if strategy == "scaffold":
        job = asked(TrainRound(round=1), strategy, privacy={"unit": unit})
        start = {n: np.zeros_like(a) for n, a in job.model().share().items() if n.startswith("network.")}
        parameters = {f"network.{n}" for n, _ in job.model().network.named_parameters()}  # type: ignore[union-attr]
        control = {n: a for n, a in start.items() if n in parameters}
        job = replace(job, arrays=offers.encode(Offer((job.model().share(),), control)))
    else:
        job = asked(TrainRound(round=1), strategy, privacy={"unit": unit})
    answer, arrays = tasks.train(job)
    told = answer.told(Trained)
    steps = steps_of(job.site.study.privacy, job.site.study.federation.local_epochs)
    assert (told.loss, told.received_loss) == (None, None)
    assert 1 <= told.steps <= steps
    assert told.steps == steps or strategy == "fedrep"  # of whose steps the personal half has its share
    before = job.model().share()
    assert any((array != before[name]).any() for name, array in arrays.items())
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_canary_takes_one_step_and_what_stays_at_the_site_tells_no_loss(asked: Asked) -> None:
    answer, arrays = tasks.canary(asked(Canary()))
    assert answer.told(CanaryBack).steps == 1
    assert same(arrays, asked(Canary()).model().share())
    assert tasks.fine_tune(asked(FineTune(round=4), "fine-tuning"))[0].told(FineTuned).loss is None


@pytest.mark.parametrize("strategy", ["fine-tuning", "ditto"])
def test_whether_a_model_that_stays_can_be_trained_is_not_told(
    asked: Asked, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server can choose weights of which only some people's losses are finite: a refusal would tell who is there."""
    job = asked(FineTune(round=2) if strategy == "fine-tuning" else TrainRound(round=1), strategy)
    monkeypatch.setattr("normfed_client.training.loop._Losses.mean", not_finite)
    answer, _ = (tasks.fine_tune if strategy == "fine-tuning" else tasks.train)(job)
    assert answer.payload.loss is None  # type: ignore[union-attr]
    assert same(job.store.latest(), job.model().share())


def not_finite(*_: Any) -> float:
    raise SiteError(SiteCode.NOT_FINITE, "a person's loss is not")


def test_the_same_request_has_the_same_noise_in_any_run(asked: Asked) -> None:
    """Asked again, after a crash or by another run, nothing new is released."""
    first = weights(asked(TrainRound(round=1)))
    counter = Counter(entries=1, head="0" * 64, signature="0" * 200)
    assert same(first, weights(asked(TrainRound(round=1), ledger=counter)))
    assert same(first, weights(asked(TrainRound(round=1))))
    assert same(first, weights(asked(TrainRound(round=1), run="another")))


def key(job: Job[Any]) -> bytes:
    return job.noise_key("training")


def test_whatever_else_is_asked_of_whomever_has_noise_of_its_own(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(TrainRound(round=1))
    moved = {name: array + 1 for name, array in job.model().share().items()}
    others = [
        asked(TrainRound(round=2)),
        asked(TrainRound(round=1), arm="y"),
        asked(TrainRound(round=1), repeat=1),
        asked(TrainRound(round=1), privacy={"epsilon": 5}),
        replace(job, arrays=offers.encode(Offer((moved,)))),
        asked(TrainRound(round=1), folder="another site"),
        asked(Canary()),
    ]
    keys = [key(job), job.noise_key("else"), *map(key, others)]
    monkeypatch.setattr("normfed_client.answering.job.content", lambda _site, _scans: "other scans")
    keys.append(key(asked(TrainRound(round=1))))
    assert len(set(keys)) == len(keys)


def test_what_the_site_kept_of_earlier_rounds_has_part_in_the_noise(asked: Asked) -> None:
    """Of two answers with the same noise, one of them from another personal part, the difference would be without."""
    job = asked(TrainRound(round=2), "fedper")
    again, store = replace(job), job.store
    first = weights(job)
    personal = {name: array + 1 for name, array in job.model().share().items() if ".decoder." in name}
    store.save(1, personal, since=0)
    assert key(again) != key(job)
    assert not same(first, weights(again))


def test_the_content_of_a_site_changes_with_any_of_its_scans_and_with_what_computes(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(TrainRound(round=1))
    before = content(job.site, job.site.train)
    assert content(job.site, job.site.train) == before
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
        assert content(job.site, job.site.train) != before
    monkeypatch.setattr(type(job.site.train[0].entry), "content", lambda entry: "0")
    assert content(job.site, job.site.train) != before


def test_a_study_that_cannot_protect_people_is_refused_at_the_site_too(asked: Asked) -> None:
    """The server may not have looked."""
    job = asked(TrainRound(round=1))
    study = job.site.study
    bad = study.model_copy(update={"model": {**study.model, "norm": "batch"}})
    request = job.request.model_copy(update={"study": bad.model_dump_json(), "model": bad.model})
    refused = replace(job, request=request)
    with pytest.raises(StudyError, match="running statistics"):
        tasks.train(replace(refused, arrays=offers.encode(Offer((refused.model().share(),)))))
