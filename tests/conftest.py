"""What holds for every test."""

from hypothesis import settings

# A shared machine stalls now and then (a disk, a compiler, a neighbour): no example fails for being slow.
settings.register_profile("grandmodel", deadline=None)
settings.load_profile("grandmodel")
