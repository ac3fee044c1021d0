"""The settings page is made from the settings types, and no setting goes without a meaning."""

from pathlib import Path

from grandmodel.runtime.settings_reference import reference_page, undocumented

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def test_every_setting_has_a_meaning() -> None:
    assert undocumented() == []


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), (
        "run: grandmodel settings reference > docs/reference/settings.md"
    )
