"""Every setting and every reported number is explained in docs/models/mappo.md."""

from pathlib import Path

import pytest

from grandmodel.training.mappo import Settings, Update

PAGE = (Path(__file__).parents[3] / "docs/models/mappo.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*Settings.__struct_fields__, *Update.__struct_fields__])
def test_is_documented(name):
    assert f"`{name}`" in PAGE
