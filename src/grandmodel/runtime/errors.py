"""What can go wrong while a run is on; the tree's base is in ``domain.errors``."""

from grandmodel.domain.errors import FatalError, InvariantError, OperatingError, UsageError


class DisorderError(FatalError):
    """Market data arrived out of order; the engine stops rather than decide on it."""


class AgentError(FatalError):
    """An agent failed, or returned something that is not a wish; the message names it, its file and line."""


class AgentChoiceError(AgentError, UsageError):
    """An agent could not be built: its kind is unknown, or its class or parameters do not fit."""


class WishError(UsageError):
    """A wish is not valid; the message says where, what was found and what was expected."""


class UntrustedAgentError(UsageError):
    """An agent of one's own is code, and nobody said that this code may be imported."""


class RunStoppedError(OperatingError):
    """The run was asked to stop; what was done so far is committed, and it can be gone on with."""


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


class JournalDamagedError(InvariantError):
    """What a journal holds does not fit its chain; it is not gone on with."""


class UncommittedError(InvariantError):
    """Something was about to leave before the journal held it."""


class ReplayError(InvariantError):
    """Running the journalled inputs again gave other records than those journalled."""
