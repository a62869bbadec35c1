"""The server's part in one secure sum: add up what comes, then take off the masks of the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from normfed_common.foundation.errors import WireError
from normfed_common.secure import keys, keystream, shamir
from normfed_common.secure.adverts import Advert
from normfed_common.secure.participation import commitment, common_mask, numbers, own_mask, sign_of


def unmask(
    total: np.ndarray,
    context: str,
    adverts: Sequence[Advert],
    sharers: Sequence[str],
    survivors: Sequence[str],
    revealed: Mapping[str, Mapping[str, str]],
    threshold: int,
    received: str,
) -> None:
    """Take the masks off the sum of the survivors' masked numbers, in place.

    Parameters
    ----------
    total
        Unsigned integers, shape (n,).
    adverts
        Of all sites that began.
    sharers, survivors
        See `Transcript`.
    revealed
        Survivor to what `Participation.reveal` of it gave.
    received
        See `Transcript`.

    Raises
    ------
    WireError
        If too few answered, or their shares do not give back the secrets of the keys that were made public.
    """
    public = {advert.site: advert for advert in adverts}
    number = numbers(adverts)
    for site in sharers:
        shares = {number[holder]: bytes.fromhex(told[site]) for holder, told in revealed.items() if site in told}
        secret = shamir.combine(shares, threshold)
        if site in survivors:
            if commitment(secret) != public[site].seed:
                raise WireError(f"shares of {site} do not give back the key of its mask")
            keystream.add(total, own_mask(secret, context), -1)
            continue
        if keys.public(secret).hex() != public[site].mask:
            raise WireError(f"shares of {site} do not give back its key")
        for other in survivors:
            # What the survivor added in common with the one that dropped out, which added nothing.
            keystream.add(total, common_mask(secret, context, site, public[other], received), -sign_of(other, site))
