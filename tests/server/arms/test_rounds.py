"""Rounds with sites that are late, absent, refuse, fail, lie, come and go: what the server makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from scripted import PEOPLE, STEP, ScriptedGrid, federation, mean_of, moved, run

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Trained
from normfed_server.arms.virtual_clock import Pace, SitePace, hospital_time
from normfed_server.sites import exchange
from normfed_server.sites.closing import Closing, missing


def test_everybody_counts_by_their_people(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study)
    progress, history = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path)
    assert moved(small, progress) == pytest.approx(mean_of(*"abcd"), rel=1e-4)
    assert set(history[0]["outcomes"].values()) == {"took part"}
    assert missing(history) == {}


def trained(site: str, subjects: int = 5) -> Answer:
    return Answer(site=site, subjects=subjects, payload=Trained())


def boaster(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    moved = {n: (a + np.float32(STEP[site])).astype(np.float32) for n, a in arrays.items()}
    return trained(site, 1_000_000), moved


def test_a_site_cannot_claim_more_weight_than_its_people(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study)
    progress, _ = run(small, ScriptedGrid(lambda s, _: boaster if s == "d" else STEP[s]), tmp_path)
    assert moved(small, progress) == pytest.approx(mean_of(*"abcd"), rel=1e-4)


def nan(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site), {n: np.full_like(a, np.nan) for n, a in arrays.items()}


def other_shape(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site), {n: np.zeros((2, *a.shape), np.float32) for n, a in arrays.items()}


def other_names(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site), {"network.secret": np.zeros(3, np.float32)}


def huge(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site), {n: a + np.float32(1e6) for n, a in arrays.items()}


def doubles(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site), {n: a.astype(np.float64) for n, a in arrays.items()}


def somebody_else(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained("a"), arrays


def nobody(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return trained(site, 0), arrays


@pytest.mark.parametrize(
    ("what", "outcome", "reason"),
    [
        (nan, "set aside", "not finite"),
        (other_shape, "set aside", "of shape"),
        (other_names, "set aside", "other arrays than the model"),
        (huge, "set aside", "absurdly large"),
        (doubles, "set aside", "float64"),
        (somebody_else, "set aside", "another site's"),
        (nobody, "set aside", "nobody was trained on"),
        (SiteCode.NOT_FINITE, "failed", "diverged"),
        (SiteCode.OUT_OF_SPACE, "failed", "disk is full"),
        (SiteCode.STUDY_REFUSED, "refused", "cannot run this study"),
        (None, "late", "no answer within"),
    ],
)
def test_one_bad_site_is_left_out_of_the_round_and_said(
    study: StudyConfig, tmp_path: Path, what: Any, outcome: str, reason: str
) -> None:
    small = federation(study)
    grid = ScriptedGrid(lambda s, _: what if s == "b" else STEP[s])
    progress, history = run(small, grid, tmp_path)
    assert moved(small, progress) == pytest.approx(mean_of("a", "c", "d"), rel=1e-4)
    assert history[0]["outcomes"] == {"a": "took part", "b": outcome, "c": "took part", "d": "took part"}
    assert reason in history[0]["reasons"]["b"]
    assert missing(history) == {"b": [1]}
    assert progress.used == {"a": 1, "c": 1, "d": 1}
    assert f'"outcome": "{outcome}"' in (tmp_path / "events.jsonl").read_text()


def test_sites_that_have_no_part_in_a_phase_count_for_no_quorum_and_are_no_fault(
    study: StudyConfig, tmp_path: Path
) -> None:
    small = federation(study, rounds=2)
    progress, history = run(
        small, ScriptedGrid(lambda s, _: STEP[s] if s == "b" else SiteCode.NOTHING_PAIRED), tmp_path
    )
    assert moved(small, progress) == pytest.approx(2 * STEP["b"], rel=1e-4)
    assert history[1]["outcomes"] == {"a": "no part", "b": "took part", "c": "no part", "d": "no part"}
    assert missing(history) == {}
    assert (tmp_path / "events.jsonl").read_text().count('"event": "missing"') == 3  # once, not in every round


def test_a_phase_in_which_no_site_has_a_part_stops_the_run_in_words(study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no site has a part in it\. a: nobody at the site.*Correct the study"):
        run(federation(study), ScriptedGrid(lambda s, _: SiteCode.NOTHING_PAIRED), tmp_path)


def test_too_few_sites_stop_the_run_with_every_reason_and_it_resumes(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=2)
    bad = {"a": SiteCode.OUT_OF_SPACE, "b": nan, "c": SiteCode.INTERNAL}
    with pytest.raises(RunError, match=r"Round 2 of federated: 1 of 4 sites .* 3 are needed") as caught:
        run(small, ScriptedGrid(lambda s, r: bad.get(s, 0.1) if r == 2 else STEP[s]), tmp_path)
    for words in ("a: the site's disk is full", "b: array", "c: an error inside the site", "lower federation.quorum"):
        assert words in str(caught.value)
    again = ScriptedGrid(lambda s, _: STEP[s])
    progress, history = run(small, again, tmp_path)
    assert [entry["round"] for entry in history] == [1, 2]
    assert {r for _, r, _, _ in again.asked} == {2}
    assert moved(small, progress) == pytest.approx(2 * mean_of(*"abcd"), rel=1e-4)


def test_no_quorum_is_advised_where_no_site_at_all_sent_an_update(study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"0 of 4 sites .*INTERNAL\)\. Fix that and resume\.$") as caught:
        run(federation(study), ScriptedGrid(lambda s, _: SiteCode.INTERNAL), tmp_path)
    assert "federation.quorum" not in str(caught.value)


def test_a_quorum_may_ask_for_a_share_of_the_people(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, quorum=1, quorum_subjects=0.6)
    with pytest.raises(RunError, match="60% of their people"):
        run(small, ScriptedGrid(lambda s, _: SiteCode.INTERNAL if s == "a" else 0.1), tmp_path)
    progress, _ = run(
        federation(study, quorum=1, quorum_subjects=0.4),
        ScriptedGrid(lambda s, _: 0.1 if s == "a" else SiteCode.INTERNAL),
        tmp_path / "2",
    )
    assert set(progress.used) == {"a"}


def test_part_of_the_sites_is_drawn_anew_for_every_round_and_weights_stay_right(
    study: StudyConfig, tmp_path: Path
) -> None:
    small = federation(study, rounds=12, sample=0.5)
    grid = ScriptedGrid(lambda s, _: STEP[s])
    progress, history = run(small, grid, tmp_path)
    drawn = [[s for s, o in entry["outcomes"].items() if o == "took part"] for entry in history]
    assert {len(sites) for sites in drawn} == {2}
    assert {site for sites in drawn for site in sites} == set(PEOPLE)
    assert moved(small, progress) == pytest.approx(sum(mean_of(*sites) for sites in drawn), rel=1e-4)
    assert missing(history) == {}  # not sampled is no fault
    since = {(s, r): request.payload.since for s, r, request, _ in grid.asked}
    for site in PEOPLE:
        last = 0
        for number, sites in enumerate(drawn, 1):
            if site in sites:
                assert since[site, number] == last
                last = number


def test_every_repeat_draws_other_sites_and_the_first_those_that_it_always_drew(
    study: StudyConfig, tmp_path: Path
) -> None:
    small = federation(study, rounds=12, sample=0.5)

    def drawn(repeat: int) -> list[set[str]]:
        _, history = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path / str(repeat), repeat=repeat)
        return [{s for s, o in entry["outcomes"].items() if o == "took part"} for entry in history]

    first = [
        {"abcd"[i] for i in seeds.generator(small.seed, "participation", round).permutation(4)[:2]}
        for round in range(1, 13)
    ]
    assert drawn(0) == first
    assert drawn(1) != first
    assert drawn(2) not in (first, drawn(1))


def test_sites_leave_come_back_under_another_node_and_join(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=4)
    people = dict(PEOPLE)
    grid = ScriptedGrid(lambda s, _: STEP.get(s, 1.0), people)

    def schedule(site: str, round: int) -> Any:
        if site == "d":  # the last to be asked: what changes now counts for the next round
            if round == 1:
                del grid.connected["b"]
            if round == 2:
                grid.connected["b"] = 77
                people["e"] = 20
                grid.connected["e"] = 99
        return STEP.get(site, 1.0)

    grid.behaviour = schedule
    progress, history = run(small, grid, tmp_path, open=True)
    outcomes = [{s: o for s, o in entry["outcomes"].items() if s in "be"} for entry in history]
    assert outcomes == [
        {"b": "took part"},
        {"b": "absent"},
        {"b": "took part", "e": "took part"},
        {"b": "took part", "e": "took part"},
    ]
    weights = {**PEOPLE, "e": 20}
    step = {**STEP, "e": 1.0}
    total = mean_of(*"abcd") + mean_of(*"acd")
    total += 2 * sum(weights[s] * step[s] for s in weights) / sum(weights.values())
    assert moved(small, progress) == pytest.approx(total, rel=1e-4)
    assert '"event": "joined"' in (tmp_path / "events.jsonl").read_text()


def test_answers_that_come_too_early_wait_on_disk(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = federation(study)
    in_memory, _ = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path / "1")
    monkeypatch.setattr(exchange, "EARLY_BYTES", 0)
    monkeypatch.setattr(exchange.tempfile, "mkdtemp", lambda prefix: str(_made(tmp_path / "early")))
    on_disk, _ = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path / "2")
    for name, array in in_memory.models[0].items():
        np.testing.assert_array_equal(on_disk.models[0][name], array)
    assert not (tmp_path / "early").exists()


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def pace(**upload: float) -> Pace:
    sites = {s: SitePace(train_s=1, validate_s=1, download_s=1, upload_s=upload.get(s, 1)) for s in PEOPLE}
    return Pace(seed=0, sites=sites, spread_s=0, drop=0)


def test_on_the_virtual_clock_the_late_are_late_and_nobody_waits(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, patience_s=100, quorum=2)
    progress, history = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path, pace(b=5000))
    assert history[0]["outcomes"]["b"] == "late"
    assert history[0]["hospital_time"]["end"] == 100
    assert history[0]["seconds"] < 30
    assert moved(small, progress) == pytest.approx(mean_of("a", "c", "d"), rel=1e-4)
    _, history = run(
        federation(study, patience_s=100, quorum=4), ScriptedGrid(lambda s, _: STEP[s]), tmp_path / "2", pace(b=5000)
    )
    assert history[0]["outcomes"]["b"] == "took part"  # without it the quorum is not there
    assert history[0]["hospital_time"]["end"] == 5006


def test_in_a_simulation_nobody_is_late_by_the_clock_on_the_wall(study: StudyConfig, tmp_path: Path) -> None:
    grid = ScriptedGrid(lambda s, _: STEP[s])
    pull, pulled = grid.pull_messages, 0

    def slow(message_ids: Iterable[str]) -> Iterable[Message]:
        nonlocal pulled
        pulled += 1
        found = list(pull(message_ids))
        return found if pulled > 20 else [reply for reply in found if reply.metadata.src_node_id != 2]

    grid.pull_messages = slow  # type: ignore[method-assign]
    _, history = run(federation(study, patience_s=0, quorum=1), grid, tmp_path, wall_clock=False)
    assert set(history[0]["outcomes"].values()) == {"took part"}


def test_what_other_rules_of_waiting_would_save_and_lose(study: StudyConfig, tmp_path: Path) -> None:
    from normfed_server.sites.description import SiteDescription

    small = federation(study, rounds=3, patience_s=1e5)
    _, history = run(small, ScriptedGrid(lambda s, _: STEP[s]), tmp_path, pace(a=5000))
    sites = {s: SiteDescription(n, 0, 2, ()) for s, n in PEOPLE.items()}
    found = hospital_time(small, sites, history, pace(a=5000))
    assert found is not None
    everybody = found["rules"][0]
    assert everybody["hours"] == pytest.approx(3 * 5011 / 3600)
    assert everybody["lost"] == 0
    hasty = next(rule for rule in found["rules"] if rule["quorum"] == 0.75 and rule["patience_s"] == 0)
    assert hasty["lost"] == pytest.approx(0.5)  # half of the people are at the slow site
    assert hasty["lost_by_site"] == {"a": pytest.approx(0.5)}
    assert hasty["hours"] < 0.01 * everybody["hours"]
    assert found["last"] == {"a": 3}


def test_a_round_closes_when_quorum_and_patience_are_there() -> None:
    closing = Closing({"a": 10, "b": 5, "c": 1}, 2, 0.0, 60.0)
    assert closing.at({"a": 1.0, "b": 2.0, "c": 3.0}) == 3.0
    assert closing.at({"a": 1.0, "b": 2.0, "c": 300.0}) == 60.0
    assert closing.at({"a": 1.0, "b": 200.0, "c": 300.0}) == 200.0
    by_people = Closing({"a": 10, "b": 5, "c": 1}, 1, 0.9, 0.0)
    assert by_people.at({"a": 1.0, "b": 2.0, "c": 3.0}) == 2.0


def test_a_site_is_sent_its_first_personal_part_once(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=2)
    grid = ScriptedGrid(lambda s, _: lambda site, arrays: (trained(site), shared(arrays)))

    def shared(arrays: Arrays) -> Arrays:
        return {n: a for n, a in arrays.items() if ".decoder." not in n}

    run(small, grid, tmp_path, strategy={"name": "fedper", "personal": ["decoder"]})
    sent = {(site, round): {n for n in arrays if ".decoder." in n} for site, round, _, arrays in grid.asked}
    for site in PEOPLE:
        assert sent[site, 1]
        assert not sent[site, 2]


def test_models_go_out_as_small_as_the_arm_says(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study)
    sizes = {}
    for kind in ("none", "fp16"):
        grid = ScriptedGrid(lambda s, _: lambda site, arrays: (trained(site), arrays))
        _, history = run(small, grid, tmp_path / kind, compression=kind)
        sizes[kind] = history[0]["megabytes"]
    assert sizes["fp16"]["out"] < 0.75 * sizes["none"]["out"]  # headers and sums are as large as before


def test_a_message_that_is_not_one_of_ours_is_set_aside(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study)
    grid = ScriptedGrid(lambda s, _: STEP[s])
    reply = grid._reply

    def strange(message: Message) -> Message | None:
        found = reply(message)
        if message.metadata.message_type == "train.round" and found is not None and found.metadata.src_node_id == 2:
            content = RecordDict(
                {"header": ConfigRecord({"json": "{}"}), "more": ArrayRecord({"x": Array(np.zeros(2))})}
            )
            return Message(content, reply_to=message)
        return found

    grid._reply = strange  # type: ignore[method-assign]
    _, history = run(small, grid, tmp_path)
    assert history[0]["outcomes"]["b"] == "set aside"
