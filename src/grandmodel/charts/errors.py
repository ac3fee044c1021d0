"""Errors of the charts package.

``ChartError`` (a ``ValueError``)
    The caller gave a chart something that cannot be drawn truthfully: arrays of unequal length, time out of order, a
    label for every row but one. Empty or missing *values* are no error: they give a picture that says "no data".

The package stands below every room, ``grandmodel.domain`` included, so this error has no base there.
"""


class ChartError(ValueError):
    """A chart, table or page was asked for with parts that do not fit together."""
