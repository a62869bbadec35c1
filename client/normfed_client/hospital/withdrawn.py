"""Who withdrew from a hospital's studies: nobody of them is ever read again, even where the files are still there.

The list is a table in the record of releases, which every release needs, so that it is neither lost nor left behind: of
keyed digests (`PeopleSecret`), so that it names nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases

if TYPE_CHECKING:
    from normfed_client.imaging.bids import Dataset


class WithdrawnPeople:
    """The people who withdrew, asked for by name.

    Parameters
    ----------
    digests
        What stands for them in the record.
    """

    def __init__(self, secret: PeopleSecret, digests: Iterable[str]) -> None:
        self._secret, self._digests = secret, frozenset(digests)

    @classmethod
    def read(cls, people_secret: Path, record: Path) -> WithdrawnPeople:
        """Those of a hospital.

        Raises
        ------
        UserError
            If the secret or the record cannot be used: then nobody knows who withdrew, and nobody is read.
        """
        secret = PeopleSecret.read(people_secret)
        return cls(secret, Releases(record, secret).withdrawn())

    def __contains__(self, subject: object) -> bool:
        return bool(self._digests) and self._secret.digest(str(subject)) in self._digests

    def __len__(self) -> int:
        return len(self._digests)


def withdrawn(hospital: Hospital) -> WithdrawnPeople:
    """Who withdrew at a hospital; see `WithdrawnPeople.read`."""
    return WithdrawnPeople.read(hospital.people_secret, hospital.record)


def summary(hospital: Hospital) -> str:
    """How many people withdrew, and of how many files are still in the dataset; nothing where nobody did."""
    gone = withdrawn(hospital)
    there = sum(path.name in gone for path in hospital.site_config("").data.glob("sub-*")) if len(gone) else 0
    still = f" (files of {there} are still in the dataset)" if there else ""
    return f"People who withdrew: {len(gone)}{still}; nothing of them is read" if len(gone) else ""


def dataset_of(hospital: Hospital) -> Dataset:
    """A hospital's dataset without who withdrew.

    Raises
    ------
    DatasetError
        If it cannot be read.
    UserError
        See `WithdrawnPeople.read`.
    """
    from normfed_client.imaging.bids import read_dataset  # it computes, and a look at the list does not

    return read_dataset(hospital.site_config("").data, withdrawn(hospital))
