"""Errors of the features room.

::

    UsageError
    └── FeatureError       an input has the wrong shape, type or order, or a parameter is out of range
        └── SchemaMismatch a model, a normaliser or a cache was made for other columns than the ones at hand
"""

from grandmodel.domain.errors import UsageError


class FeatureError(UsageError):
    """A feature cannot be computed from what was given; the message names the input, what was found and expected."""


class SchemaMismatch(FeatureError):  # noqa: N818 - reads as the fact it states
    """Something was made for another feature schema than the one in use."""
