"""How many sites a secure sum needs, and why a server that lies about who dropped out learns nothing.

Bonawitz 2017 (ACM CCS, doi 10.1145/3133956.3133982), the protocol against an active adversary. n sites share their
secrets, any t shares of a secret give it back, and c of the sites may work for the server.

A site adds two kinds of masks to what it sends. Those that it has in common with every other site cancel in the sum;
one of its own does not. To take off the masks of a sum over survivors S, the server asks every survivor for one share:
of the own mask of those in S, of the keys to the common masks of those who dropped out. Whoever gets t shares of
*both* secrets of a site knows what it sent. So the server's attack is to tell some sites that u survived, and others
that it did not.

Each site signs one list of survivors, and no other for the same step of the study; it gives a share only under a list
that t sites signed. Two different lists need t signatures each. The c sites that work for the server sign both, each of
the n - c honest ones signs one, so that

    2 (t - c) <= n - c,    that is    2 t <= n + c.

With ``2 t > n + c`` there is one list at most: for each site the shares of one of its two secrets are given, never of
both. The same holds over all attempts at one step, since no honest site signs a second list in another attempt: the
sums of two attempts are over sites of which no signing one is in both, and their difference is never one site's.

A sum over S also tells c sites of S, who know their own parts, the sum of the others. So S has ``minimum_sites`` at
least: with four of them, one that works for the server learns the sum of three. What is signed is not the list alone
but all that the sites must agree on, see `Transcript`.

With fewer than t survivors nothing can be unmasked, so t bounds how many may drop out: n - t.
"""

from __future__ import annotations


def threshold(sites: int, colluding: int) -> int:
    """The least t with 2 t > n + c.

    Parameters
    ----------
    sites
        n, those that share their secrets.
    colluding
        c, of which so many may work for the server.
    """
    return (sites + colluding) // 2 + 1


def least_survivors(sites: int, colluding: int, minimum_sites: int) -> int:
    """Sites that a sum is over at least; more than ``sites`` where there are too few for any."""
    return max(threshold(sites, colluding), minimum_sites)
