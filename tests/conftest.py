"""What holds for every test."""

import os

import pytest
from hypothesis import settings

# A shared machine stalls now and then (a disk, a compiler, a neighbour): no example fails for being slow.
settings.register_profile("grandmodel", deadline=None)
settings.load_profile("grandmodel")


@pytest.fixture(scope="session", autouse=True)
def _keys_of_nobody(tmp_path_factory):
    """The key that signs runs is made where the tests work, never in the home of whoever runs them."""
    before = {name: os.environ.pop(name, None) for name in ("XDG_CONFIG_HOME", "GRANDMODEL_SIGNING_KEY")}
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
