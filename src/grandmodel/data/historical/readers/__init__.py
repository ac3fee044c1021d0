"""One file layout each: a function from a path to a ``Reading``."""
