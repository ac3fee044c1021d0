"""What can go wrong while a run is on; the tree's base is in ``domain.errors``."""

from grandmodel.domain.errors import FatalError, OperatingError, UsageError


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
