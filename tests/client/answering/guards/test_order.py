"""Which guards there are, in which order."""

from __future__ import annotations

from pathlib import Path

from jobs import hospital

from normfed_client.answering.guards import order
from normfed_client.answering.guards.approved import Approved
from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.guards.budget import Budget
from normfed_client.answering.guards.contents import Contents
from normfed_client.answering.guards.installed import Installed
from normfed_client.answering.guards.let_in import LetIn
from normfed_client.answering.guards.looked_at import LookedAt
from normfed_client.answering.guards.masked import Masked
from normfed_client.answering.guards.questions import Questions
from normfed_client.answering.guards.released import Released
from normfed_client.answering.guards.runs import Runs
from normfed_client.answering.guards.size import Size
from normfed_client.answering.guards.untimed import Untimed
from normfed_client.answering.guards.working import Working


def test_a_hospital_has_every_guard_in_the_order_that_is_written_down(tmp_path: Path) -> None:
    assert tuple(type(guard) for guard in order.guards(hospital(tmp_path))) == order.ORDER
    before = (Installed, LetIn, Approved, Working, Runs, Size, Contents)
    after = (Masked, Untimed, Questions, Budget, Released)
    assert (*before, LookedAt, *after) == order.ORDER


def test_a_simulation_has_the_guards_that_need_no_hospital_in_the_same_order() -> None:
    kinds = tuple(type(guard) for guard in order.guards(None))
    ours = tuple(kind for kind in order.ORDER if not issubclass(kind, HospitalGuard))
    assert kinds == ours == (Contents, Masked, Released)


def test_every_guard_of_a_hospital_decides_by_that_hospitals_rules(tmp_path: Path) -> None:
    ours = hospital(tmp_path)
    assert all(guard.hospital is ours for guard in order.guards(ours) if isinstance(guard, HospitalGuard))
