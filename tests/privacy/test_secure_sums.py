"""Secure sums from end to end: the plain result, whoever drops out; and nothing of one site in what a server holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import secure_runs
from flwr.app import Message
from scipy.stats import chisquare
from secure_runs import SECURE, SITES, drop_out, model, play, prepare, small

from normfed_client.hospital.config import CustodyConfig
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import asked, decode_answer, error_code
from normfed_server.arms import virtual_clock
from normfed_server.arms.secure.rounds import EVERYBODY
from normfed_server.arms.virtual_clock import Pace, SitePace
from normfed_server.sites import claims
from normfed_server.steps.base import Update
from normfed_server.steps.mean import Mean
from normfed_simulation.engines import ray

pytestmark = pytest.mark.xdist_group("secure sums")  # made once
ATLAS: dict[str, Any] = {"model": {"name": "atlas"}}
SUMS = ("train.sums", "train.sums")
TOLERANCE = 2e-6  # six sites at a resolution of 2^-25, float32, and sums that differ in the last bits of float64


@pytest.fixture(scope="module")
def custody(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CustodyConfig]:
    return secure_runs.hospitals(tmp_path_factory.mktemp("hospitals") / "h", data)


@pytest.fixture(scope="module")
def plain(data: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play(prepare(small(), tmp_path_factory.mktemp("plain"), data, scans))


@pytest.fixture(scope="module")
def without(data: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain run in whose round a site fails."""
    return play(prepare(small(), tmp_path_factory.mktemp("without"), data, scans), drop_out("c", "train.round"))


@pytest.fixture(scope="module")
def plain_sums(data: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Plain runs of sums alone: of all sites (True), and of those without one that fails (False)."""
    runs = {stays: prepare(small(**ATLAS), tmp_path_factory.mktemp("sums"), data, scans) for stays in (True, False)}
    with pytest.MonkeyPatch.context() as patch:
        secure_runs.forgiving(patch)
        return {stays: play(run, None if stays else drop_out("c", *SUMS)) for stays, run in runs.items()}


@pytest.fixture(scope="module")
def captured() -> list[tuple[str, str, Answer, Arrays]]:
    """Filled by `secure`: task, site, and all that the server received."""
    return []


@pytest.fixture(scope="module")
def held() -> list[tuple[str, np.ndarray]]:
    """Filled by `secure`: every array of a round or of sums that the server decoded, by the task."""
    return []


@pytest.fixture(scope="module")
def updates() -> list[Update]:
    """Filled by `secure`: every update that the server step was handed."""
    return []


@pytest.fixture(scope="module")
def secure(
    data: Path,
    scans: Path,
    custody: dict[str, CustodyConfig],
    captured: list[Any],
    held: list[Any],
    updates: list[Update],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run whose sites are hospitals: they sign with the keys that were compared."""
    read, add = claims.read, Mean.add

    def tamper(request: Message, reply: Message) -> Message:
        assert not reply.has_error(), error_code(reply)
        answer, arrays = decode_answer(reply)
        captured.append((request.metadata.message_type, answer.site, answer, arrays))
        return reply

    def instrumented(reply: Message, consume: bool = False) -> tuple[Answer, Arrays]:
        answer, arrays = read(reply, consume)
        held.extend((answer.task, array.copy()) for array in arrays.values())
        return answer, arrays

    def added(self: Mean, update: Update) -> None:
        updates.append(update)
        add(self, update)

    run = prepare(small(**SECURE), tmp_path_factory.mktemp("secure"), data, scans, custody)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "read", instrumented)
        patch.setattr(Mean, "add", added)
        return play(run, tamper)


def assert_close(found: Arrays, expected: Arrays, tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


def test_rounds_and_sums_are_the_plain_ones_within_the_resolution(
    data: Path, scans: Path, plain: Path, tmp_path: Path
) -> None:
    secure = play(prepare(small(**SECURE), tmp_path / "s", data, scans))
    assert_close(model(secure), model(plain))


def test_hospitals_with_keys_that_were_compared_come_to_the_end(secure: Path) -> None:
    lines = [json.loads(line) for line in (secure / "events.jsonl").read_text().splitlines()]
    (done,) = [line for line in lines if line["event"] == "round"]
    assert set(done["outcomes"].values()) == {"took part"}
    assert len(set(done["loss"].values())) == 1  # the mean under every name
    assert np.isfinite(list(done["loss"].values())).all()


def test_what_is_captured_of_rounds_and_sums_is_uniform_noise(secure: Path, captured: list[Any]) -> None:
    for task in ("train.round", "train.sums"):
        vectors = [arrays for kind, _, _, arrays in captured if kind == task]
        assert len(vectors) == len(SITES)
        for arrays in vectors:
            content = b"".join(array.tobytes() for array in arrays.values())
            counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
            assert chisquare(counts).pvalue > 1e-5


def test_no_answer_of_a_round_says_a_site_s_own_loss(secure: Path, captured: list[Any]) -> None:
    assert {answer.payload.loss for task, _, answer, _ in captured if task == "train.round"} == {None}


def test_the_server_never_holds_a_single_site_s_update_in_the_clear(
    secure: Path, plain: Path, held: list[Any], updates: list[Update]
) -> None:
    """Read as what a site would send without masks, whatever was decoded is as far from an update as noise is."""
    masked = [array for task, array in held if task in ("train.round", "train.sums")]
    assert masked
    assert {str(array.dtype) for array in masked} == {"uint32", "uint64"}
    point = FixedPoint(parts.ROUND_BITS, 8.0, len(SITES))
    for array in (a for a in masked if a.dtype == np.uint32 and a.size > 1000):
        assert np.abs(point.decode(array)).mean() > 1  # updates are a thousandth of that
    assert [update.site for update in updates] == [EVERYBODY]
    assert updates[0].people == sum(group["control"] for group in SITES.values())


def test_a_site_s_secrets_are_the_owner_s_only_and_gone_when_the_run_is_over(secure: Path) -> None:
    files = list(secure.glob("sites/*/secure/*/*.json"))
    assert len(files) == 2 * len(SITES)  # a round and sums
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        kept = json.loads(path.read_text())
        assert (kept["secrets"], kept["held"]) == (None, {})
        assert kept["signature"]


@pytest.mark.parametrize("task", ["query.keys", "query.shares", "train.round", "query.survivors", "query.unmask"])
def test_a_site_that_drops_out_of_a_round_costs_no_more_than_its_own_part(
    data: Path, scans: Path, tmp_path: Path, plain: Path, without: Path, task: str
) -> None:
    secure = play(prepare(small(**SECURE), tmp_path / "s", data, scans), drop_out("c", task))
    sent = task in ("query.survivors", "query.unmask")
    assert_close(model(secure), model(plain if sent else without))


@pytest.mark.parametrize("task", ["query.keys", "query.shares", "train.sums", "query.survivors", "query.unmask"])
def test_a_site_that_drops_out_of_sums_costs_no_more_than_its_own_part(
    data: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_sums: dict[bool, Path], task: str
) -> None:
    secure_runs.forgiving(monkeypatch)
    secure = play(prepare(small(**SECURE, **ATLAS), tmp_path / "s", data, scans), drop_out("c", task, "train.sums"))
    stays = task in ("query.survivors", "query.unmask")
    assert_close(model(secure), model(plain_sums[stays]), 1e-12)


def test_too_few_survivors_stop_the_run_and_it_resumes(data: Path, scans: Path, tmp_path: Path, plain: Path) -> None:
    run = prepare(small(**SECURE), tmp_path / "s", data, scans)

    def tamper(request: Message, reply: Message) -> Message:
        for site in "bcd":
            reply = drop_out(site, "train.round")(request, reply)
        return reply

    with pytest.raises(RunError, match="3 sites sent their parts; a secure sum needs 4"):
        play(run, tamper)
    assert_close(model(play(run)), model(plain))


@pytest.mark.parametrize("task", ["query.keys", "query.shares", "train.round", "query.survivors", "query.unmask"])
def test_a_server_killed_in_any_exchange_comes_to_the_same_model(
    data: Path, scans: Path, tmp_path: Path, plain: Path, task: str
) -> None:
    run, killed = prepare(small(**SECURE), tmp_path / "s", data, scans), []

    def tamper(request: Message, reply: Message) -> Message:
        said = asked(request)
        if not killed and said.task == task and said.round and request.metadata.dst_node_id == 3:
            killed.append(task)
            raise KeyboardInterrupt
        return reply

    with pytest.raises(BaseException):  # noqa: B017, PT011  (whatever ends the process)
        play(run, tamper)
    assert killed == [task]
    assert_close(model(play(run)), model(plain))
    if task in ("query.survivors", "query.unmask"):
        files = list(run.folder.glob("sites/*/secure/*/train.round--1-*.json"))
        assert len(files) == len(SITES)  # the same attempt was ended


@pytest.mark.parametrize("strategy", [{"name": "fedbn"}, {"name": "fedadam", "server_learning_rate": 0.01}])
def test_strategies_that_need_the_mean_only_come_to_the_plain_model(
    data: Path, scans: Path, tmp_path: Path, strategy: dict[str, Any]
) -> None:
    """With a second round, in which new sites are sent the personal parts and others are not."""
    wanted = {"strategy": strategy, "federation": {"minimum_cohort": 4, "rounds": 2}}
    secure = play(prepare(small(**SECURE, **wanted), tmp_path / "s", data, scans))
    assert_close(model(secure), model(play(prepare(small(**wanted), tmp_path / "p", data, scans))), 1e-4)


def test_a_site_that_is_late_by_hospital_time_is_left_out_of_a_secure_round(
    data: Path, scans: Path, tmp_path: Path
) -> None:
    found = {}
    for name, changes in (("s", SECURE), ("p", {})):
        run = prepare(small(**changes), tmp_path / name, data, scans)
        paces = {
            site: SitePace(train_s=1.0, validate_s=1.0, download_s=1.0, upload_s=1e5 if site == "c" else 1.0)
            for site in SITES
        }
        virtual_clock.save(run.folder, Pace(seed=0, sites=paces, spread_s=0.0, drop=0.0, back_s=1.0))
        found[name] = play(run)
        lines = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
        (done,) = [line for line in lines if line["event"] == "round"]
        assert done["outcomes"] == {site: "late" if site == "c" else "took part" for site in SITES}
    assert_close(model(found["s"]), model(found["p"]))


def test_rays_engine_comes_to_the_model_of_the_local_one(data: Path, scans: Path, tmp_path: Path, plain: Path) -> None:
    pytest.importorskip("ray")
    run = prepare(small(**SECURE), tmp_path / "s", data, scans)
    before = dict(os.environ)
    try:
        ray.run(run.folder, run.sites_file, len(SITES), 2)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert_close(model(run.folder), model(plain))


def test_a_federation_that_is_too_small_is_refused_in_words(data: Path, scans: Path, tmp_path: Path) -> None:
    wanted = small(privacy={"secure_aggregation": {"minimum_sites": 7}})
    with pytest.raises(StudyError, match="6 sites can train; a secure sum is over 7 at least"):
        play(prepare(wanted, tmp_path / "s", data, scans))
