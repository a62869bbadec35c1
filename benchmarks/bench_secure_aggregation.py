"""What a secure sum costs a site and the server beside a plain one: seconds and bytes, by sites and numbers.

Everything that a site computes for one round is timed (keys, signed and checked; shares made and opened; the part
quantised and masked; the list signed and the others' signatures checked), with node keys as in a hospital. Bytes are
those of the arrays and of the headers that carry keys, shares and signatures, both ways.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np
from common import machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.deployment.node_identity import NodeIdentity
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint
from normfed_common.secure.participation import Participation, Secrets, Terms
from normfed_common.secure.unmasking import unmask
from normfed_common.wire.secure import (
    KeysMade,
    Masking,
    SecretsShared,
    SecureStep,
    ShareSecrets,
    SignSurvivors,
    SurvivorsSigned,
    Unmask,
    Unmasked,
)

STEP = SecureStep(of="train.round", turn=1)
CONTEXT = "0" * 32
TERMS = Terms(minimum_sites=4, colluding=1)


def identities(sites: list[str]) -> dict[str, NodeIdentity]:
    """Of nodes that know each other."""
    private = {
        site: ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        for site in sites
    }
    peers = {site: key_fingerprint(NodeIdentity(key, {}).line.encode()) for site, key in private.items()}
    return {site: NodeIdentity(key, peers) for site, key in private.items()}


def measure(count: int, numbers: int, dropped: int) -> None:
    """One round of so many sites, of which some drop out after the shares; the first site's figures are told."""
    sites = [f"site{number:04d}" for number in range(count)]
    rng = np.random.default_rng(0)
    base = {"w": rng.normal(size=numbers).astype(np.float32)}
    update = {"w": base["w"] + rng.normal(scale=0.01, size=numbers).astype(np.float32)}
    known = identities(sites)
    secrets = {site: Secrets.new() for site in sites}
    times: dict[str, float] = {}
    begin = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal begin
        times[what] = time.perf_counter() - begin
        begin = time.perf_counter()

    adverts = tuple(secrets[site].advert(CONTEXT, site, 20, known[site]) for site in sites)
    begin = time.perf_counter()
    Secrets.new().advert(CONTEXT, sites[0], 20, known[sites[0]])
    lap("keys")
    members: dict[str, Participation] = {}
    for advert in adverts:
        begin = time.perf_counter()
        site = advert.site
        members[site] = Participation.begin(CONTEXT, advert, secrets[site], adverts, TERMS, known[site])
        if site == sites[0]:
            lap("keys checked")
    mine = members[sites[0]]
    begin = time.perf_counter()
    boxes = {sites[0]: mine.shares()}
    lap("shares made")
    boxes |= {site: members[site].shares() for site in sites[1:]}
    begin = time.perf_counter()
    held = {sites[0]: mine.open({other: boxes[other][sites[0]] for other in sites[1:]})}
    lap("shares opened")
    held |= {s: members[s].open({o: boxes[o][s] for o in sites if o != s}) for s in sites[1:]}
    point = FixedPoint(parts.ROUND_BITS, 8.0, count)
    survivors, total = sites[: count - dropped], None
    begin = time.perf_counter()
    form = parts.of_update(update, base, 20, 20, 0.5, point)
    lap("quantised")
    for site in survivors:
        begin = time.perf_counter()
        vector = parts.flat(form, parts.ROUND_BITS)
        members[site].mask(vector, sites, "model")
        if site == sites[0]:
            lap("masked")
        total = vector if total is None else total + vector
    assert total is not None
    agreed = {site: members[site].transcript(sites, survivors, "model") for site in survivors}
    signatures = {site: known[site].sign(agreed[site].statement()) for site in survivors}
    begin = time.perf_counter()
    known[sites[0]].sign(mine.transcript(sites, survivors, "model").statement())
    revealed = {sites[0]: mine.reveal(agreed[sites[0]], signatures, held[sites[0]])}
    lap("signed, revealed")
    for site in survivors[1 : mine.threshold]:
        revealed[site] = members[site].reveal(agreed[site], signatures, held[site])
    begin = time.perf_counter()
    unmask(total, CONTEXT, adverts, sites, survivors, revealed, mine.threshold, "model")
    server = time.perf_counter() - begin
    found = parts.shaped(total, parts.layout(form))
    assert int(found[parts.PEOPLE]) == 20 * len(survivors)
    worst = np.abs(parts.mean_update(found, base, 20 * len(survivors), 20, point)["w"] - update["w"]).max()
    sent = sum(array.nbytes for array in form.values())
    exchanged = [
        KeysMade(advert=adverts[0]),
        ShareSecrets(step=STEP, adverts=adverts),
        SecretsShared(boxes=boxes[sites[0]]),
        Masking(boxes=_inbox(boxes, sites[0])),
        SignSurvivors(step=STEP, survivors=tuple(survivors)),
        SurvivorsSigned(signature=signatures[sites[0]]),
        Unmask(step=STEP, signatures=signatures),
        Unmasked(shares=revealed[sites[0]]),
    ]
    headers = sum(len(message.model_dump_json()) for message in exchanged)
    plain = 2 * base["w"].nbytes  # the model there, the update back
    print(
        f"{count:4} sites, {numbers:9,} numbers, {dropped} dropped out: a site computes {sum(times.values()):.3f} s "
        f"({', '.join(f'{what} {seconds:.3f}' for what, seconds in times.items())}); the server unmasks in "
        f"{server:.3f} s; {(base['w'].nbytes + sent + headers) / 1e6:.3f} MB per site and round, plain "
        f"{plain / 1e6:.3f} MB: {(base['w'].nbytes + sent + headers) / plain:.3f} times; off by {worst:.1e} at most",
        flush=True,
    )


def _inbox(boxes: Mapping[str, Mapping[str, str]], site: str) -> dict[str, str]:
    return {other: sealed[site] for other, sealed in boxes.items() if other != site}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="*", default=[4, 8, 23])
    parser.add_argument("--numbers", type=int, nargs="*", default=[10_000, 1_000_000])
    arguments = parser.parse_args()
    print(machine())
    for count in arguments.sites:
        for numbers in arguments.numbers:
            measure(count, numbers, 0)
    measure(arguments.sites[-1], arguments.numbers[-1], 3)


if __name__ == "__main__":
    main()
