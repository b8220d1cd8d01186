"""When a certificate is renewed (DESIGN 3), as pure functions of times.

All times are seconds since the epoch as floats, all shares are of the certificate's own life, so
that a leaf of ten seconds in a test and one of 72 hours go through the same arithmetic. The times
in the certificate count, not what anybody asked for: an authority may issue shorter ones.
"""

from dataclasses import dataclass

from hostmesh_core.errors import BadInput

RENEW_FROM = 0.4
RENEW_TO = 0.6


@dataclass(frozen=True, slots=True)
class Renewal:
    """Between which shares of its life a certificate is renewed: the control plane's `ca:` says."""

    start: float = RENEW_FROM
    end: float = RENEW_TO

    def __post_init__(self) -> None:
        """Refuse what is no pair of shares. Raises BadInput."""
        if not 0.0 < self.start <= self.end < 1.0:
            raise BadInput(
                f"cannot renew certificates between {self.start:g} and {self.end:g} of their life: "
                "expected two shares between 0 and 1, the smaller first"
            )


def renewal_time(
    not_before: float,
    not_after: float,
    jitter: float,
    renewal: Renewal = Renewal(),
) -> float:
    """Give the moment from which a renewal is due: `jitter` 0 is the earliest, 1 the latest.

    The caller draws the jitter once per certificate, so that a thousand hosts that joined in one
    minute do not renew in one minute. Raises ValueError where the arguments make no sense.
    """
    if not 0.0 <= jitter <= 1.0:
        raise ValueError(f"cannot use jitter {jitter}: expected 0 to 1")
    if not_after <= not_before:
        raise ValueError("cannot plan a renewal: the certificate ends before it begins")
    share = renewal.start + (renewal.end - renewal.start) * jitter
    return not_before + (not_after - not_before) * share


def should_rotate(
    now: float,
    not_before: float,
    not_after: float,
    jitter: float,
    renewal: Renewal = Renewal(),
) -> bool:
    """Tell whether a renewal is due at `now`; an expired certificate is always due."""
    return now >= renewal_time(not_before, not_after, jitter, renewal)


def seconds_left(now: float, not_after: float) -> float:
    """Give the seconds until a certificate ends, never below 0."""
    return max(0.0, not_after - now)


def backdate(life: float, clock_skew: float) -> float:
    """Give how many seconds NotBefore lies back, for hosts whose clock is behind.

    Never more than a tenth of the life: shares count from NotBefore, and a certificate of ten
    seconds that begins five minutes ago would be due for renewal at birth, for ever.
    """
    return min(clock_skew, life / 10.0)
