"""A site or a server that lies when the two chains are held against each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from normfed_common.chain import keys
from normfed_common.chain.cli import audit
from normfed_common.chain.comparing import Compared, compare
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import SigningKey, VerifyingKey
from normfed_common.chain.kinds.server import Membership, Received
from normfed_common.chain.kinds.shared import Asked, LossAccepted, Stopped
from normfed_common.chain.kinds.site import Answered, Asker
from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.wire.head import Head

BY = Asker(server="fed.example.org:8000", authority=" ".join(["ABCD"] * 8))


def content(number: int) -> str:
    return f"{number:064x}"


def question(number: int) -> Asked:
    return Asked(study="ab" * 16, run="r", task="train.round", arm="federated", turn=number)


class Sides:
    """A site and a server that answer and ask, each with its chain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.server_key = keys.make(folder / "site.key"), keys.make(folder / "audit.key")
        self.site = self.chain("site", self.key, "north")
        self.server = self.chain("server", self.server_key, "Federation")

    def chain(self, name: str, key: SigningKey, whose: str) -> Chain:
        return Chain(self.folder / f"{name}.jsonl", lambda: key, whose)

    def accept(self, site: str = "north", key: SigningKey | None = None) -> None:
        line = (key or self.key).line.encode()
        self.server.append(Membership(kind="accepted", site=site, fingerprint=key_fingerprint(line)))

    def answer(self, number: int) -> None:
        self.site.append(
            Answered(
                by=BY,
                asked=question(number),
                people="20-49",
                epsilon=None,
                kept=False,
                arrays=(),
                bytes=0,
                content=content(number),
                server=self.server.head(),
            )
        )

    def hear(self, number: int, site: str = "north", head: Head | None = None) -> None:
        said = head or self.site.head()
        self.server.append(
            Received(site=site, asked=question(number), bytes=0, content=content(number), head=said),
        )

    def rounds(self, *numbers: int) -> None:
        for number in numbers:
            self.answer(number)
            self.hear(number)

    def compared(self, key: SigningKey | None = None) -> Compared:
        keys_ = VerifyingKey((key or self.key).line), VerifyingKey(self.server_key.line)
        return compare(self.site.lines(), keys_[0], self.server.lines(), keys_[1])


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> SigningKey:
    return keys.make(tmp_path / "stranger.key")


def test_honest_chains_agree_and_the_site_is_named_by_its_key(sides: Sides) -> None:
    sides.accept()
    sides.rounds(1, 2)
    found = sides.compared()
    assert (found.problems, found.remarks, found.site) == ([], [], "north")


def test_a_site_that_calls_itself_by_another_name_is_found_by_its_key(sides: Sides, stranger: SigningKey) -> None:
    """It would be held against the answers of nobody, or of another."""
    sides.site = sides.chain("liar", sides.key, "nobody")
    sides.accept()
    sides.accept("south", stranger)
    sides.rounds(1)
    sides.hear(2)  # of which the site has no record
    problems = "\n".join(sides.compared().problems)
    assert "says that it is of nobody; the server accepted its key for north" in problems
    assert "train.round of federated, turn 2 in r (the server's record" in problems
    assert "the server says that north answered; the site has no record of it" in problems


def test_a_key_that_was_never_accepted_is_said_to_be(sides: Sides, stranger: SigningKey) -> None:
    sides.accept("north", stranger)
    sides.rounds(1)
    found = sides.compared()
    assert found.site == ""
    assert any("no site was accepted with this key" in p and "north with" in p for p in found.problems)


def test_one_key_under_two_names_is_wrong(sides: Sides) -> None:
    sides.accept()
    sides.accept("south")
    assert any("several names: north, south" in p for p in sides.compared().problems)


def test_answers_from_before_and_after_another_key_of_the_same_name_are_not_this_sites(
    sides: Sides, stranger: SigningKey
) -> None:
    other = sides.chain("other", stranger, "north")
    sides.accept("north", stranger)
    sides.hear(7, head=other.append(Stopped()).head)
    sides.accept()
    sides.rounds(1)
    sides.accept("north", stranger)
    sides.hear(8, head=other.append(Stopped()).head)
    assert sides.compared().problems == []
    assert len(sides.compared(stranger).problems) > 1  # the other's chain is not this one


def test_a_head_that_nobody_signed_is_wrong_whatever_it_says(sides: Sides) -> None:
    sides.accept()
    sides.answer(1)
    head = sides.site.head()
    assert head is not None
    sides.hear(1, head=head.model_copy(update={"records": 1}))
    assert any("holds a head of 1 records that was not signed with this key" in p for p in sides.compared().problems)


def test_an_answer_without_a_head_is_remarked_on(sides: Sides) -> None:
    sides.accept()
    sides.answer(1)
    sides.server.append(Received(site="north", asked=question(1), bytes=0, content=content(1)))
    assert sides.compared().remarks == ["1 answers of north came without a head of its chain."]


def _rewritten(sides: Sides, loss: Callable[[Head], Head]) -> Compared:
    """The site answers three times, writes its past anew from the first answer on, and accepts the loss of the rest."""
    sides.accept()
    sides.rounds(1)
    backup = sides.site.path.read_bytes()
    sides.rounds(2, 3)
    last = sides.site.head()
    assert last is not None
    sides.site.path.write_bytes(backup)
    sides.site.append(LossAccepted(head=loss(last)))
    sides.rounds(4)
    return sides.compared()


def test_heads_below_an_accepted_loss_are_told_and_not_skipped_in_silence(sides: Sides) -> None:
    found = _rewritten(sides, lambda head: head)
    assert found.problems == []
    (held,) = [remark for remark in found.remarks if "holds 2 heads" in remark]
    assert "of records 3 to 4" in held
    for turn in (2, 3):
        (told,) = [remark for remark in found.remarks if f"turn {turn} in r" in remark]
        assert "the site's record of it is among those whose loss was accepted" in told


def test_a_loss_of_records_that_the_site_never_signed_excuses_nothing(sides: Sides, stranger: SigningKey) -> None:
    def made_up(head: Head) -> Head:
        return head.model_copy(update={"records": 10**9})

    problems = "\n".join(_rewritten(sides, made_up).problems)
    assert "accepts the loss of records that this key never signed" in problems
    assert "is another than the one that The server knows" in problems
    assert "turn 2 in r" in problems


def test_a_head_before_a_loss_that_fits_is_still_held_against_the_chain(sides: Sides) -> None:
    """What was there before the loss must be what it was."""
    sides.accept()
    sides.rounds(1, 2)
    last = sides.site.head()
    assert last is not None
    sides.site.append(LossAccepted(head=last))
    found = sides.compared()
    assert (found.problems, found.lost) == ([], [])


def test_a_site_that_began_another_chain_has_not_forgotten_what_it_sent(sides: Sides) -> None:
    """A new chain without a record of an answer does not pass for one whose archive is elsewhere."""
    sides.accept()
    sides.rounds(1)
    sides.site.path.rename(sides.folder / "gone.jsonl")
    sides.site.append(Stopped())
    problems = "\n".join(sides.compared().problems)
    assert "another chain of the same keeper" in problems
    assert "the site has no record of it" in problems


def test_the_command_names_the_site_by_its_key(sides: Sides) -> None:
    sides.accept()
    sides.rounds(1)
    for name, key in (("north", sides.key), ("audit", sides.server_key)):
        (sides.folder / f"{name}.pub").write_text(key.line + f" normfed {name}\n")
    given = ["compare", str(sides.site.path), str(sides.server.path)]
    given += ["--site-key", str(sides.folder / "north.pub"), "--server-key", str(sides.folder / "audit.pub")]
    ended = CliRunner().invoke(audit, given)
    assert ended.exit_code == 0
    assert "The site is north" in ended.output
    assert "no head or answer in one contradicts the other" in ended.output
    assert "audit compare" not in ended.output  # that is what was run
    assert json.loads(CliRunner().invoke(audit, [*given, "--json"]).output)["site"] == "north"
