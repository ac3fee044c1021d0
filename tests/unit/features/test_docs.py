"""The page about features names every column, and every picture that it shows is there."""

import re
from pathlib import Path

from grandmodel.features import STRATEGIC_SCHEMA, TACTICAL_SCHEMA

PAGE = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "features.md"


def test_every_column_stands_in_a_heading_with_its_place() -> None:
    headings = " ".join(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("### "))
    for schema in (STRATEGIC_SCHEMA, TACTICAL_SCHEMA):
        for place, name in enumerate(schema.names):
            assert f"{place} {name}" in headings


def test_every_picture_is_there_and_none_is_left_over() -> None:
    shown = set(re.findall(r"\((img/features-[\w-]+\.svg)\)", PAGE.read_text(encoding="utf-8")))
    there = {f"img/{path.name}" for path in (PAGE.parent / "img").glob("features-*.svg")}
    assert shown == there
