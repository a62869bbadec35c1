"""A bit that flips on a hospital's disk costs work, never a result: what is damaged is named, set apart, made again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flips import flip
from learning import training
from synthetic import People, setting

from normfed_client.hospital.outbox import Outbox, digest
from normfed_client.hospital.personal import STALE, PersonalStore
from normfed_client.hospital.rules import Rules
from normfed_client.imaging.cache import DIGESTS, Cache, Entry, write_arrays
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import Settings, train
from normfed_common.foundation import digests
from normfed_common.foundation.damage import put_aside, told
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import validate_learner
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import Request, TrainRound

REQUEST = Request(study="{}", arm="federated", model={"name": "x"}, run="r", payload=TrainRound(round=3))
ARRAYS = {"w": np.arange(4.0, dtype=np.float32)}
ENTRY = validate_learner(
    MODELS, {"name": "siamese", "patch_size": 9, "pairs_per_subject": 40, "batch_size": 10}, "test"
)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the site's log says."""
    found: list[str] = []
    with told(found.append):
        yield found


def state(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full(3, value, np.float32)}


def of_round(folder: Path, round: int) -> Path:
    return folder / f"round-{round:06d}.safetensors"


def store(folder: Path, rounds: int) -> PersonalStore:
    """A site whose every update was used."""
    found = PersonalStore(folder)
    for round in range(1, rounds + 1):
        found.save(round, state(round), since=round - 1)
    return found


def test_an_answer_in_which_bits_flipped_is_never_sent(tmp_path: Path, said: list[str]) -> None:
    box, key = Outbox(tmp_path), digest(REQUEST, ARRAYS, Rules())
    box.put(key, REQUEST, Answer(site="a", subjects=7, payload=Trained()), ARRAYS)
    (path,) = tmp_path.rglob("*.safetensors")
    flip(path)
    assert box.get(key, REQUEST) is None
    (kept,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept.name.startswith(f"{path.name}.damaged-")
    (line,) = said
    assert line.startswith(f"{path}: damaged (")
    assert line.endswith(f"It is kept as {kept.name}; the request is worked on again.")
    box.put(key, REQUEST, Answer(site="a", subjects=7, payload=Trained()), ARRAYS)
    assert box.get(key, REQUEST) is not None


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
def test_training_whose_checkpoint_was_damaged_begins_again_and_gives_the_same_weights(
    tmp_path: Path, said: list[str], damage: str
) -> None:
    def trained(folder: Path | None) -> dict[str, np.ndarray]:
        model = build(MODELS, ENTRY, setting())
        checkpoints = TrainingCheckpoints(folder, every_s=0.0) if folder is not None else None
        train(model, People(2), Settings(training(model), 1, "a", 2, 1, 1e-3, most_batches=4, checkpoints=checkpoints))
        return model.share()

    trained(tmp_path)  # is whole; what is left is a checkpoint of its last step
    (path,) = tmp_path.iterdir()
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[:100])
    again, expected = trained(tmp_path), trained(None)
    assert all(np.array_equal(again[name], expected[name]) for name in expected)
    assert "this training begins again" in said[0]
    TrainingCheckpoints(tmp_path, 0.0).clear()
    assert [p.name.partition(".damaged-")[0] for p in tmp_path.iterdir()] == [path.name]  # a person may look at it


def test_of_a_damaged_personal_part_that_of_the_round_before_is_used_and_said(tmp_path: Path, said: list[str]) -> None:
    personal = store(tmp_path, 3)
    flip(of_round(tmp_path, 3))
    assert personal.notes == ()
    assert personal.load(before=4, since=3)["w"][0] == 2
    assert personal.notes == (STALE,)  # the server is told as well: the result is another one
    assert "round-000003.safetensors: damaged" in said[0]
    assert "that of an earlier round is used" in said[0]
    assert personal.load(before=4, since=3)["w"][0] == 2  # the same when it is asked again
    assert personal.latest()["w"][0] == 2
    assert len(said) == 1


def test_a_site_that_lost_its_personal_part_refuses_and_never_begins_anew(tmp_path: Path) -> None:
    personal = store(tmp_path, 3)
    for path in tmp_path.iterdir():
        flip(path)
    for _ in range(2):  # set apart at the first time, still lost at the second
        with pytest.raises(SiteError) as caught:
            personal.load(before=4)
        assert caught.value.code is SiteCode.PERSONAL_PART_MISSING
        with pytest.raises(SiteError):
            personal.latest()
    with pytest.raises(SiteError):
        PersonalStore(tmp_path / "deleted").load(before=4, since=3)  # the server used an update from it
    assert PersonalStore(tmp_path / "new").load(before=4) == {}  # a site that has just joined
    assert personal.load(before=1) == {}  # a server that begins again


def test_a_server_that_lost_a_round_finds_every_state_that_it_began_from(tmp_path: Path) -> None:
    """Sites are at round 7 when the server is back at the end of round 5 and asks for round 6 again."""
    personal = store(tmp_path, 7)
    assert personal.load(before=6)["w"][0] == 5
    personal = PersonalStore(tmp_path / "seldom used")  # updates of rounds 1 and 4 counted: those begin from there
    for round, since in ((1, 0), (2, 1), (3, 1), (4, 1), (5, 4)):
        personal.save(round, state(round), since)
    assert personal.load(before=2)["w"][0] == 1  # round 4 again, whose controls are of round 1


def entry(cache: Cache, built: list[str]) -> Entry:
    def build_it(folder: Path) -> None:
        built.append("built")
        rng = np.random.default_rng(0)
        mask = rng.random((8, 9, 7)) > 0.3
        write_arrays(folder, rng.random((2, 8, 9, 7), np.float32), mask, mask, mask)
        (folder / "meta.json").write_text('{"overlap": 0.9}')

    return cache.get_or_build("key", build_it)


def in_a_new_process() -> None:
    """Files are read once per process; a test has but one."""
    digests._of_file.cache_clear()


FILES = ["images.npy", "mask.npy", "normal.npy", "lesion.npy", "meta.json", "sizes.json", "digests.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_preprocessed_scan_in_which_a_bit_flipped_is_made_again(tmp_path: Path, said: list[str], name: str) -> None:
    cache, built = Cache(tmp_path), list[str]()
    whole = {path.name: path.read_bytes() for path in entry(cache, built).folder.iterdir()}
    assert sorted(whole) == sorted(FILES)
    flip(tmp_path / "key" / name, bits=1)
    in_a_new_process()
    again = entry(cache, built)
    assert built == ["built", "built"]
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == whole
    (line,) = said
    assert line.startswith(f"{tmp_path / 'key'}: damaged")
    assert [p.name.partition(".damaged-")[0] for p in tmp_path.iterdir()] == ["key", "key"]


def test_an_entry_is_read_whole_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    entry(cache, [])
    in_a_new_process()
    assert cache.get("key") is not None
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert cache.get("key") is not None


def test_an_entry_from_before_there_were_digests_is_taken_and_watched_from_then_on(tmp_path: Path) -> None:
    cache, built = Cache(tmp_path), list[str]()
    (entry(cache, built).folder / DIGESTS).unlink()
    entry(cache, built)
    assert built == ["built"]
    flip(tmp_path / "key" / "images.npy")
    in_a_new_process()
    entry(cache, built)
    assert built == ["built", "built"]


def test_what_is_damaged_is_told_to_the_log_of_the_request_that_found_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are answered in parallel threads; beyond them the process's own log is told."""
    logs: dict[str, list[str]] = {"a": [], "b": []}
    together = threading.Barrier(2)

    def answer(site: str) -> None:
        with told(logs[site].append):
            (tmp_path / site).write_text("damaged")
            together.wait(10)
            put_aside(tmp_path / site, "for a test", "nothing is done")

    threads = [threading.Thread(target=answer, args=(site,)) for site in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {site: [line.split(":")[0] for line in lines] for site, lines in logs.items()} == {
        "a": [str(tmp_path / "a")],
        "b": [str(tmp_path / "b")],
    }
    (tmp_path / "c").write_text("damaged")
    with caplog.at_level(logging.WARNING):
        put_aside(tmp_path / "c", "for a test", "nothing is done")
    assert caplog.messages[0].startswith(f"{tmp_path / 'c'}: damaged (for a test). It is kept as c.damaged-")
