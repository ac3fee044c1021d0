"""Import profiles: files, names and refusals."""

from decimal import Decimal
from pathlib import Path

import pytest

from grandmodel.data.historical.profile import (
    NAMED,
    DateOrder,
    ImportProfile,
    Label,
    Role,
    load_profile,
    text_from_width,
    width_from_text,
)
from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import NS_PER_HOUR, NS_PER_MINUTE


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'columns = ["stamp", "open", "high", "low", "close", "-"]\ndate_order = "dmy"\nlabel = "close"\n'
        'bar_width = "5m"\nprice_multiplier = "0.0001"\n'
    )
    (tmp_path / "p.json").write_text(
        '{"columns": ["stamp", "open", "high", "low", "close", "-"], "date_order": "dmy", "label": "close", '
        '"bar_width": "5m", "price_multiplier": 0.0001}'
    )
    loaded = load_profile(str(tmp_path / "p.toml"))
    assert loaded == load_profile(str(tmp_path / "p.json"))
    assert loaded == ImportProfile(
        columns=(Role.STAMP, Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE, Role.IGNORE),
        date_order=DateOrder.DAY_FIRST,
        label=Label.CLOSE,
        bar_width="5m",
        price_multiplier=Decimal("0.0001"),
    )


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_profile_loads_and_states_no_market(name: str) -> None:
    profile = load_profile(name)
    assert profile is NAMED[name]
    assert profile.label is Label.OPEN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('time_zon = "UTC"', "time_zon"),
        ('label = "middle"', "middle"),
        ('columns = ["open", "open"]', "twice"),
        ("max_dropped = 3", "max_dropped"),
        ('bar_width = "soon"', "bar width"),
        ('price_multiplier = "0"', "price_multiplier"),
        ('delimiter = "::"', "delimiter"),
        ("columns = [", "not an import profile"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_profile(str(tmp_path / "p.toml"))


def test_a_profile_that_is_not_there_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="dukascopy"):
        load_profile("no-such-thing")


@pytest.mark.parametrize(
    ("text", "ns"),
    [("5m", 5 * NS_PER_MINUTE), ("30m", 30 * NS_PER_MINUTE), ("1h", NS_PER_HOUR), ("1d", 24 * NS_PER_HOUR)],
)
def test_widths_as_text_and_back(text: str, ns: int) -> None:
    assert width_from_text(text) == ns
    assert text_from_width(ns) == text


@pytest.mark.parametrize("text", ["", "0m", "5", "m", "5 m", "-5m", "1w", "99999m"])
def test_what_is_no_width_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="bar width"):
        width_from_text(text)
