"""Reading pictures back: a chart drawn, parsed as XML, its parts found by class."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from grandmodel.charts import Chart

SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """One parsed ``<svg>``."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.root = ET.fromstring(source)  # noqa: S314 - our own output

    def texts(self) -> list[str]:
        return ["".join(node.itertext()) for node in self.root.iter(f"{SVG}text")]

    def description(self) -> str:
        return self.root.findtext(f"{SVG}desc") or ""

    def having(self, tag: str, *classes: str) -> list[ET.Element]:
        return [
            node for node in self.root.iter(f"{SVG}{tag}") if set(classes) <= set((node.get("class") or "").split())
        ]

    def line_points(self, *classes: str) -> list[tuple[float, float]]:
        """The corners of the last path of these classes (the first may be the symbol of the legend)."""
        data = self.having("path", *classes)[-1].get("d") or ""
        return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", data)]

    def path(self, *classes: str) -> str:
        return self.having("path", *classes)[-1].get("d") or ""


@pytest.fixture
def drawn() -> Callable[..., Picture]:
    def draw(chart: Chart, width: int = 1080) -> Picture:
        return Picture(chart.draw(width, "chart-1"))

    return draw
