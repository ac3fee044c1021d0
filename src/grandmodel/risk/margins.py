"""An initial margin that is not known is not 0: what cannot be margined is not traded."""

from __future__ import annotations

from collections.abc import Iterable

from grandmodel.domain.instruments import Instrument
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.settings import RiskSettings


def check_margins(settings: RiskSettings, instruments: Iterable[Instrument]) -> None:
    """Raise ``RiskInputError`` for a future or perpetual that may be traded and has no initial margin; spot pays the whole price."""
    for instrument in instruments:
        is_tradable = not settings.authorised or instrument.id in settings.authorised
        if is_tradable and not instrument.pays_whole_price and instrument.initial_margin_micros <= 0:
            raise RiskInputError(
                f"instrument {instrument.id}: found no initial margin, expected initial_margin_micros above 0 for a {instrument.kind.value}: "
                "give it in the instrument file, say the kind (equity, fx_spot, crypto_spot) where the whole price is paid, or leave the instrument "
                "out of risk.authorised where it is only watched"
            )
