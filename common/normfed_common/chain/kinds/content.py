"""What one record says: one of all kinds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from normfed_common.chain.kinds.server import (
    Acted,
    Ended,
    HeadRefused,
    Membership,
    Reach,
    Received,
    RefusalHeard,
    Steered,
    TurnedAway,
)
from normfed_common.chain.kinds.shared import Closed, LossAccepted, Opened, Repaired, Started, Stopped
from normfed_common.chain.kinds.site import (
    Answered,
    Contradicted,
    Decided,
    Expired,
    KeyMade,
    LookDecided,
    PersonWithdrew,
    Refused,
    Repeated,
    RulesChanged,
    ServerWentBack,
    StudyWithdrawn,
)

Content = Annotated[
    Opened
    | Closed
    | Repaired
    | LossAccepted
    | Started
    | Stopped
    | KeyMade
    | RulesChanged
    | Answered
    | Repeated
    | Refused
    | Decided
    | LookDecided
    | PersonWithdrew
    | StudyWithdrawn
    | Expired
    | ServerWentBack
    | Contradicted
    | Membership
    | Reach
    | Steered
    | Acted
    | Ended
    | Received
    | RefusalHeard
    | HeadRefused
    | TurnedAway,
    Field(discriminator="kind"),
]
