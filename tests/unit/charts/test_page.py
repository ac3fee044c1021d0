import ast
import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import grandmodel.charts
from grandmodel.charts import (
    BarChart,
    Bars,
    Cell,
    ChartError,
    Column,
    HeatMap,
    Histogram,
    Level,
    LineChart,
    Markers,
    Page,
    Points,
    Sample,
    Series,
    ShadedSpan,
    StateChart,
    Tile,
    XYChart,
    picture,
)

T0 = 1_583_764_200_000_000_000
TIMES = T0 + np.arange(5, dtype=np.int64) * 1_000_000_000
HOSTILE = """</title></script></style><script>alert('x')</script><img src=x onerror="alert(1)">&"' \x00\x1b[31m\ud800"""


class Outline(HTMLParser):
    """The elements of a page, its text, and whether every element that was opened is closed in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words, self.open, self.is_balanced = [], [], [], [], True
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        self.is_balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page_of(words):
    """Every kind of content, with ``words`` in every place that takes text."""
    page = Page(words, words, footer=words)
    page.lead.add_tiles([Tile(words, words, more=words, tone="good"), Tile("n", 1.5, words), Tile("none", None)])
    page.lead.add_note(words, "warn", heading=words)
    section = page.section(words, words)
    section.add_text(words)
    section.add_code(words)
    section.add_table([words, Column("n", words)], [[words, 1.0], [Cell(words, "bad"), None]], words)
    values = [1.0, 2.0, np.nan, 4.0, 3.0]
    charts = [
        LineChart(
            title=words, series=[Series(words, TIMES, values), Series(words, TIMES, values, area=True)], unit=words, note=words, y_label=words,
            markers=[Markers(words, TIMES[:1], [1.0], "buy")], spans=[ShadedSpan(T0, T0 + 10**9, words)], levels=[Level(2.0, words)],
        ),
        StateChart(title=words, time_ns=TIMES[:2], states=[words, "b"], ladder=[words, "b"], end_ns=T0 + 5 * 10**9, note=words),
        XYChart(title=words, points=[Points(words, [1.0], [1.0], names=[words])], diagonal=words, x_label=words, y_label=words, x_unit=words, note=words),
        Histogram(title=words, samples=[Sample(words, [1.0, 2.0]), Sample(words, [1.0])], references=[(1.5, words)], unit=words, x_label=words),
        BarChart(title=words, labels=[words, "b"], bars=[Bars(words, [1.0, 2.0]), Bars("z", [1.0, -2.0])], unit=words),
        BarChart(title=words, labels=[words], bars=[Bars(words, [1.0])], is_horizontal=True, unit=words),
        HeatMap(title=words, values=[[1.0, np.nan]], rows=[words], columns=[words, "y"], unit=words, note=words),
    ]  # fmt: skip
    for chart in charts:
        section.add_chart(chart, is_half=True)
    page.section("Second").add_text("end")
    return page


def test_hostile_text_makes_no_element_and_no_attribute_of_its_own():
    hostile, plain = Outline(page_of(HOSTILE).render()), Outline(page_of("x" * len(HOSTILE)).render())
    assert sorted(set(hostile.tags)) == sorted(set(plain.tags))
    assert hostile.tags.count("script") == 1
    assert hostile.tags.count("style") == 1
    assert "img" not in hostile.tags
    assert not [name for name, _ in hostile.attributes if name.startswith("on") or name == "style"]
    assert hostile.is_balanced
    assert "<script>alert('x')</script>" in "".join(hostile.words)


def test_characters_that_xml_forbids_are_replaced_so_that_the_page_can_be_stored():
    source = page_of(HOSTILE).render()
    source.encode("utf-8")
    assert not re.search("[\x00-\x08\x1b\ud800]", source)
    for svg in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - our own output


def test_a_page_is_whole_and_asks_for_nothing():
    source = page_of("Report").render()
    outline = Outline(source)
    assert outline.is_balanced
    assert not outline.open
    assert source.startswith('<!DOCTYPE html>\n<html lang="en">')
    loading = [
        (name, value)
        for name, value in outline.attributes
        if name in {"src", "srcset", "data", "poster", "action", "xlink:href"}
    ]
    assert not loading
    assert all(value.startswith("#") for name, value in outline.attributes if name == "href")
    addresses = set(re.findall(r"https?://[^\"' )]+", source))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", source)


def test_the_policy_of_a_page_allows_its_own_style_and_script_alone():
    source = page_of("Report").render()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', source).group(1)
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_every_picture_has_a_role_a_title_and_a_description():
    source = page_of("Report").render()
    pictures = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    assert len(pictures) == 7
    identifiers = re.findall(r' id="([^"]+)"', source)
    assert len(identifiers) == len(set(identifiers))
    for svg in pictures:
        root = ET.fromstring(svg)  # noqa: S314 - our own output
        title, description = root[0], root[1]
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert title.text
        assert description.text


def test_equal_content_gives_equal_bytes():
    assert page_of("Report").render() == page_of("Report").render()
    page = page_of("Report")
    assert page.render() == page.render()


def test_light_dark_and_print_are_all_there():
    source = page_of("Report").render()
    assert "prefers-color-scheme:dark" in source
    assert "@media print" in source
    assert "color-scheme:light dark" in source


def test_every_colour_that_the_style_uses_is_defined_in_light_dark_and_print():
    style = re.search(r"<style>(.*?)</style>", page_of("x").render(), re.DOTALL).group(1)
    palettes = re.findall(r":root,svg\.gm\{(.*?)\}", style, re.DOTALL)
    assert len(palettes) == 3
    used = set(re.findall(r"var\(--([\w-]+)", style)) - {"c", "c-back"}
    for palette in palettes:
        assert used <= set(re.findall(r"--([\w-]+):", palette))


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [0, 1, 2], ids=["light", "dark", "print"])
def test_lines_and_text_stand_out_from_their_card(palette):
    style = re.search(r"<style>(.*?)</style>", page_of("x").render(), re.DOTALL).group(1)
    colours = dict(re.findall(r"--([\w-]+):(#\w{6})", re.findall(r":root,svg\.gm\{(.*?)\}", style, re.DOTALL)[palette]))

    def contrast(a, b):
        light, dark = sorted([luminance(colours[a]), luminance(colours[b])], reverse=True)
        return (light + 0.05) / (dark + 0.05)

    # WCAG 2.1: 4.5 for text (1.4.3), 3 for what a picture needs to be understood (1.4.11).
    assert all(contrast(name, "card") >= 4.5 for name in ("ink", "muted", "good", "bad", "warn", "caution"))
    assert all(contrast(f"s{k}", "card") >= 3.0 for k in range(8))
    assert all(contrast("on-strong", hue) >= 3.0 for hue in ("low", "high"))


def test_tables_carry_sort_keys_and_write_numbers_by_their_unit():
    page = Page("t")
    rows = [["a", 0.5, np.int64(1_000)], ["b", np.float64("nan"), None], ["c", -np.inf, True]]
    page.section("s").add_table(["name", Column("share", "%", 1, by_sign=True), "count"], rows)
    source = page.render()
    assert '<td class="number good" data-key="0.5">50.0%</td>' in source
    assert '<td class="number" data-key="1000">1,000</td>' in source
    assert '<td class="number">–</td>' in source
    assert '<td class="number bad" data-key="-Infinity">-inf</td>' in source
    assert '<td class="number">yes</td>' in source


def test_a_long_table_says_that_it_was_cut():
    page = Page("t")
    page.section("s").add_table(["n"], [[k] for k in range(1_000)], "Orders", most_rows=10)
    source = page.render()
    assert source.count("<tr>") == 11
    assert "the first 10 of 1,000 rows" in source


def test_an_empty_table_and_an_empty_page():
    page = Page("t")
    page.section("s").add_table(["a", "b"], [])
    assert "no rows" in page.render()
    assert Outline(Page("").render()).is_balanced


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ChartError, match="row 1 has 1 cells; expected 2"):
        Page("t").section("s").add_table(["a", "b"], [[1, 2], [3]])


def test_half_charts_share_a_row_and_full_ones_do_not():
    page = Page("t")
    section = page.section("s")
    chart = BarChart(title="b", labels=["a"], bars=[Bars("x", [1.0])])
    section.add_chart(chart, is_half=True)
    section.add_chart(chart, is_half=True)
    section.add_text("between")
    section.add_chart(chart)
    source = page.render()
    assert source.count('<div class="charts">') == 2
    assert [int(width) for width in re.findall(r'<svg[^>]* width="(\d+)"', source)] == [530, 530, 1080]


def test_a_picture_for_a_document_stands_alone():
    source = picture(LineChart(title="Equity", series=[Series("a", TIMES, [1, 2, 3, 4, 5])]))
    root = ET.fromstring(source)  # noqa: S314 - our own output
    assert root[0].tag.endswith("style")
    assert "data-hover" not in source


def test_the_package_imports_nothing_of_the_rooms_and_only_numpy_beside_the_standard_library():
    allowed = {"numpy", "grandmodel"} | {
        "__future__", "base64", "collections", "dataclasses", "datetime", "hashlib", "itertools", "json", "math", "re", "typing",
    }  # fmt: skip
    for path in Path(grandmodel.charts.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
                assert not name.startswith("grandmodel") or name.startswith("grandmodel.charts"), (
                    f"{path.name} imports {name}"
                )


def test_every_public_name_is_exported():
    tree = ast.parse(Path(grandmodel.charts.__file__).read_text(encoding="utf-8"))
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(grandmodel.charts.__all__)
