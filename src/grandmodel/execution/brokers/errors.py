"""Errors of the brokers; the tree's base is in ``domain.errors``."""

from grandmodel.domain.errors import RecoverableError


class BrokerUnavailableError(RecoverableError):
    """The venue could not be reached or did not answer; whether it took the request is unknown, asking again is safe."""
