"""What a rehearsal needs of Flower's inside; of no public interface, and so in one place."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents


def message(number: str, objects: Mapping[str, bytes]) -> Message | None:
    """A message as the SuperLink stores it: of objects that hold one another, each under the digest of its content.

    None if some are not there.
    """
    try:
        found = inflate_object_from_contents(number, dict(objects))
    except KeyError:
        return None
    assert isinstance(found, Message)
    return found
