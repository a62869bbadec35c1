"""Who takes part in a run, and over whom something may leave; scans are files of a few bytes."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from normfed_client.hospital.blocks import Member
from normfed_client.hospital.custody import MEMBERS, Custody, Groups, Members, newest_serial
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.rules import CustodyConfig, Rules
from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.roles import ROLES, Role

MINIMUM = 4
SECRET = PeopleSecret(b"secret")
NAMES = [f"sub-{number:02d}" for number in range(30)]


def study(name: str = "asked", minimum: int = MINIMUM, clip: float = 2.0) -> StudyConfig:
    recipe = {"clip": [0, clip]}
    federation = {"minimum_cohort": minimum}
    raw = {"name": name, "data": {"modalities": ["T1w"]}, "preprocessing": recipe, "federation": federation}
    return resolve(raw, "test")


@pytest.fixture
def visits(tmp_path: Path) -> list[Visit]:
    """A visit of everybody, with a scan, a brain mask and a lesion mask."""
    found = []
    for name in NAMES:
        paths = {what: tmp_path / "scans" / f"{name}_{what}.nii.gz" for what in ("T1w", "brain", "MS")}
        for what, path in paths.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{what} of {name}")
        masks = {what: Mask(paths[what], "T1w", what) for what in ("brain", "MS")}
        person = Participant(name, "north", "ms")
        found.append(Visit(person, None, {"T1w": paths["T1w"]}, masks["brain"], (masks["MS"],)))
    return found


@pytest.fixture
def config(tmp_path: Path) -> CustodyConfig:
    (tmp_path / "people.secret").write_bytes(b"secret")
    record = Releases.create(tmp_path / "releases.sqlite", SECRET)
    rules = Rules(minimum_people=MINIMUM)
    return CustodyConfig(rules=rules, people_secret=tmp_path / "people.secret", record=record.path, run="r1")


Opened = Callable[..., Custody]


@pytest.fixture
def opened(config: CustodyConfig, visits: list[Visit], tmp_path: Path) -> Opened:
    """Custody of a run, as a new process opens it."""

    def make(
        run: str = "r1", asked: StudyConfig | None = None, scans: list[Visit] | None = None, **rules: int
    ) -> Custody:
        folder, own = tmp_path / "state" / run, config.rules.model_copy(update=rules)
        folder.mkdir(parents=True, exist_ok=True)
        return Custody(config.model_copy(update={"run": run, "rules": own}), asked or study(), scans or visits, folder)

    return make


def used(numbers: Collection[int], what: str = "MS") -> dict[str, list[str]]:
    return {NAMES[number]: [f"{NAMES[number]} {what}"] for number in numbers}


def digests(numbers: Collection[int]) -> set[str]:
    return {SECRET.digest(NAMES[number]) for number in numbers}


def candidates(**roles: Collection[int]) -> Callable[[Role], Groups]:
    return lambda role: [used(roles.get(role, ()))]


def must_not_ask(role: Role) -> Groups:
    pytest.fail(f"asked for {role} again")


def refusal(work: Callable[[], object]) -> SiteError:
    with pytest.raises(SiteError) as caught:
        work()
    return caught.value


def test_who_takes_part_is_settled_once_and_the_same_in_every_process(opened: Opened) -> None:
    first = opened()
    assert first.waiting == {}
    people = candidates(train=range(10), held_out=range(10, 15), test=range(15, 18))
    assert first.taking_part("held_out", people) == digests(range(10, 15))
    for custody in (first, opened()):
        assert custody.taking_part("train", must_not_ask) == digests(range(10))
        assert custody.taking_part("test", must_not_ask) == set()  # three, and four are the minimum
        assert custody.waiting == {"train": 0, "held_out": 0, "test": 3}


def test_a_run_settles_what_others_released_before_it(opened: Opened, config: CustodyConfig, tmp_path: Path) -> None:
    opened("r0").release("learning", used(range(10)), "sums")
    later = opened("r1")
    found = later.taking_part("train", candidates(train=range(9)))  # one person is gone since
    assert len(found) == 10 - MINIMUM  # who is left behind must not be told by subtraction
    assert found < digests(range(9))
    assert later.waiting["train"] == 9 - len(found)
    settled = Members.model_validate_json((tmp_path / "state" / "r1" / MEMBERS).read_text())
    assert (settled.serial, settled.study) == (1, study().digest)
    lots = {SECRET.digest(name): SECRET.lot(SECRET.digest(name), "waiting") for name in NAMES[:9]}
    assert found == set(sorted(lots, key=lambda person: lots[person])[MINIMUM - 1 :])  # the lowest lots wait


def test_people_with_other_modalities_take_part_where_they_are_enough_of_their_own(opened: Opened) -> None:
    """A sum of a modality is over those who have it: one person without it among ten would be told by subtraction."""
    groups = [used(range(10)), used(range(10, 10 + MINIMUM)), used(range(20, 20 + MINIMUM - 1))]
    custody = opened()
    assert custody.taking_part("train", lambda role: groups if role == "train" else []) == digests(range(10 + MINIMUM))
    assert custody.waiting == {"train": MINIMUM - 1, "held_out": 0, "test": 0}
    for group in groups[:2]:
        custody.release("learning", group, "sums")
    later = opened("r2")  # of the second group one has left: the rest would tell of them
    groups[1] = used(range(10, 10 + MINIMUM - 1))
    assert later.taking_part("train", lambda role: groups if role == "train" else []) == digests(range(10))


@pytest.mark.parametrize(("first", "second"), [("train", "test"), ("train", "held_out"), ("test", "held_out")])
def test_where_there_are_too_few_for_two_roles_training_comes_first_and_then_the_test(
    opened: Opened, first: Role, second: Role
) -> None:
    """Of ten who were released together four may be told, then four more would leave two."""
    opened("r0").release("learning", used(range(10)), "sums")
    custody = opened("r1")
    people = candidates(**{first: range(4), second: range(4, 8)})
    assert {role: custody.taking_part(role, people) for role in ROLES} == {
        role: digests(range(4)) if role == first else set() for role in ROLES
    }


def test_what_was_settled_is_for_the_hospitals_eyes_only(opened: Opened, tmp_path: Path) -> None:
    opened().taking_part("train", candidates(train=range(5)))
    path = tmp_path / "state" / "r1" / MEMBERS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "sub-" not in path.read_text()


def edited(text: str) -> str:
    """One person less, in a file that is well-formed."""
    found = Members.model_validate_json(text)
    return found.model_copy(update={"train": found.train[1:]}).model_dump_json()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (edited, r"damaged \(its digest differs\)\. Begin a new run"),
        (lambda text: text[:100], r"damaged \(.*JSON.*\)\. Begin a new run"),
        (lambda text: text.replace('"serial"', '"cereal"'), r"damaged \(.*serial.*\)\. Begin a new run"),
    ],
    ids=["edited", "cut short", "another key"],
)
def test_nobody_takes_part_by_a_file_that_is_damaged(
    opened: Opened, tmp_path: Path, damage: Callable[[str], str], sentence: str
) -> None:
    opened().taking_part("train", candidates(train=range(5)))
    path = tmp_path / "state" / "r1" / MEMBERS
    path.write_text(damage(path.read_text()))
    for work in (lambda: opened().taking_part("train", must_not_ask), lambda: opened().waiting):
        error = refusal(work)
        assert error.code is SiteCode.RECORD_UNUSABLE
        assert re.search(sentence, error.detail), error.detail


def test_a_run_has_one_study(opened: Opened) -> None:
    opened().taking_part("train", candidates(train=range(5)))
    other = opened(asked=study("another"))
    assert refusal(lambda: other.taking_part("train", must_not_ask)).code is SiteCode.STUDY_REFUSED


def test_of_fewer_people_than_the_minimum_nothing_leaves(opened: Opened) -> None:
    custody = opened()
    error = refusal(lambda: custody.release("figures", used(range(MINIMUM - 1)), "figures"))
    assert (error.code, error.detail) == (SiteCode.COHORT_TOO_SMALL, "figures: 3 people, minimum_people is 4")
    assert custody.blocks() == []
    custody.release("figures", used(range(MINIMUM)), "figures")
    assert custody.blocks() == [digests(range(MINIMUM))]


def test_what_differs_by_too_few_from_what_was_released_is_refused_and_leaves_no_trace(opened: Opened) -> None:
    custody = opened()
    custody.release("learning", used(range(10)), "sums")
    before = custody.blocks()
    error = refusal(lambda: opened("r2").release("figures", used(range(9)), "figures"))
    assert error.code is SiteCode.TOO_CLOSE_TO_EARLIER
    assert error.detail.startswith("figures: these 9 people and those of earlier releases differ by fewer than 4 (")
    assert custody.blocks() == before
    custody.release("learning", used(range(6)), "sums")
    assert {frozenset(block) for block in custody.blocks()} == {
        frozenset(digests(range(6))),
        frozenset(digests(range(6, 10))),
    }


@pytest.mark.parametrize("what", ["T1w", "brain", "MS"])
def test_a_person_with_another_scan_or_mask_is_another_version(
    opened: Opened, visits: list[Visit], tmp_path: Path, what: str
) -> None:
    """What changed between two sums is that person's."""
    opened().release("learning", used(range(5)), "sums")
    (tmp_path / "scans" / f"{NAMES[0]}_{what}.nii.gz").write_text("another")
    assert refusal(lambda: opened().release("learning", used(range(5)), "sums")).code is SiteCode.TOO_CLOSE_TO_EARLIER


@pytest.mark.parametrize("change", ["visit added", "visit taken away", "another use"])
def test_a_person_of_whom_a_study_uses_something_else_is_another_version(
    opened: Opened, visits: list[Visit], change: str
) -> None:
    second = replace(visits[0], session="02")
    opened(scans=[second, *visits]).release("learning", used(range(5)), "sums")
    scans = {"visit added": [second, replace(second, session="03"), *visits], "visit taken away": visits}
    people = used(range(5)) | (used([0], "none") if change == "another use" else {})
    later = opened(scans=scans.get(change, [second, *visits]))
    assert refusal(lambda: later.release("learning", people, "sums")).code is SiteCode.TOO_CLOSE_TO_EARLIER


def test_where_scans_lie_and_in_which_order_they_are_listed_makes_no_other_version(
    opened: Opened, visits: list[Visit], tmp_path: Path
) -> None:
    second = replace(visits[0], session="02")
    both = {NAMES[0]: ["a", "b"]}
    opened(scans=[second, *visits]).release("learning", used(range(5)) | both, "sums")
    (tmp_path / "scans").rename(tmp_path / "moved")

    def moved(path: Path) -> Path:
        return tmp_path / "moved" / path.name

    elsewhere = [
        replace(
            visit,
            images={modality: moved(path) for modality, path in visit.images.items()},
            brain=visit.brain and replace(visit.brain, path=moved(visit.brain.path)),
            lesions=tuple(replace(mask, path=moved(mask.path)) for mask in visit.lesions),
        )
        for visit in [*visits, second]
    ]
    later = opened(scans=elsewhere[::-1])
    later.release("learning", used(range(5)) | {NAMES[0]: ["b", "a"]}, "sums")
    assert later.blocks() == [digests(range(5))]  # one of people and versions; another version would be a second


def test_a_study_with_less_protection_than_the_floors_is_refused_at_once(opened: Opened) -> None:
    assert refusal(lambda: opened(asked=study(minimum=MINIMUM - 1))).code is SiteCode.MINIMUM_TOO_LOW


def test_scans_are_prepared_in_so_many_ways_over_all_runs(opened: Opened) -> None:
    people = candidates(train=range(5))
    opened("r1", most_recipes=1).taking_part("train", people)
    error = refusal(lambda: opened("r2", study(clip=3.0), most_recipes=1).taking_part("train", people))
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail == "most_recipes: scans were prepared in 1 ways already"
    same_way = opened("r3", study("another"), most_recipes=1)
    assert same_way.taking_part("train", people) == digests(range(5))


@pytest.mark.parametrize("missing", ["people_secret", "record"])
def test_without_secret_or_record_nothing_is_settled_or_released(
    opened: Opened, config: CustodyConfig, missing: str
) -> None:
    getattr(config, missing).unlink()
    for work in (
        lambda: opened().release("learning", used(range(5)), "sums"),
        lambda: opened().taking_part("train", candidates(train=range(5))),
        lambda: opened().blocks(),
    ):
        assert refusal(work).code is SiteCode.RECORD_UNUSABLE


def test_roles_are_drawn_by_the_hospitals_secret_and_shares(opened: Opened, visits: list[Visit]) -> None:
    lots, rules = opened().lots, Rules()
    for visit in visits:
        name = visit.participant.subject
        assert lots.held_out([visit]) is (SECRET.lot(name, "held out") < rules.held_out_share)
        assert lots.tests([visit]) is (SECRET.lot(name, "test") < rules.test_share)


def test_the_newest_serial_is_the_greatest_of_all_runs_that_can_be_read(opened: Opened, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert newest_serial(state) == 0
    for number, start in enumerate((0, 10, 20), start=1):
        opened(f"r{number}").release("learning", used(range(start, start + 5)), "sums")
        opened(f"r{number}").taking_part("train", candidates(train=range(start, start + 5)))
    assert newest_serial(state) == 3
    (state / "r3" / MEMBERS).write_text("damaged")
    assert newest_serial(state) == 2
    (state / "r2" / MEMBERS).write_bytes(b"\xff\xfe")
    assert newest_serial(state) == 1


def test_a_version_is_a_keyed_digest_too(opened: Opened, config: CustodyConfig) -> None:
    """Nobody who has a scan can look for it in the record."""
    opened().release("learning", used(range(4)), "sums")
    (members,) = Releases(config.record, SECRET).sets()
    assert {member.person for member in members} == digests(range(4))
    assert all(isinstance(member, Member) and len(member.version) == 32 for member in members)
    assert len({member.version for member in members}) == 4


def test_keys_of_noise_come_of_the_hospital_s_secret(opened: Opened) -> None:
    assert opened("r1").noise_key("a", "b") == SECRET.noise_key("a", "b")
