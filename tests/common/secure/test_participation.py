"""The whole protocol in one process: honest sites and servers, drop-outs in every phase, and servers that lie."""

import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from secure_sites import CONTEXT, TERMS, Federation, names

from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.deployment.node_identity import NodeIdentity
from normfed_common.foundation.errors import WireError
from normfed_common.secure.adverts import Unsigned
from normfed_common.secure.fixed_point import FixedPoint
from normfed_common.secure.keystream import TYPES
from normfed_common.secure.participation import Participation, Secrets, Terms
from normfed_common.secure.thresholds import least_survivors, threshold
from normfed_common.secure.unmasking import unmask


def test_two_lists_cannot_both_be_signed_by_a_threshold_of_sites():
    """Every way in which honest sites may divide themselves between two lists, which colluding ones sign both."""
    for sites in range(1, 15):
        for colluding in range(sites):
            needed = threshold(sites, colluding)
            honest = sites - colluding
            both = [first for first in range(honest + 1) if min(first, honest - first) + colluding >= needed]
            assert not both
            # one less, and there is a way
            less = needed - 1
            assert any(min(first, honest - first) + colluding >= less for first in range(honest + 1))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_unmasked_sum_is_the_plain_sum_whoever_drops_out_in_whichever_phase(data):
    count = data.draw(st.integers(4, 9))
    bits = data.draw(st.sampled_from([32, 64]))
    colluding = data.draw(st.integers(0, 2))
    sites = names(count)
    terms = Terms(minimum_sites=max(3, colluding + 2), colluding=colluding)
    least = least_survivors(count, colluding, terms.minimum_sites)
    needed = threshold(count, colluding)
    assume(least <= count)
    order = data.draw(st.permutations(sites))
    stay = data.draw(st.integers(least, count))
    survivors = sorted(order[:stay])
    shared = data.draw(st.integers(stay, count))
    sharers = sorted(order[:shared])
    signing = order[: data.draw(st.integers(needed, stay))]
    answering = data.draw(st.permutations(signing))[: data.draw(st.integers(needed, len(signing)))]
    federation = Federation(sites, [s for s in sites if s not in sharers], terms)
    point = FixedPoint(bits, 8.0, count)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    updates = {site: rng.uniform(-8, 8, 20) for site in sites}
    total = np.zeros(20, TYPES[bits])
    for site in survivors:
        total += federation.masked(site, point.encode(updates[site]))
    found = point.decode(federation.unmasked(total, survivors, signing, answering))
    np.testing.assert_allclose(found, sum(updates[s] for s in survivors), atol=count * point.resolution / 2 + 1e-13)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_masked_message_is_uniform_noise(bits):
    federation = Federation(names(5))
    zeros = np.zeros(2**16, TYPES[bits])
    captured = federation.masked("site002", zeros)
    counts = np.bincount(captured.view(np.uint8), minlength=256)
    assert chisquare(counts).pvalue > 1e-4
    # what the counts would be without masks
    assert chisquare(np.bincount(zeros.view(np.uint8), minlength=256)).pvalue < 1e-9


@given(dropped=st.sampled_from(names(6)))
@settings(deadline=None, max_examples=6)
def test_the_sum_of_masked_messages_with_any_one_missing_is_uniform_noise(dropped):
    federation = Federation(names(6))
    total = sum(federation.masked(s, np.zeros(2**14, TYPES[32])) for s in names(6) if s != dropped)
    assert chisquare(np.bincount(total.view(np.uint8), minlength=256)).pvalue > 1e-6


def test_neither_secret_is_ever_given_back_by_fewer_shares_than_the_threshold_revealed():
    federation = Federation(names(6))
    survivors = names(6)[:5]
    transcripts = federation.transcripts(survivors)
    signatures = federation.signatures(transcripts)
    revealed = {s: federation.parts[s].reveal(transcripts[s], signatures, federation.held[s]) for s in survivors[:3]}
    total = sum(federation.masked(s, np.ones(4, TYPES[32])) for s in survivors)
    with pytest.raises(WireError, match="3 shares of a secret are there; 4 are needed"):
        unmask(total, CONTEXT, federation.adverts, names(6), survivors, revealed, 4, "model")


def test_a_server_with_two_lists_of_survivors_gets_the_shares_of_one_at_most():
    """Six sites, two lists that differ by site005: whatever way the sites are divided, at most one list is unmasked."""
    federation = Federation(names(6))
    lists = [names(6), names(6)[:5]]
    needed = federation.parts["site000"].threshold
    for division in itertools.product([0, 1], repeat=5):
        # An honest site signs one list, site000 works for the server and signs both.
        chosen = dict(zip(names(6)[1:], division, strict=True))
        unmasked = []
        for number, survivors in enumerate(lists):
            signing = [s for s in survivors if s == "site000" or chosen[s] == number]
            signatures = federation.signatures(
                {s: federation.parts[s].transcript(names(6), survivors, "model") for s in signing}
            )
            told = 0
            for site in signing:
                part = federation.parts[site]
                try:
                    part.reveal(part.transcript(names(6), survivors, "model"), signatures, federation.held[site])
                    told += 1
                except WireError:
                    continue
            if told >= needed:
                unmasked.append(number)
        assert len(unmasked) <= 1


def test_a_server_that_tells_sites_of_different_survivors_learns_nothing():
    federation = Federation(names(6))
    told = {site: names(6) if site < "site003" else names(6)[:5] for site in names(6)[:5]}
    transcripts = {s: federation.parts[s].transcript(names(6), survivors, "model") for s, survivors in told.items()}
    signatures = federation.signatures(transcripts)
    for site in told:
        with pytest.raises(WireError, match="signed something else"):
            federation.parts[site].reveal(transcripts[site], signatures, federation.held[site])


def test_a_server_that_sends_one_site_another_model_learns_nothing():
    federation = Federation(names(5))
    transcripts = {
        s: federation.parts[s].transcript(names(5), names(5), "zeros" if s == "site004" else "model") for s in names(5)
    }
    signatures = federation.signatures(transcripts)
    for site in names(5):
        with pytest.raises(WireError, match="signed something else"):
            federation.parts[site].reveal(transcripts[site], signatures, federation.held[site])


def test_a_list_of_too_few_survivors_is_not_signed():
    federation = Federation(names(9))  # six of nine must remain
    with pytest.raises(WireError, match="5 sites are left in a secure sum; 6 must"):
        federation.parts["site000"].transcript(names(9), names(9)[:5], "model")
    few = Federation(names(4))
    with pytest.raises(WireError, match="3 sites are left in a secure sum; 4 must"):
        few.parts["site000"].transcript(names(4), names(4)[:3], "model")


def test_a_site_that_is_not_in_the_list_or_one_that_never_shared_stops_the_signature():
    federation = Federation(names(8), silent=["site007"])
    with pytest.raises(WireError, match="without this site"):
        federation.parts["site000"].transcript(federation.sharers, names(8)[1:7], "model")
    with pytest.raises(WireError, match="whose shares never came"):
        federation.parts["site000"].transcript(federation.sharers, names(8), "model")


def test_too_few_signatures_or_a_stranger_s_give_no_share():
    federation = Federation(names(6))
    transcripts = federation.transcripts(names(6)[:5])
    signatures = federation.signatures(transcripts)
    part, held = federation.parts["site000"], federation.held["site000"]
    few = dict(list(signatures.items())[:3])
    with pytest.raises(WireError, match="3 sites signed the list of survivors; 4 must"):
        part.reveal(transcripts["site000"], few, held)
    with pytest.raises(WireError, match="not on the list"):
        part.reveal(transcripts["site000"], {**signatures, "site005": signatures["site001"]}, held)


def test_too_few_sites_do_not_begin():
    with pytest.raises(WireError, match="3 sites begin in a secure sum; 4 must"):
        Federation(names(3))


def test_shares_of_another_exchange_are_refused():
    first, second = Federation(names(4)), Federation(names(4), context="b" * 32)
    boxes = {site: first.parts[site].shares()["site000"] for site in names(4)[1:]}
    with pytest.raises(WireError, match="not what was encrypted"):
        second.parts["site000"].open(boxes)


def test_shares_that_are_for_another_site_or_were_swapped_or_changed_are_refused():
    federation = Federation(names(5))
    right = {site: federation.parts[site].shares()["site000"] for site in names(5)[1:]}
    others = {site: federation.parts[site].shares()["site001"] for site in names(5)[2:]}
    swapped = right | {"site001": right["site002"], "site002": right["site001"]}
    changed = right | {"site003": right["site003"][:-1] + ("0" if right["site003"][-1] != "0" else "1")}
    for boxes in (right | others, swapped, changed):
        with pytest.raises(WireError, match="not what was encrypted"):
            federation.parts["site000"].open(boxes)


def test_shares_of_a_stranger_or_of_too_few_are_refused():
    federation = Federation(names(5))
    right = {site: federation.parts[site].shares()["site000"] for site in names(5)[1:]}
    with pytest.raises(WireError, match="did not begin"):
        federation.parts["site000"].open(right | {"stranger": right["site001"]})
    with pytest.raises(WireError, match="3 sites go on in a secure sum; 4 must"):
        federation.parts["site000"].open({site: right[site] for site in names(5)[1:3]})


def test_what_a_site_computes_again_is_the_same():
    federation = Federation(names(4))
    part = federation.parts["site001"]
    again = Participation.begin(CONTEXT, federation.adverts[1], part.secrets, federation.adverts, TERMS, Unsigned())
    assert again.shares() == part.shares()
    vector = np.arange(5, dtype=TYPES[64])
    mine, other = vector.copy(), vector.copy()
    part.mask(mine, names(4), "model")
    again.mask(other, names(4), "model")
    np.testing.assert_array_equal(mine, other)


def test_shares_that_a_site_made_up_are_noticed():
    federation = Federation(names(6))
    survivors = names(6)[:5]
    transcripts = federation.transcripts(survivors)
    signatures = federation.signatures(transcripts)
    revealed = {s: federation.parts[s].reveal(transcripts[s], signatures, federation.held[s]) for s in survivors}
    total = sum(federation.masked(s, np.ones(4, TYPES[32])) for s in survivors)
    for about in ("site001", "site005"):
        forged = {s: dict(told) for s, told in revealed.items()}
        forged["site000"][about] = "00" * 66
        with pytest.raises(WireError, match=r"give back|fit each other"):
            unmask(total.copy(), CONTEXT, federation.adverts, names(6), survivors, forged, 4, "model")


def _nodes(sites: list[str]) -> tuple[dict[str, NodeIdentity], dict[str, str]]:
    """Identities that know each other's fingerprints, and these."""
    keys = {site: ec.generate_private_key(ec.SECP384R1()) for site in sites}
    private = {
        site: key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        for site, key in keys.items()
    }
    lines = {site: NodeIdentity(content, {}).line for site, content in private.items()}
    peers = {site: key_fingerprint(line.encode()) for site, line in lines.items()}
    others = {site: {name: known for name, known in peers.items() if name != site} for site in sites}
    return {site: NodeIdentity(content, others[site]) for site, content in private.items()}, peers


def test_with_the_nodes_keys_the_sum_is_the_plain_sum():
    identities, _ = _nodes(names(5))
    federation = Federation(names(5), identities=dict(identities))
    survivors = names(5)[:4]
    total = sum(federation.masked(s, np.full(3, 7, TYPES[32])) for s in survivors)
    np.testing.assert_array_equal(federation.unmasked(total, survivors, survivors, survivors), np.full(3, 28))


def _man_in_the_middle(identities, sign_with, line_of):
    """The adverts as a server hands them to site000 that put its own keys in the place of site003's."""
    own = {site: Secrets.new() for site in names(4)}
    adverts = {site: own[site].advert(CONTEXT, site, 10, identities[site]) for site in names(4)}
    forged = Secrets.new().advert(CONTEXT, "site003", 10, sign_with)
    forged = forged.model_copy(update={"line": line_of.line})
    listed = tuple((adverts | {"site003": forged}).values())
    return Participation.begin(CONTEXT, adverts["site000"], own["site000"], listed, TERMS, identities["site000"])


def test_a_server_that_puts_its_own_keys_in_a_site_s_place_is_refused():
    identities, _ = _nodes(names(4))
    foreign, _ = _nodes(["site003"])
    with pytest.raises(WireError, match="the key of site003 is not the one that was compared"):
        _man_in_the_middle(identities, foreign["site003"], foreign["site003"])
    with pytest.raises(WireError, match="the signature of site003 is not its own"):
        _man_in_the_middle(identities, foreign["site003"], identities["site003"])


def test_keys_that_a_site_signed_for_another_exchange_are_refused():
    identities, _ = _nodes(names(4))
    own = {site: Secrets.new() for site in names(4)}
    adverts = {site: own[site].advert(CONTEXT, site, 10, identities[site]) for site in names(4)}
    replayed = own["site003"].advert("f" * 32, "site003", 10, identities["site003"])
    with pytest.raises(WireError, match="the signature of site003 is not its own"):
        Participation.begin(
            CONTEXT,
            adverts["site000"],
            own["site000"],
            (*list(adverts.values())[:3], replayed),
            TERMS,
            identities["site000"],
        )


def test_people_that_a_site_did_not_sign_are_refused():
    """A server that makes one site weigh a thousand times as much as the others would read its part off the sum."""
    identities, _ = _nodes(names(4))
    own = {site: Secrets.new() for site in names(4)}
    adverts = [own[site].advert(CONTEXT, site, 10, identities[site]) for site in names(4)]
    heavier = adverts[3].model_copy(update={"people": 100_000})
    with pytest.raises(WireError, match="the signature of site003 is not its own"):
        Participation.begin(CONTEXT, adverts[0], own["site000"], (*adverts[:3], heavier), TERMS, identities["site000"])


def test_a_site_that_is_no_peer_is_refused():
    identities, peers = _nodes(names(4))
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with pytest.raises(WireError, match="stranger is not among the peers"):
        NodeIdentity(key, peers).check("stranger", identities["site000"].line, b"", "")


def test_a_fingerprint_is_known_however_it_was_typed():
    identities, peers = _nodes(["site000"])
    typed = {"site000": peers["site000"].replace(" ", "").lower()}
    signature = identities["site000"].sign(b"text")
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    NodeIdentity(other, typed).check("site000", identities["site000"].line, b"text", signature)
    with pytest.raises(WireError, match="signature"):
        NodeIdentity(other, typed).check("site000", identities["site000"].line, b"other text", signature)


@pytest.mark.parametrize("kind", ["twice", "unsorted", "without", "same key"])
def test_a_list_of_keys_that_is_not_one_of_different_sites_is_refused(kind):
    own = {site: Secrets.new() for site in names(5)}
    adverts = [own[site].advert(CONTEXT, site, 10, Unsigned()) for site in names(5)]
    listed = {
        "twice": [*adverts, adverts[4]],
        "unsorted": adverts[::-1],
        "without": adverts[1:],
        "same key": [*adverts[:4], adverts[3].model_copy(update={"site": "site009"}).signed(CONTEXT, Unsigned())],
    }[kind]
    with pytest.raises(WireError, match=r"order|without those of site000|same key"):
        Participation.begin(CONTEXT, adverts[0], own["site000"], tuple(listed), TERMS, Unsigned())


def test_secrets_are_drawn_anew_every_time():
    values = [value for _ in range(20) for value in Secrets.new().model_dump().values()]
    assert len(set(values)) == len(values) == 80
