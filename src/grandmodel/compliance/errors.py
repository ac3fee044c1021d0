"""Errors of the compliance room.

::

    GrandModelError
    ├── UsageError
    │   ├── AuditUsageError         there is no journal where one was named, nothing in it, a key cannot be used, or a
    │   │                           file is not the sealed one
    │   └── ProofError              a Merkle proof was asked for a place that the tree does not have
    └── InvariantError
        ├── CheckpointDamagedError  the checkpoints cannot be gone on with
        └── JournalDamagedError     what was asked for cannot be read from the journal, because it was changed

For ``verification.verify_run`` a journal that was changed is no error: it is what it reports.
"""

from grandmodel.domain.errors import InvariantError, UsageError


class AuditUsageError(UsageError):
    """What was named is not a journal, or not a key."""


class ProofError(UsageError):
    """A proof was asked for outside the tree."""


class CheckpointDamagedError(InvariantError):
    """The last checkpoint line is not one; the file is not gone on with."""


class JournalDamagedError(InvariantError):
    """The journal is not what was written, and what was asked for cannot be had from it."""
