"""What heads every request of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from normfed_common.deployment.bundle import installed_version
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Request

FEDERATED = "federated"  # the arm that a study is about; what is asked of a site as a whole is asked in its name


class Trained(Protocol):
    """One of the study's models, as requests name it: an arm (`normfed_server.arms.plan.Arm`)."""

    @property
    def name(self) -> str:
        """Of the arm."""
        ...

    @property
    def model(self) -> dict[str, Any]:
        """The study's entry."""
        ...

    @property
    def strategy(self) -> dict[str, Any]:
        """The study's entry."""
        ...

    @property
    def repeat(self) -> int:
        """Which training of the same model this is."""
        ...


@dataclass(frozen=True)
class Letterhead:
    """The study of a run, the run's name (sites keep what belongs to it apart), and the plug-ins that it uses here."""

    study: StudyConfig
    run: str = ""
    plugins: Mapping[str, str] = field(default_factory=dict)

    def request(self, arm: Trained, **fields: Any) -> Request:
        """A request about one of the study's models."""
        return Request(
            **self._common, arm=arm.name, model=arm.model, strategy=arm.strategy, repeat=arm.repeat, **fields
        )

    def general(self) -> Request:
        """A request about the study as a whole."""
        return Request(**self._common, arm=FEDERATED, model=self.study.model)

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {
            "study": self.study.model_dump_json(),
            "run": self.run,
            "version": installed_version(),
            "plugins": self.plugins,
        }
