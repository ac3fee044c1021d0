"""One command, ``grandmodel``: noun, then verb."""
