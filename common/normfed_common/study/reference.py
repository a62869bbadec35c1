"""Every key of a study with type, range, default and meaning, from the models that check it."""

from __future__ import annotations

from normfed_common.study.config import StudyConfig
from normfed_common.wording.keys import Key, keys_of


def study_keys() -> list[Key]:
    """In the order of the models, each section before its keys; parameters of a model, transform, strategy, dataset or
    split are those of its own configuration, see `keys_of`."""
    return keys_of(StudyConfig)
