"""Errors of the compliance room.

::

    GrandModelError
    └── UsageError
        ├── AuditUsageError   there is no journal where one was named, or a key file cannot be used
        └── ProofError        a Merkle proof was asked for a place that the tree does not have

A journal that was changed is not an error here: it is what ``verification.verify_run`` reports.
"""

from grandmodel.domain.errors import UsageError


class AuditUsageError(UsageError):
    """What was named is not a journal, or not a key."""


class ProofError(UsageError):
    """A proof was asked for outside the tree."""
