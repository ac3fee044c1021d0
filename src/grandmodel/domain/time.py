"""Time as int64 nanoseconds since the epoch, UTC, and the two conversions that people need.

Nothing here reads a clock. Programs that must know the time of day are given a clock at the edge.
"""

from datetime import UTC, datetime, timedelta

NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR

FIVE_MINUTES_NS = 5 * NS_PER_MINUTE
THIRTY_MINUTES_NS = 30 * NS_PER_MINUTE

NEVER_NS = 2**63 - 1
"""A time that no event reaches."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ns_from_datetime(moment: datetime) -> int:
    """The nanoseconds of an aware ``moment``, exactly; raises ``ValueError`` on a naive one."""
    if moment.tzinfo is None:
        raise ValueError(
            f"found a time without a zone ({moment.isoformat()}), expected one with a zone: add e.g. +00:00"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def ns_from_text(text: str) -> int:
    """The nanoseconds of an ISO 8601 ``text`` with a zone, or of a plain date (midnight UTC)."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None and "T" not in text and " " not in text:
        moment = moment.replace(tzinfo=UTC)
    return ns_from_datetime(moment)


def text_from_ns(ts_ns: int) -> str:
    """``2024-06-28T13:30:00.000000000Z``: every digit, so that nothing is lost in a report."""
    seconds, rest = divmod(ts_ns, NS_PER_SECOND)
    return f"{(_EPOCH + timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:09d}Z"
