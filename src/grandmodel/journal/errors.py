"""Errors of the journal room.

::

    GrandModelError
    ├── UsageError
    │   ├── AuditUsageError         there is no journal where one was named, nothing in it, a key cannot be used, or a
    │   │                           file is not the sealed one
    │   ├── ProofError              a Merkle proof was asked for a place that the tree does not have
    │   ├── JournalExistsError      a new journal was asked for where one lies
    │   ├── JournalEndedError       it is sealed and takes no more
    │   └── JournalInUseError       another process is writing it
    ├── FatalError
    │   └── JournalWriteError       a full disk, a failing one
    └── InvariantError
        ├── CheckpointDamagedError  the checkpoints cannot be gone on with
        ├── JournalClosedError      something was appended after the end or a failed write
        ├── JournalDamagedError     what is written does not fit its chain, so that it can be neither read nor gone on with
        ├── ReplayError             running the inputs again gave other records
        └── UncommittedError        something was about to leave before the journal held it

For ``verification.verify_run`` a journal that was changed is no error: it is what it reports.
"""

from grandmodel.domain.errors import FatalError, InvariantError, UsageError


class AuditUsageError(UsageError):
    """What was named is not a journal, or not a key."""


class ProofError(UsageError):
    """A proof was asked for outside the tree."""


class CheckpointDamagedError(InvariantError):
    """The last checkpoint line is not one; the file is not gone on with."""


class JournalDamagedError(InvariantError):
    """The journal is not what was written: what was asked for cannot be had from it, and it is not gone on with."""


class JournalExistsError(UsageError):
    """A new journal was asked for where one lies already."""


class JournalEndedError(UsageError):
    """The run has ended; its journal is sealed and takes no more."""


class JournalInUseError(UsageError):
    """Another process is writing this journal."""


class JournalWriteError(FatalError):
    """The journal could not be written (a full disk, a failing one); nothing unwritten may leave."""


class JournalClosedError(InvariantError):
    """Something was appended to a journal that was closed or whose last write failed."""


class UncommittedError(InvariantError):
    """Something was about to leave before the journal held it."""


class ReplayError(InvariantError):
    """Running the journalled inputs again gave other records than those journalled."""
