"""Every key of a study, from the models that read it."""

from __future__ import annotations

from normfed_common.study.reference import study_keys
from normfed_common.wording.keys import CHOICE, OF_KEYS, OPTIONAL, REQUIRED, SECTION, Key
from normfed_deploy.documentation.markdown import anchored, code, prose, table

HEAD = ("key", "values", "default", "meaning")
IN_WORDS = (REQUIRED, OPTIONAL, OF_KEYS)


def tables() -> str:
    """A section for each part of a study, with the keys in it; before them the keys that are in none."""
    keys = study_keys()
    parts = {key.path: key for key in keys if key.type == SECTION and "." not in key.path}
    text = [_table([key for key in keys if "." not in key.path and key.path not in parts])]
    for path, part in parts.items():
        text += [f"\n## {path}\n", f"{sentence(part.description)}\n"]
        text += [_table([key for key in keys if key.path.startswith(f"{path}.")])]
    return "\n".join(text)


def sentence(text: str) -> str:
    """What a description says, with a capital and a full stop."""
    return f"{prose(text[:1].upper() + text[1:]).rstrip('.')}."


def values(key: Key) -> str:
    """What a key takes: ``whole number, 1 to 100``."""
    said = key.range if key.type == CHOICE else ", ".join(filter(None, (key.type, key.range)))
    return prose(said)


def default(key: Key) -> str:
    """What holds where nothing is said."""
    return key.default if key.default in IN_WORDS else code(key.default)


def meaning(key: Key) -> str:
    """What a key means, with its example."""
    return prose(key.description) + (f"; such as {code(key.example)}" if key.example else "")


def _table(keys: list[Key]) -> str:
    return table(HEAD, ([anchored(key.path), values(key), default(key), meaning(key)] for key in keys))
