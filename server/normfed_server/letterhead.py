"""What heads every request of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from normfed_common.operation.bundle import installed_version
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Request
from normfed_server.plan import FEDERATED, Arm


@dataclass(frozen=True)
class Letterhead:
    """The study of a run, and the run's name: sites keep what belongs to it apart."""

    study: StudyConfig
    run: str = ""

    def request(self, arm: Arm, **fields: Any) -> Request:
        """A request about one of the study's models."""
        return Request(
            **self._common, arm=arm.name, model=arm.model, strategy=arm.strategy, repeat=arm.repeat, **fields
        )

    def general(self) -> Request:
        """A request about the study as a whole."""
        return Request(**self._common, arm=FEDERATED, model=self.study.model)

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {"study": self.study.model_dump_json(), "run": self.run, "version": installed_version()}
