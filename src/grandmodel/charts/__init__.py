"""Pictures and pages: inline-SVG charts and self-contained HTML reports, below every room, with numpy alone.

Start reading at ``page.py``; ``docs/adr/0002-charts-below-the-rooms.md`` says why the package exists.
"""

from grandmodel.charts.barchart import BarChart, Bars
from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import FULL_WIDTH, HALF_WIDTH, Chart, Tone, picture
from grandmodel.charts.heatmap import HeatMap
from grandmodel.charts.numbers import format_duration, format_time, format_value
from grandmodel.charts.page import Cell, Column, Page, Section, Tile
from grandmodel.charts.timechart import Band, Level, LineChart, Markers, Series, ShadedSpan, StateChart
from grandmodel.charts.xychart import Histogram, Points, Sample, XYChart

__all__ = [
    "FULL_WIDTH",
    "HALF_WIDTH",
    "Band",
    "BarChart",
    "Bars",
    "Cell",
    "Chart",
    "ChartError",
    "Column",
    "HeatMap",
    "Histogram",
    "Level",
    "LineChart",
    "Markers",
    "Page",
    "Points",
    "Sample",
    "Section",
    "Series",
    "ShadedSpan",
    "StateChart",
    "Tile",
    "Tone",
    "XYChart",
    "format_duration",
    "format_time",
    "format_value",
    "picture",
]
