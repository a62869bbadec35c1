"""A server that lies in a secure sum to hospitals that compared their keys: it is refused, and learns nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import secure_runs
from attacker import offered
from flwr.app import Message
from secure_runs import SITES

from normfed_client.answering import secure
from normfed_client.answering.participating import what_is_summed
from normfed_client.answering.serving import call
from normfed_client.hospital.config import CustodyConfig
from normfed_client.hospital.simulated import SITES_VARIABLE
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.secure import parts
from normfed_common.secure.adverts import Advert
from normfed_common.secure.participation import Secrets, of_received
from normfed_common.secure.thresholds import threshold
from normfed_common.secure.unmasking import unmask
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import decode_answer, error_code, requests
from normfed_common.wire.requests import Describe, Payload, Request, Sums
from normfed_common.wire.secure import MakeKeys, Masking, SecureStep, ShareSecrets, SignSurvivors, Unmask
from normfed_simulation.engines.local import identify

NAMES = sorted(SITES)
STEP = SecureStep(of="train.sums", phase="moments", turn=0)
REFUSED = SiteCode.SECURE_SUM_REFUSED

pytestmark = pytest.mark.xdist_group("secure sums")


@pytest.fixture(scope="module")
def custody(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CustodyConfig]:
    return secure_runs.hospitals(tmp_path_factory.mktemp("hospitals") / "h", data, noise_from_sites=3)


class Liar:
    """Asks six hospitals whatever it likes about one run whose model is the atlas."""

    def __init__(
        self, folder: Path, data: Path, cache: Path, custody: Mapping[str, CustodyConfig], privacy: dict[str, Any]
    ) -> None:
        self.name = folder.name
        self.study = secure_runs.small(privacy=privacy, model={"name": "atlas"})
        self.run = secure_runs.prepare(self.study, folder, data, cache / "scans", custody)

    def ask(self, site: str, payload: Payload, arrays: Arrays | None = None, arm: str = "federated") -> Message:
        """A site's reply."""
        model, strategy = self.study.model, self.study.strategy
        text = self.study.model_dump_json()
        header = Request(study=text, run=self.name, arm=arm, model=model, strategy=strategy, payload=payload)
        return call(requests({site: NAMES.index(site) + 1}, header, arrays or {})[site])

    def told(self, site: str, payload: Payload, arrays: Arrays | None = None, arm: str = "federated") -> Any:
        """The payload of a site's answer."""
        return self.answer(site, payload, arrays, arm)[0].payload

    def answer(
        self, site: str, payload: Payload, arrays: Arrays | None = None, arm: str = "federated"
    ) -> tuple[Answer, Arrays]:
        """A site's answer, which is not refused."""
        reply = self.ask(site, payload, arrays, arm)
        assert not reply.has_error(), error_code(reply)
        return decode_answer(reply)

    def adverts(
        self, step: SecureStep = STEP, arm: str = "federated", sites: Collection[str] = NAMES
    ) -> tuple[Advert, ...]:
        """Of these sites."""
        return tuple(self.told(site, MakeKeys(step=step), arm=arm).advert for site in sites)

    def total(self, sites: Collection[str]) -> Arrays:
        """The sum over these sites, honestly asked for from the first key to the last share."""
        adverts = self.adverts(sites=sites)
        boxes = {site: self.told(site, ShareSecrets(step=STEP, adverts=adverts)).boxes for site in sites}
        sent = []
        for site in sites:
            mine = {other: boxes[other][site] for other in sites if other != site}
            masked = Sums(phase="moments", secure=Masking(attempt=0, boxes=mine))
            sent.append(self.answer(site, masked, offered({}))[1])
        signatures = self.signed({site: list(sites) for site in sites})
        shares = {site: self.told(site, Unmask(step=STEP, signatures=signatures)).shares for site in sites}
        total = np.sum([parts.flat(arrays, parts.SUMS_BITS) for arrays in sent], axis=0, dtype=np.uint64)
        names, least = list(sites), threshold(len(sites), 1)
        unmask(total, self.context(), adverts, names, names, shares, least, of_received(offered({}), ()))
        return parts.shaped(total, parts.layout(sent[0]))

    def context(self) -> str:
        """Of the first attempt at the sums."""
        text, model = self.study.model_dump_json(), self.study.model
        asked = Request(study=text, run=self.name, arm="federated", model=model, payload=Describe())
        return asked.context(STEP)

    def boxes(self, step: SecureStep = STEP) -> dict[str, dict[str, str]]:
        """Of all sites, honestly asked for."""
        adverts = self.adverts(step)
        return {site: self.told(site, ShareSecrets(step=step, adverts=adverts)).boxes for site in NAMES}

    def masked(
        self, site: str, boxes: Mapping[str, Mapping[str, str]], model: Arrays | None = None, attempt: int = 0
    ) -> Message:
        """A site's reply to a request for its masked sums."""
        mine = {other: boxes[other][site] for other in NAMES if other != site}
        secure = Masking(attempt=attempt, boxes=mine)
        return self.ask(site, Sums(phase="moments", secure=secure), offered(model or {}))

    def sent(self, step: SecureStep = STEP) -> dict[str, dict[str, str]]:
        """Everybody's masked sums were sent; the boxes."""
        boxes = self.boxes(step)
        for site in NAMES:
            assert not self.masked(site, boxes, attempt=step.attempt).has_error()
        return boxes

    def signed(self, lists: Mapping[str, list[str]], step: SecureStep = STEP) -> dict[str, str]:
        """Each site's signature under the list that it is told."""
        return {
            site: self.told(site, SignSurvivors(step=step, survivors=tuple(names))).signature
            for site, names in lists.items()
        }


@pytest.fixture
def privacy() -> dict[str, Any]:
    """What the study of `liar` asks for."""
    return {"secure_aggregation": True}


@pytest.fixture
def liar(
    data: Path,
    cache: Path,
    custody: dict[str, CustodyConfig],
    privacy: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Liar:
    identify()
    for site in custody.values():  # what was signed in another test is of another run of the same study
        with closing(sqlite3.connect(site.record)) as database, database:
            database.execute("DROP TABLE IF EXISTS signed_lists")
    found = Liar(tmp_path / "run", data, cache, custody, privacy)
    monkeypatch.setenv(SITES_VARIABLE, str(found.run.sites_file))
    return found


def refused(reply: Message, code: SiteCode = REFUSED) -> bool:
    return bool(reply.has_error()) and error_code(reply) is code


def test_sums_that_are_asked_for_in_the_clear_are_refused(liar: Liar) -> None:
    assert refused(liar.ask("a", Sums(phase="moments"), offered({})))


def test_sites_that_are_told_of_different_survivors_give_no_share(liar: Liar) -> None:
    liar.sent()
    lists = {site: NAMES if site in "abc" else NAMES[:5] for site in NAMES[:5]}
    signatures = liar.signed(lists)
    for site in lists:
        assert refused(liar.ask(site, Unmask(step=STEP, signatures=signatures)))
        # nor for those alone that signed the same: they are too few
        same = {other: signatures[other] for other in lists if lists[other] == lists[site]}
        assert refused(liar.ask(site, Unmask(step=STEP, signatures=same)))


def test_a_second_list_is_signed_neither_in_this_attempt_nor_in_another(liar: Liar) -> None:
    liar.sent()
    first = liar.signed(dict.fromkeys(NAMES, NAMES))
    assert liar.signed({"a": NAMES}) == {"a": first["a"]}
    assert refused(liar.ask("a", SignSurvivors(step=STEP, survivors=tuple(NAMES[:5]))))
    assert refused(liar.ask("a", MakeKeys(step=STEP.model_copy(update={"attempt": 1}))))


def test_an_attempt_that_began_before_the_list_was_signed_is_not_signed_either(liar: Liar) -> None:
    second = STEP.model_copy(update={"attempt": 1})
    liar.sent()
    liar.sent(second)
    liar.signed(dict.fromkeys(NAMES, NAMES), second)
    for site in NAMES:
        assert refused(liar.ask(site, SignSurvivors(step=STEP, survivors=tuple(NAMES[:5]))))


def test_the_same_sums_under_another_arm_s_name_are_refused(liar: Liar) -> None:
    liar.adverts()
    assert refused(liar.ask("a", MakeKeys(step=STEP), arm="federated2"))


def test_a_list_of_too_few_is_not_signed(liar: Liar) -> None:
    liar.sent()
    assert refused(liar.ask("a", SignSurvivors(step=STEP, survivors=("a", "b", "c"))))


def test_a_list_without_the_site_or_with_a_stranger_is_not_signed(liar: Liar) -> None:
    liar.sent()
    assert refused(liar.ask("a", SignSurvivors(step=STEP, survivors=tuple(NAMES[1:]))))
    assert refused(liar.ask("a", SignSurvivors(step=STEP, survivors=(*NAMES, "stranger"))))


def test_keys_of_the_server_s_own_in_a_site_s_place_are_refused(liar: Liar) -> None:
    adverts = liar.adverts()
    own = Secrets.new()
    f = adverts[5]
    forged = f.model_copy(update={"mask": own.mask, "cipher": own.cipher})
    assert refused(liar.ask("a", ShareSecrets(step=STEP, adverts=(*adverts[:5], forged))))
    heavier = f.model_copy(update={"people": 100_000})
    assert refused(liar.ask("a", ShareSecrets(step=STEP, adverts=(*adverts[:5], heavier))))
    assert not refused(liar.ask("a", ShareSecrets(step=STEP, adverts=adverts)))


def test_shares_are_made_for_one_list_of_keys(liar: Liar) -> None:
    adverts = liar.adverts()
    assert not liar.ask("a", ShareSecrets(step=STEP, adverts=adverts)).has_error()
    assert refused(liar.ask("a", ShareSecrets(step=STEP, adverts=adverts[:5])))


def test_shares_and_keys_of_another_attempt_are_refused(liar: Liar) -> None:
    old = liar.boxes()
    second = STEP.model_copy(update={"attempt": 1})
    adverts = liar.adverts(second)
    first = liar.told("f", MakeKeys(step=STEP)).advert
    assert refused(liar.ask("a", ShareSecrets(step=second, adverts=(*adverts[:5], first))))
    for site in NAMES:
        liar.told(site, ShareSecrets(step=second, adverts=adverts))
    assert refused(liar.masked("a", old, attempt=1))


def test_a_second_part_under_the_same_keys_is_refused(liar: Liar) -> None:
    boxes = liar.boxes()
    first, again = liar.masked("a", boxes), liar.masked("a", boxes)
    found, repeated = decode_answer(first)[1], decode_answer(again)[1]
    for name, array in found.items():
        np.testing.assert_array_equal(array, repeated[name])
    assert refused(liar.masked("a", boxes, {"w": np.ones(3, np.float32)}))


def test_a_site_that_was_sent_another_model_stops_all_shares(liar: Liar) -> None:
    boxes = liar.boxes()
    for site in NAMES:
        other = {"w": np.ones(3, np.float32)} if site == "f" else None
        assert not liar.masked(site, boxes, other).has_error()
    signatures = liar.signed(dict.fromkeys(NAMES, NAMES))
    for site in NAMES:
        assert refused(liar.ask(site, Unmask(step=STEP, signatures=signatures)))


@pytest.mark.parametrize("other", [{}, {"w": np.ones(3, np.float32)}], ids=["the same", "another"])
def test_a_sum_with_a_site_that_was_sent_another_model_is_not_read_though_it_signs_nothing(
    liar: Liar, other: Arrays
) -> None:
    """Five signatures of six are enough: once the model that made the others add nothing was sent to these five."""
    boxes, adverts = liar.boxes(), liar.adverts()
    sent = [decode_answer(liar.masked(site, boxes, other if site == "f" else None))[1] for site in NAMES]
    signatures = liar.signed(dict.fromkeys(NAMES[:5], NAMES))
    shares = {site: liar.told(site, Unmask(step=STEP, signatures=signatures)).shares for site in NAMES[:5]}
    people = []
    for model in ({}, other):
        total = np.sum([parts.flat(arrays, parts.SUMS_BITS) for arrays in sent], axis=0, dtype=np.uint64)
        unmask(total, liar.context(), adverts, NAMES, NAMES, shares, 4, of_received(offered(model), ()))
        people.append(int(parts.shaped(total, parts.layout(sent[0]))[parts.PEOPLE]))
    everybody = sum(advert.people for advert in adverts)
    assert people == [everybody] * 2 if not other else everybody not in people


def test_what_is_beyond_the_declared_range_does_not_leave(liar: Liar) -> None:
    liar.study = secure_runs.small(privacy={"secure_aggregation": {"largest_sum": 1.0}}, model={"name": "atlas"})
    boxes = liar.boxes()
    assert refused(liar.masked("a", boxes), SiteCode.OUT_OF_RANGE)


def test_shares_are_given_once_and_the_secrets_are_gone_then(liar: Liar) -> None:
    boxes = liar.sent()
    signatures = liar.signed(dict.fromkeys(NAMES, NAMES))
    first = liar.told("a", Unmask(step=STEP, signatures=signatures)).shares
    assert set(first) == set(NAMES)
    assert liar.told("a", Unmask(step=STEP, signatures=signatures)).shares == first
    assert refused(liar.masked("a", boxes))


NEXT = STEP.model_copy(update={"attempt": 1})
DISTRIBUTED = pytest.mark.parametrize(
    "privacy", [{"epsilon": 4.0, "secure_aggregation": {"noise": "distributed"}}], ids=["distributed noise"]
)


@DISTRIBUTED
def test_no_part_with_distributed_noise_is_in_the_sums_of_two_attempts(liar: Liar) -> None:
    """With more sites in one than in the other, their difference would have the noise of these few alone."""
    boxes = liar.boxes()
    assert not liar.masked("a", boxes).has_error()
    assert refused(liar.ask("a", MakeKeys(step=NEXT)))
    liar.told("b", MakeKeys(step=NEXT))  # it has not sent its part, so it goes on in the other
    assert refused(liar.masked("b", boxes))
    assert not liar.masked("a", boxes).has_error()  # the same again


def test_a_part_in_which_a_site_s_own_noise_is_whole_may_be_sent_in_two_attempts(liar: Liar) -> None:
    liar.sent()
    liar.told("a", MakeKeys(step=NEXT))


@DISTRIBUTED
def test_a_site_refuses_a_study_whose_distributed_noise_hides_nobody_whatever_let_it_through(liar: Liar) -> None:
    by_site = {"sums": "by-site"}
    liar.study = liar.study.model_copy(update={"federation": liar.study.federation.model_copy(update=by_site)})
    boxes = liar.boxes()
    assert refused(liar.masked("a", boxes), SiteCode.STUDY_REFUSED)


def next_run(
    liar: Liar,
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    cache: Path,
    custody: Mapping[str, CustodyConfig],
    **asked: Any,
) -> Liar:
    """The same study once more, in a run of its own, with other words where some are given."""
    found = Liar(liar.run.folder.parent / "next", data, cache, custody, liar.study.privacy.model_dump())
    found.study = found.study.model_copy(update=asked)
    monkeypatch.setenv(SITES_VARIABLE, str(found.run.sites_file))
    return found


@pytest.mark.parametrize("words", [{}, {"name": "other", "seed": 99}], ids=["the same study", "in other words"])
def test_a_site_is_not_told_by_a_run_with_it_and_a_run_without(
    liar: Liar,
    words: dict[str, Any],
    data: Path,
    cache: Path,
    custody: dict[str, CustodyConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The five that stay refuse, before they work and before they sign; and forget nothing with the run's folder."""
    liar.total(NAMES)
    again = next_run(liar, monkeypatch, data, cache, custody, **words)
    five = NAMES[:5]
    adverts = again.adverts(sites=five)
    for site in five:
        assert refused(again.ask(site, ShareSecrets(step=STEP, adverts=adverts)))
    six = again.boxes()  # with everybody there it is the sum that is known already
    for site in NAMES:
        assert not again.masked(site, six).has_error()
    for site in five:
        assert refused(again.ask(site, SignSurvivors(step=STEP, survivors=tuple(five))))
    assert again.signed(dict.fromkeys(NAMES, NAMES)).keys() == set(NAMES)


def test_an_update_is_the_same_under_a_strategy_or_rounds_that_change_nothing_at_the_site(liar: Liar) -> None:
    """A server compares strategies that differ in what it does itself: with all sites in one, without a site in the
    other, it would have that site's update."""
    step = SecureStep(of="train.round", phase="", turn=1)

    def whole(seed: int = 1, rounds: int = 1, repeat: int = 0, **strategy: Any) -> str:
        federation = liar.study.federation.model_copy(update={"rounds": rounds, "patience_s": 60.0 * rounds})
        study = liar.study.model_copy(update={"seed": seed, "federation": federation})
        site = SimpleNamespace(study=study)
        asked = SimpleNamespace(step=step, model=study.model, strategy=strategy, repeat=repeat)
        return what_is_summed(SimpleNamespace(request=asked, site=site))  # type: ignore[arg-type]

    assert whole(name="fedavg") == whole(name="fedadam") == whole(rounds=2, name="fedavg")
    assert len({whole(), whole(seed=2), whole(repeat=1)}) == 3


def test_without_that_memory_the_difference_of_two_runs_is_the_site_s_own_sum(
    liar: Liar, data: Path, cache: Path, custody: dict[str, CustodyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above fails where the hospitals do not remember."""
    monkeypatch.setattr(secure, "signed_lists", lambda job: None)
    everybody = liar.total(NAMES)
    others = next_run(liar, monkeypatch, data, cache, custody).total(NAMES[:5])
    own = everybody[parts.PEOPLE] - others[parts.PEOPLE]
    assert int(own) == liar.told("f", MakeKeys(step=STEP.model_copy(update={"attempt": 0}))).advert.people


@pytest.mark.parametrize("privacy", [{"epsilon": 4.0, "secure_aggregation": True}], ids=["noise of each site"])
def test_with_noise_in_every_part_a_run_without_a_site_is_answered(
    liar: Liar, data: Path, cache: Path, custody: dict[str, CustodyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    liar.sent()
    liar.signed(dict.fromkeys(NAMES, NAMES))
    again = next_run(liar, monkeypatch, data, cache, custody)
    adverts = again.adverts(sites=NAMES[:5])
    assert not again.ask("a", ShareSecrets(step=STEP, adverts=adverts)).has_error()
