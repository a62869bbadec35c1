"""Whether audits agree after faults: what was forged is told, an answer that was lost on the way is no fault."""

from __future__ import annotations

from pathlib import Path

import cohorts
import pytest

from normfed_client.hospital.folder import open_hospital
from normfed_client.recording.audit import Audit
from normfed_common.chain.kinds.server import Received
from normfed_common.chain.kinds.shared import Asked
from normfed_common.chain.kinds.site import Answered, Asker
from normfed_deploy.faults import chains
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.state.chain import chain_of

BY = Asker(server="fed.example.org:8000", authority=" ".join(["ABCD"] * 8))


def round_(number: int) -> Asked:
    return Asked(study="ab" * 16, run="r", task="train.round", arm="federated", turn=number)


@pytest.fixture
def rehearsed(tmp_path: Path) -> Rehearsal:
    """Two sites that have joined; north answered two rounds, of which the first came in."""
    data = cohorts.write(tmp_path / "data", {"north": {"control": 2}, "south": {"control": 2}})
    made = Rehearsal(tmp_path / "federation", data, {"north": ("north",), "south": ("south",)})
    north, server = Audit(open_hospital(made.folder / "north")), chain_of(made.home)
    for number in (1, 2):
        asked, content, head = round_(number), f"{number:064x}", server.head()
        north.append(
            Answered(
                by=BY,
                asked=asked,
                people="20-49",
                epsilon=None,
                kept=False,
                arrays=(),
                bytes=0,
                content=content,
                server=head,
            )
        )
        if number == 1:
            server.append(Received(site="north", asked=asked, bytes=0, content=content, head=north.chain.head()))
    return made


def test_an_answer_that_was_lost_on_the_way_is_a_remark(rehearsed: Rehearsal) -> None:
    found = chains.compared(rehearsed)
    assert {site: one.problems for site, one in found.items()} == {"north": [], "south": []}
    assert any("lost on the way" in remark for remark in found["north"].remarks)
    assert "audit of north: " in chains.sentences(found)[0]
    assert ", whole, and as the server's; " in chains.sentences(found)[0]


def test_what_the_site_never_wrote_is_said_in_words(rehearsed: Rehearsal) -> None:
    chain_of(rehearsed.home).append(
        Received(site="south", asked=round_(3), bytes=0, content=f"{3:064x}", head=None),
    )
    found = chains.compared(rehearsed)
    assert found["north"].good
    assert "the server says that south answered; the site has no record of it" in found["south"].problems[0]
    assert any("NOT AS THE SERVER'S" in line for line in chains.sentences(found))


def test_a_byte_that_changed_in_a_chain_is_a_problem(rehearsed: Rehearsal) -> None:
    path = rehearsed.folder / "north" / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"people":"20-49"', b'"people":"50-99"', 1))
    assert not chains.compared(rehearsed)["north"].good
