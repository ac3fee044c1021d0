"""Errors of the compliance room.

::

    GrandModelError
    ├── UsageError
    │   ├── AuditUsageError         there is no journal where one was named, or a key file cannot be used
    │   └── ProofError              a Merkle proof was asked for a place that the tree does not have
    └── InvariantError
        └── CheckpointDamagedError  the checkpoints cannot be gone on with

A journal that was changed is not an error here: it is what ``verification.verify_run`` reports.
"""

from grandmodel.domain.errors import InvariantError, UsageError


class AuditUsageError(UsageError):
    """What was named is not a journal, or not a key."""


class ProofError(UsageError):
    """A proof was asked for outside the tree."""


class CheckpointDamagedError(InvariantError):
    """The last checkpoint line is not one; the file is not gone on with."""
