"""A bit that flips on a hospital's disk costs work, never a result: what is damaged is named, set apart, made again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flips import flip

from normfed_client.imaging.cache import DIGESTS, ROOT_VARIABLE, Cache, Entry, default_root, write_arrays
from normfed_common.foundation import digests
from normfed_common.foundation.errors import DatasetError
from normfed_common.learning.cohort import Person

BUILDER = """
import sys, time
from pathlib import Path
from normfed_client.imaging.cache import Cache
log, pause = Path(sys.argv[2]), float(sys.argv[3])
def build(folder):
    with open(log, "a") as file: file.write("built\\n")
    (folder / "images.npy").write_bytes(b"0" * 1000)
    print("half", flush=True)
    time.sleep(pause)
    (folder / "meta.json").write_text("{}")
Cache(Path(sys.argv[1])).get_or_build("key", build)
print("done", flush=True)
"""


def start(root: Path, log: Path, pause: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(root), str(log), str(pause)], stdout=subprocess.PIPE)


def test_a_process_killed_in_the_middle_leaves_no_entry_and_the_next_one_builds_it(tmp_path: Path) -> None:
    first = start(tmp_path / "c", tmp_path / "log", 60)
    assert first.stdout is not None
    assert first.stdout.readline() == b"half\n"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert Cache(tmp_path / "c").get("key") is None
    assert start(tmp_path / "c", tmp_path / "log", 0).wait(120) == 0
    assert Cache(tmp_path / "c").get("key") is not None
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["key"]


def test_two_processes_build_an_entry_once(tmp_path: Path) -> None:
    both = [start(tmp_path / "c", tmp_path / "log", 0.5) for _ in range(2)]
    assert [p.wait(120) for p in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def test_kills_at_random_moments_never_leave_a_broken_entry(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        process = start(tmp_path / "c", tmp_path / "log", 0.05)
        time.sleep(float(rng.uniform(0.05, 0.6)))
        process.kill()
        process.wait()
        entry = Cache(tmp_path / "c").get("key")
        assert entry is None or (entry.folder / "images.npy").stat().st_size == 1000
    assert start(tmp_path / "c", tmp_path / "log", 0).wait(120) == 0


def test_a_file_cut_short_is_noticed_and_the_entry_built_again(tmp_path: Path) -> None:
    assert start(tmp_path / "c", tmp_path / "log", 0).wait(120) == 0
    (tmp_path / "c" / "key" / "images.npy").write_bytes(b"")
    assert Cache(tmp_path / "c").get("key") is None
    assert start(tmp_path / "c", tmp_path / "log", 0).wait(120) == 0
    assert Cache(tmp_path / "c").get("key") is not None


@pytest.mark.parametrize(("code", "sentence"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "not writable")])
def test_a_full_or_locked_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, code: int, sentence: str) -> None:
    def build(folder: Path) -> None:
        (folder / "images.npy").write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(DatasetError, match=sentence):
        Cache(tmp_path / "c").get_or_build("key", build)
    assert list((tmp_path / "c").iterdir()) == []


def test_scans_come_back_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((2, 8, 9, 7), np.float32)
    mask, lesion = rng.random((8, 9, 7)) > 0.3, rng.random((8, 9, 7)) > 0.9

    def build(folder: Path) -> None:
        write_arrays(folder, images, mask, lesion, mask & ~lesion)
        (folder / "meta.json").write_text('{"overlap": 0.9}')

    entry = Cache(tmp_path).get_or_build("key", build)
    scan = entry.scan(Person(0, 61.0, "F"))
    np.testing.assert_array_equal(scan.images, images)
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(entry.lesion(), lesion)
    np.testing.assert_array_equal(scan.normal_index, np.flatnonzero(mask & ~lesion))
    assert scan.images[:, :, :, 3].flags["C_CONTIGUOUS"] or scan.images[0, :, :, 3].flags["C_CONTIGUOUS"]
    assert (scan.present.all(), scan.person.age, scan.person.sex) == (True, 61.0, "F")
    np.testing.assert_array_equal(entry.mask(), mask)
    np.testing.assert_array_equal(entry.normal(), mask & ~lesion)
    assert entry.meta() == {"overlap": 0.9}


def test_an_entry_says_which_modalities_are_present_and_one_that_does_not_has_all(tmp_path: Path) -> None:
    mask = np.ones((3, 4, 2), bool)
    for said, present in (({}, [True, True]), ({"present": [True, False]}, [True, False])):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        write_arrays(folder, np.zeros((2, *mask.shape)), mask, mask, mask)
        (folder / "meta.json").write_text(json.dumps(said))
        assert Entry(folder).scan(Person(0)).present.tolist() == present


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


def test_a_relative_cache_is_that_of_the_folder_one_is_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers have folders of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, "../here")
    assert default_root() == tmp_path.parent / "here"
