"""The errors of this room.

::

    GrandModelError
    └── UsageError
        └── PerformanceError    a series cannot be measured as asked
"""

from grandmodel.domain.errors import UsageError


class PerformanceError(UsageError):
    """A series cannot be measured; the message says what was found and what was expected."""
