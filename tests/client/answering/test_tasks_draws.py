"""What tasks draw belongs to the request's repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys
import yaml
from quadratic import Quadratic

from normfed_client.answering import tasks
from normfed_client.answering.job import Job
from normfed_client.answering.settings import settings_of
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.rules import Rules
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.learner import named_sums
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.models.siamese import Siamese
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.compression import compress_model
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Canary, FineTune, Payload, Request, ScorePeople, Sums, TrainRound

HEADS: dict[str, dict[str, Any]] = {
    "federated": {"fit_on": "federated", "samples": 40, "features": 16},
    "location": {"fit_on": "location", "spacing_mm": 8.0, "minimum_subjects": 50},
}

Asked = Callable[..., Job[Any]]


def studied(study_file: Path, head: str) -> StudyConfig:
    model = {"name": "siamese", "patch_size": 9, "pairs_per_subject": 6, "batch_size": 6, "one_class": HEADS[head]}
    return resolve({**yaml.safe_load(study_file.read_text()), "model": model}, "test")


@pytest.fixture
def asked(study_file: Path, hospitals: Path, cache: Path, tmp_path: Path) -> Asked:
    """A job at a simulated site."""
    config = SiteConfig(name="a", data=hospitals, owns=("a",), cache=cache / "scans", output=tmp_path, device="cpu")

    def made(payload: Payload, repeat: int = 0, arrays: Arrays | None = None, head: str = "federated") -> Job[Any]:
        study = studied(study_file, head)
        request = Request(
            study=study.model_dump_json(), arm=f"x{repeat}", model=study.model, payload=payload, repeat=repeat
        )
        return Job(request, payload, offers.encode(Offer((arrays or {},))), config)

    return made


@pytest.mark.parametrize("repeat", [0, 1, 2])
def test_the_model_of_a_request_is_the_servers_of_the_same_repeat(asked: Asked, repeat: int, study_file: Path) -> None:
    """First weights, and what a head draws by itself, such as its random features."""
    study = studied(study_file, "federated")
    seed = seeds.of_repeat(study.seed, repeat)
    found, expected = (
        asked(TrainRound(round=1), repeat).model(),
        assemble((), study.model, Setting.of(study, seed=seed)),
    )
    assert found.setting.seed == seed
    assert isinstance(found, Siamese)
    assert isinstance(expected, Siamese)
    np.testing.assert_array_equal(found.head.directions, expected.head.directions)  # type: ignore[attr-defined]
    for name, array in expected.share().items():
        np.testing.assert_array_equal(found.share()[name], array)


@pytest.mark.parametrize("repeat", [0, 1])
def test_all_that_a_site_draws_in_a_training_is_drawn_from_its_repeats_seed(
    asked: Asked, repeat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(TrainRound(round=1, compression="int8"), repeat)
    expected, real = job.seed, seeds.derive
    drawn: dict[str | int, set[int]] = {}

    def derive(seed: int, *names: str | int) -> int:
        if names[0] != "repeat":
            drawn.setdefault(names[0], set()).add(seed)
        return real(seed, *names)

    assert expected == seeds.of_repeat(job.site.study.seed, repeat)
    for head in HEADS:  # with sites opened and scans prepared, which belong to all repeats
        assert asked(ScorePeople(), repeat, head=head).site.training_people
    weights = job.model().share()
    monkeypatch.setattr(seeds, "derive", derive)
    tasks.train(replace(job, arrays=offers.encode(Offer((compress_model(weights, "int8"),)))))
    tasks.canary(asked(Canary(compression="int8"), repeat, weights))
    known = weights
    for phase in ("variance", "machine"):
        known |= named_sums(phase, tasks.sums(asked(Sums(phase=phase), repeat, known))[1])
    tasks.score(asked(ScorePeople(), repeat, known))
    there = asked(ScorePeople(), repeat, head="location")
    gaussian = weights
    for phase in there.model().phases():
        if phase.kind == "summed":
            gaussian |= named_sums(
                phase.name, tasks.sums(asked(Sums(phase=phase.name), repeat, gaussian, "location"))[1]
            )
    tasks.score(asked(ScorePeople(), repeat, gaussian, "location"))
    purposes = {"initial weights", "random fourier features", "training", "step", "compression", "sums"}
    assert drawn.keys() >= purposes | {"personalise", "score"}
    assert set.union(*drawn.values()) == {expected}


def test_fine_tuning_goes_on_from_the_sites_own_part_not_from_the_servers_first_weights(
    asked: Asked, study_file: Path
) -> None:
    """The last phase does not train the adapter, so it is what the site had."""
    with toys.registered():
        raw = {**yaml.safe_load(study_file.read_text()), "model": {"name": "two-phases"}, "strategy": "fine-tuning"}
        study = resolve(raw, "test")
        job = asked(FineTune(round=6))
        request = job.request.model_copy(
            update={"study": study.model_dump_json(), "model": study.model, "strategy": study.strategy}
        )
        job = replace(job, request=request)
        weights = job.model().share()
        mine = {name: array + 1 for name, array in weights.items() if ".adapter." in name}
        assert mine
        store = job.store
        store.save(5, mine, since=5)
        tasks.fine_tune(replace(job, arrays=offers.encode(Offer((weights,)))))
    for name, array in mine.items():
        np.testing.assert_array_equal(store.latest()[name], array)


def test_a_hospitals_most_epochs_bound_whatever_trains(asked: Asked) -> None:
    """An objective of a plug-in may train for longer than its strategy's row says."""
    job = asked(TrainRound(round=1))
    assert settings_of(job, job.model()).most_epochs is None
    job.__dict__["site"] = SimpleNamespace(
        study=job.site.study, config=job.config, custody=SimpleNamespace(rules=Rules(most_epochs=7))
    )
    assert settings_of(job, Quadratic()).most_epochs == 7


def test_sums_and_scores_are_of_a_network_in_evaluation_mode(asked: Asked) -> None:
    model = asked(Sums(phase="variance")).model()
    assert model.network is not None
    assert not any(module.training for module in model.network.modules())
