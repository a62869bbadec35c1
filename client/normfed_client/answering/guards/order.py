"""Which guards there are, and in what order.

The first is outermost: it sees a request first and an answer last, as the server will see it. The last is nearest to
the work: what it lets pass, or changes, all others see.
"""

from __future__ import annotations

from normfed_client.answering.guards.approved import Approved
from normfed_client.answering.guards.base import Guard, HospitalGuard
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
from normfed_client.hospital.folder import Hospital

ORDER: tuple[type[Guard], ...] = (
    Installed,  # other code than was installed could pass over any check below
    LetIn,  # so could a plug-in's: nothing of the study is read before
    Approved,  # by the study's text alone: no plug-in is imported, nothing read or written, before a person said so
    Working,  # after Approved: people can look by day at what may run by night
    Runs,  # nothing is read or written for a run that there is no room for
    Size,  # before anything is made of a large message; on the way out, what is really sent
    Contents,  # opens the site, so no earlier; what is not of the study is not counted as a question
    LookedAt,  # needs the study's modalities, and nothing more of what is asked; before anything is counted or spent
    Masked,  # after all others have changed what leaves; what is really sent is what Size looks at
    Untimed,  # outside Budget and Released, which only look
    Questions,  # counts what would be worked on
    Budget,  # spends what will leave, so after all that refuses what is asked
    Released,  # nearest to the work: about what it made, before anything is changed
)


def guards(hospital: Hospital | None) -> tuple[Guard, ...]:
    """The guards of a hospital; of a simulation those that need none."""
    found: list[Guard] = []
    for kind in ORDER:
        if not issubclass(kind, HospitalGuard):
            found.append(kind())
        elif hospital is not None:
            found.append(kind(hospital))
    return tuple(found)
