"""When a certificate is renewed (DESIGN 3), as pure functions of times.

All times are seconds since the epoch as floats, all shares are of the certificate's own life, so
that a leaf of ten seconds in a test and one of 72 hours go through the same arithmetic. The times
in the certificate count, not what anybody asked for: an authority may issue shorter ones.
"""

RENEW_FROM = 0.4
RENEW_TO = 0.6


def renewal_time(
    not_before: float,
    not_after: float,
    jitter: float,
    *,
    renew_from: float = RENEW_FROM,
    renew_to: float = RENEW_TO,
) -> float:
    """Give the moment from which a renewal is due: `jitter` 0 is the earliest, 1 the latest.

    The caller draws the jitter once per certificate, so that a thousand hosts that joined in one
    minute do not renew in one minute. Raises ValueError where the arguments make no sense.
    """
    if not 0.0 <= jitter <= 1.0:
        raise ValueError(f"cannot use jitter {jitter}: expected 0 to 1")
    if not 0.0 <= renew_from <= renew_to <= 1.0:
        raise ValueError(f"cannot renew between {renew_from} and {renew_to} of a life")
    if not_after <= not_before:
        raise ValueError("cannot plan a renewal: the certificate ends before it begins")
    share = renew_from + (renew_to - renew_from) * jitter
    return not_before + (not_after - not_before) * share


def should_rotate(
    now: float,
    not_before: float,
    not_after: float,
    jitter: float,
    *,
    renew_from: float = RENEW_FROM,
    renew_to: float = RENEW_TO,
) -> bool:
    """Tell whether a renewal is due at `now`; an expired certificate is always due."""
    due = renewal_time(not_before, not_after, jitter, renew_from=renew_from, renew_to=renew_to)
    return now >= due


def seconds_left(now: float, not_after: float) -> float:
    """Give the seconds until a certificate ends, never below 0."""
    return max(0.0, not_after - now)


def backdate(life: float, clock_skew: float) -> float:
    """Give how many seconds NotBefore lies back, for hosts whose clock is behind.

    Never more than a tenth of the life: shares count from NotBefore, and a certificate of ten
    seconds that begins five minutes ago would be due for renewal at birth, for ever.
    """
    return min(clock_skew, life / 10.0)
