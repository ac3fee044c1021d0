"""Errors of the risk room.

::

    GrandModelError
    └── UsageError
        └── RiskInputError     a number that risk was given cannot be used: not finite, wrong shape, outside its range

A refused order is not an error: it is a ``Verdict`` with its reason (``gate.py``).
"""

from grandmodel.domain.errors import UsageError


class RiskInputError(UsageError):
    """A number or an array that risk cannot compute with; the message names it, what was found and what was expected."""
