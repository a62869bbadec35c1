"""What a site keeps of its secure sums, in the run's folder, for its owner only.

One file per attempt at a sum, `secure/<model>/<step>-<attempt>.json`. The secrets are thrown away as soon as the site
has given its shares, or the next sum of the model begins. What stays is which list of survivors it signed: of one step
it never signs another, in whatever attempt.

`<model>` stands for all that a site's part depends on beside what it is sent: the study's entries of the model and the
strategy, and the repeat. Not for the arm: a server that asked for the same round under two names, of all sites and of
all but one, would know that one's part from the difference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from normfed_common.foundation import digests, private
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.files import inside, write_text
from normfed_common.foundation.locks import exclusive
from normfed_common.secure.adverts import Advert
from normfed_common.secure.participation import Secrets
from normfed_common.study.base import Frozen
from normfed_common.wire.secure import SecureStep


class Kept(Frozen):
    """Of one attempt at one sum.

    Parameters
    ----------
    secrets
        None once they are thrown away.
    adverts
        Of the sites that the shares were made for; empty before.
    held
        Site to the shares of its secrets that are here, its own among them; empty before they came.
    received
        Digest of what the site was sent to work on.
    part
        Digest of what it masked.
    survivors, signature
        The list that it signed.
    revealed
        The shares that it gave.
    """

    context: str
    advert: Advert
    secrets: Secrets | None
    adverts: tuple[Advert, ...] = ()
    held: dict[str, tuple[str, str]] = Field(default_factory=dict)
    received: str = ""
    part: str = ""
    survivors: tuple[str, ...] = ()
    signature: str = ""
    revealed: dict[str, str] = Field(default_factory=dict)

    def without_secrets(self) -> Kept:
        """What stays: nothing that is left takes a mask off."""
        return self.model_copy(update={"secrets": None, "held": {}, "adverts": ()})


class SecureSums:
    """Those of one model.

    Parameters
    ----------
    output
        The run's folder at the site.
    entries
        The request's model, strategy and repeat.
    """

    def __init__(self, output: Path, entries: tuple[object, ...]) -> None:
        self.folder = inside(output, "secure", digests.of_json(list(entries))[:16])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else looks at them: a server that asks twice at the same moment gets one answer."""
        private.make_folder(self.folder)
        with exclusive(self.folder / "lock"):
            yield

    def read(self, step: SecureStep) -> Kept | None:
        """What is kept of an attempt; None if it did not begin here.

        Raises
        ------
        SiteError
            If it is damaged: without it the site might answer twice.
        """
        path = self._path(step)
        try:
            return Kept.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            detail = f"{path}: damaged ({' '.join(str(error).split())[:200]}). Begin a new run."
            raise SiteError(SiteCode.RECORD_UNUSABLE, detail) from error

    def write(self, step: SecureStep, kept: Kept) -> None:
        """Keep it, on the disk before anything of it leaves."""
        private.make_folder(self.folder)
        _write(self._path(step), kept)

    def signed_elsewhere(self, step: SecureStep) -> bool:
        """Whether the site signed a list of survivors in another attempt at the same step."""
        return any(other.signature for other in self._other_attempts(step))

    def sent_elsewhere(self, step: SecureStep) -> bool:
        """Whether the site masked a part in another attempt at the same step."""
        return any(other.part for other in self._other_attempts(step))

    def _other_attempts(self, step: SecureStep) -> Iterator[Kept]:
        for path in self.folder.glob(f"{step.name}-*.json"):
            if path != self._path(step):
                other = self.read(step.model_copy(update={"attempt": int(path.stem.rpartition("-")[2])}))
                if other is not None:
                    yield other

    def forget_secrets(self, step: SecureStep) -> None:
        """Throw away those of every other attempt and step."""
        for path in self.folder.glob("*.json"):
            if path != self._path(step):
                _forget_secrets(path)

    def _path(self, step: SecureStep) -> Path:
        return inside(self.folder, f"{step.name}-{step.attempt}.json")


def forget_all_secrets(output: Path) -> None:
    """Throw away those of all sums of a run, which takes part in none any more."""
    for path in output.glob("secure/*/*.json"):
        _forget_secrets(path)


def _forget_secrets(path: Path) -> None:
    with contextlib.suppress(OSError, ValidationError, UnicodeDecodeError):  # a damaged one is read by nobody
        kept = Kept.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.secrets is not None or kept.adverts:
            _write(path, kept.without_secrets())


def _write(path: Path, kept: Kept) -> None:
    write_text(path, kept.model_dump_json() + "\n")
    path.chmod(0o600)  # in a folder that nobody else may enter
