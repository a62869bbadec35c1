"""What is pruned is what was asked for, and nothing that a process uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.imaging.cache_contents import SECONDS_PER_DAY, Kept, contents, prune, to_prune
from normfed_common.foundation.errors import UserError


def entry(root: Path, kind: str, key: str, numbers: int, days: float) -> Path:
    """An entry made by another process, which has ended, so many days ago."""
    code = (
        "import sys, numpy; from pathlib import Path; from normfed_client.imaging.cache import Cache\n"
        "write = lambda folder: numpy.save(folder / 'a.npy', numpy.zeros(int(sys.argv[3])))\n"
        "Cache(Path(sys.argv[1])).get_or_build(sys.argv[2], write)"
    )
    subprocess.run([sys.executable, "-c", code, str(root / kind), key, str(numbers)], check=True)
    then = time.time() - days * SECONDS_PER_DAY
    os.utime(root / kind / key / "sizes.json", (then, then))
    return root / kind / key


def test_everything_is_listed_with_its_size_and_last_use_the_longest_unused_first(tmp_path: Path) -> None:
    old, new = entry(tmp_path, "scans", "a" * 32, 100, 5), entry(tmp_path, "templates", "b" * 32, 1000, 1)
    people = tmp_path / "datasets" / "phantom" / "0123"
    (people / "sub-01").mkdir(parents=True)
    (people / "participants.tsv").write_bytes(b"x" * 77)
    os.utime(people, (0, 0))
    (tmp_path / "scans" / ".lock-x").touch()
    found = contents(tmp_path)
    assert [(one.path, one.kind) for one in found] == [(people, "datasets"), (old, "scans"), (new, "templates")]
    assert found[0].size_bytes == 77
    assert found[2].size_bytes - found[1].size_bytes == 900 * np.dtype(float).itemsize + len("1000") - len("100")
    assert found[1].unused_days == pytest.approx(5, abs=0.01)
    assert contents(tmp_path / "nowhere") == []


@given(
    st.lists(st.tuples(st.sampled_from(["scans", "datasets"]), st.integers(0, 100), st.integers(0, 50)), max_size=9),
    st.sets(st.sampled_from(["scans", "datasets"])),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(0, 500),
)
def test_what_goes_is_old_or_makes_room_and_the_rest_is_small_enough(
    things: list[tuple[str, int, int]], kinds: set[str], older: int | None, larger: int | None
) -> None:
    now = time.time()
    kept = [Kept(Path(str(n)), kind, size, now - days * SECONDS_PER_DAY) for n, (kind, size, days) in enumerate(things)]
    kept.sort(key=lambda one: one.used)
    gone = to_prune(kept, kinds, older, larger)
    mine = [one for one in kept if not kinds or one.kind in kinds]
    assert all(one in mine for one in gone)
    rest = [one for one in mine if one not in gone]
    if older is None and larger is None:
        assert rest == []
        return
    assert older is None or all(one.unused_days < older for one in rest)
    assert larger is None or sum(one.size_bytes for one in rest) <= larger
    needless = [one for one in gone if older is None or one.unused_days < older]
    if needless:  # without the last of them the rest would be too large
        assert larger is not None
        assert sum(one.size_bytes for one in rest) + needless[-1].size_bytes > larger


def test_nothing_goes_while_a_process_uses_the_cache(tmp_path: Path) -> None:
    path = entry(tmp_path, "scans", "a" * 32, 100, 5)
    user = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from normfed_client.imaging.cache import Cache; "
         "Cache(Path(sys.argv[1])); print('used', flush=True); sys.stdin.read()", str(tmp_path / "scans")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert user.stdout is not None
    assert user.stdout.readline() == "used\n"
    with pytest.raises(UserError, match="uses this cache just now"):
        prune(tmp_path, contents(tmp_path))
    assert path.exists()
    user.communicate("")
    before = contents(tmp_path)
    assert prune(tmp_path, before) == sum(one.size_bytes for one in before)
    assert contents(tmp_path) == []
    assert not path.exists()


@pytest.mark.parametrize("link", ["datasets/mine", "datasets/phantom/mine", "datasets", "scans"])
def test_what_a_link_in_the_cache_leads_to_is_not_of_the_cache_and_stays(tmp_path: Path, link: str) -> None:
    """Somebody who may write to a cache that several people share could have another's folders taken away."""
    outside, root = tmp_path / "outside", tmp_path / "cache"
    folders = [outside / "work" / "empty", outside / "thesis", outside / ("a" * 32)]
    for folder in folders:
        folder.mkdir(parents=True)
    (outside / "thesis" / "chapter").write_text("1")
    mine = root / "datasets" / "phantom" / "0123"
    if link != "datasets":
        mine.mkdir(parents=True)
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(outside)
    found = contents(root)
    assert [one.path for one in found] == ([mine] if link != "datasets" else [])
    prune(root, found)
    assert not mine.exists()
    assert all(folder.is_dir() for folder in folders)
    assert (outside / "thesis" / "chapter").read_text() == "1"


def test_a_folder_that_holds_nothing_any_more_goes_with_the_last_thing_in_it(tmp_path: Path) -> None:
    people, others = tmp_path / "datasets" / "phantom" / "0123", tmp_path / "datasets" / "ixi" / "4567"
    for folder in (people, others):
        (folder / "sub-01").mkdir(parents=True)
        (folder / "participants.tsv").touch()
    prune(tmp_path, [one for one in contents(tmp_path) if one.path == people])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "datasets",
        "datasets/ixi",
        "datasets/ixi/4567",
        "datasets/ixi/4567/participants.tsv",
        "datasets/ixi/4567/sub-01",
    ]
