"""The settings page is made from the settings types, and no setting goes without a meaning."""

from pathlib import Path

from grandmodel.risk.settings import BreakerSettings
from grandmodel.runtime.settings_reference import reference_page, reference_rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def test_every_setting_has_a_meaning() -> None:
    assert [row.path for row in reference_rows() if not row.meaning] == []


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), (
        "run: grandmodel settings reference > docs/reference/settings.md"
    )


def test_a_default_that_is_not_its_type_s_own_is_spelled_out() -> None:
    page = reference_page()
    breakers = BreakerSettings()
    assert (breakers.daily_loss.caution, breakers.daily_loss.halt) == (0.02, 0.05)
    assert '| daily_loss | `{"caution":0.02,"reduce":0.03,"halt":0.05}` |' in page
    assert "see Thresholds" not in page
