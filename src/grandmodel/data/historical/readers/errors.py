"""The readers' own error, below ``data.errors.ReadError``; what a person must settle is ``data.errors.AmbiguousError``."""

from grandmodel.data.errors import ReadError


class CorruptFileError(ReadError):
    """The file breaks the rules of its own format; the message says where and what was expected."""
