"""What is asked and said in secure sums, drawn at random and as short as it can be."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from normfed_common.secure.adverts import Advert
from normfed_common.wire.secure import (
    KeysMade,
    MakeKeys,
    Masking,
    SecretsShared,
    SecureStep,
    ShareSecrets,
    SignSurvivors,
    SurvivorsSigned,
    Unmask,
    Unmasked,
)

STEP = {"of": "train.round", "turn": 1}
ADVERT = {"site": "a", "people": 5, "cipher": "0" * 64, "mask": "1" * 64, "seed": "2" * 64}


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    """So many digits."""
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


SITES = st.sampled_from(["a", "b", "c"])
STEPS = st.builds(
    SecureStep,
    of=st.sampled_from(["train.round", "train.sums"]),
    phase=st.sampled_from(["", "moments"]),
    turn=st.integers(0, 999_999),
    attempt=st.integers(0, 9),
)
KEYS = hexadecimal(64)
ADVERTS = st.builds(
    Advert,
    site=SITES,
    people=st.integers(1, 100),
    cipher=KEYS,
    mask=KEYS,
    seed=KEYS,
    line=st.sampled_from(["", "ecdsa-sha2-nistp384 AAAA+/="]),
    signature=hexadecimal(6),
)
BOXES = st.dictionaries(SITES, hexadecimal(296))
MASKINGS = st.builds(Masking, attempt=st.integers(0, 9), boxes=BOXES)
REQUESTS: dict[str, st.SearchStrategy[Any]] = {
    "query.keys": st.builds(MakeKeys, step=STEPS),
    "query.shares": st.builds(ShareSecrets, step=STEPS, adverts=st.lists(ADVERTS, max_size=3).map(tuple)),
    "query.survivors": st.builds(SignSurvivors, step=STEPS, survivors=st.lists(SITES, max_size=3).map(tuple)),
    "query.unmask": st.builds(Unmask, step=STEPS, signatures=st.dictionaries(SITES, hexadecimal(8))),
}
SHORT_REQUESTS: dict[str, dict[str, Any]] = {
    "query.keys": {"step": STEP},
    "query.shares": {"step": STEP, "adverts": ()},
    "query.survivors": {"step": STEP, "survivors": ()},
    "query.unmask": {"step": STEP, "signatures": {}},
}
ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "query.keys": st.builds(KeysMade, advert=ADVERTS),
    "query.shares": st.builds(SecretsShared, boxes=BOXES),
    "query.survivors": st.builds(SurvivorsSigned, signature=hexadecimal(8)),
    "query.unmask": st.builds(Unmasked, shares=st.dictionaries(SITES, hexadecimal(132))),
}
SHORT_ANSWERS: dict[str, dict[str, Any]] = {
    "query.keys": {"advert": ADVERT},
    "query.shares": {"boxes": {}},
    "query.survivors": {"signature": ""},
    "query.unmask": {"shares": {}},
}
