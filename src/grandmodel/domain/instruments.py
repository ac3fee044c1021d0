"""Instruments, and the only place where prices and money change between people's units and the integers inside.

Inside, a price is a count of the instrument's ticks, a quantity a count of lots and money a count of millionths of the
currency unit. ``Instrument`` converts; nobody else multiplies by a tick size. The contracts built in are facts of the
exchanges' contract specifications; any other instrument is one ``Instrument(...)`` more, or one entry in a JSON file
read by ``load_instruments``.
"""

from __future__ import annotations

import enum
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import load_document
from grandmodel.domain.ids import InstrumentId

MICROS_PER_UNIT = 1_000_000
"""Money is counted in millionths of the currency unit."""

MAX_PRICE_TICKS = 2**40
"""The largest price magnitude accepted anywhere, in ticks; keeps every product of the money path inside int64."""

MAX_QUANTITY_LOTS = 2**31 - 1

_INT64_MAX = 2**63 - 1


class InstrumentKind(enum.StrEnum):
    """What an instrument is; how its positions are paid for follows from it (``docs/concepts/ledger.md``)."""

    FUTURE = "future"
    """Pays gains and losses only, needs a margin, settles daily and may expire."""
    EQUITY = "equity"
    """Pays the whole price; dividends and splits."""
    FX_SPOT = "fx_spot"
    """Pays the whole price; interest for the night as a cash flow."""
    CRYPTO_SPOT = "crypto_spot"
    """Pays the whole price."""
    PERPETUAL = "perpetual"
    """A future without an expiry: pays gains and losses only, needs a margin, funding as a cash flow."""
    INVERSE_PERPETUAL = "inverse_perpetual"
    """Refused: gains are paid in the coin itself and are no whole number of ticks times a value."""
    OPTION = "option"
    """Refused: a price that depends on another's, exercise and assignment are not built."""


_PAYS_WHOLE_PRICE = frozenset({InstrumentKind.EQUITY, InstrumentKind.FX_SPOT, InstrumentKind.CRYPTO_SPOT})
_REFUSED_KINDS = {
    InstrumentKind.INVERSE_PERPETUAL: "a contract that pays in its own coin is not built",
    InstrumentKind.OPTION: "exercise, assignment and a price that depends on another's are not built",
}
_SPOT_OF_CALENDAR = {"24/7": InstrumentKind.CRYPTO_SPOT, "24/5": InstrumentKind.FX_SPOT}


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tradable contract: its units, its calendar and what it costs to hold.

    ``tick_value_micros`` is what one lot gains when the price rises one tick, in millionths of ``currency``. Margins are
    per lot, in the same unit; they change often, so the built-in ones are round figures of the right size and a desk
    sets its own.
    """

    id: InstrumentId
    name: str
    tick_size: Decimal
    tick_value_micros: int
    currency: str
    mic: str
    """ISO 10383 market identifier code."""
    calendar: str
    """A calendar of ``exchange_calendars``, or ``24/7`` or ``24/5``."""
    kind: InstrumentKind = InstrumentKind.FUTURE
    settlement: Literal["", "futures", "spot"] = ""
    """How files and journals without a ``kind`` say it, and read as one: ``futures`` a future, ``spot`` the kind of its calendar
    (``24/7`` crypto, ``24/5`` foreign exchange, else equity). Empty once it has been read."""
    expiry: str = ""
    """The last trading day of a future (``2024-09-20``), for people: what ends a position is a final ``Settlement``. Empty: not known,
    or none."""
    lot_size: Decimal = Decimal(1)
    """Units of the underlying quantity in one lot: 1 contract, 0.001 BTC, 1,000 EUR."""
    initial_margin_micros: int = 0
    """0: not known. A future without it is not traded; spot pays the whole price."""
    maintenance_margin_micros: int = 0
    session_open: str = ""
    session_close: str = ""
    """Wall-clock open and close (``18:00``) in ``time_zone`` where they differ from the calendar's; empty: the calendar's."""
    time_zone: str = ""
    negative_prices: bool = False
    """True where a price at or below zero is legal (energy); elsewhere such a price is bad data."""

    def __post_init__(self) -> None:
        """Refuse what would make the integers inside wrong."""
        if not self.tick_size.is_finite() or self.tick_size <= 0:
            raise UsageError(f"instrument {self.id}: found tick_size {self.tick_size}, expected a positive number")
        if not self.lot_size.is_finite() or self.lot_size <= 0:
            raise UsageError(f"instrument {self.id}: found lot_size {self.lot_size}, expected a positive number")
        if not 0 < self.tick_value_micros < 2**40:
            raise UsageError(
                f"instrument {self.id}: found tick_value_micros {self.tick_value_micros}, expected 1 to 2^40 - 1 "
                "(millionths of the currency that one lot gains per tick)"
            )
        if self.settlement:
            self._read_settlement()
        else:
            self._check_kind()

    @property
    def pays_whole_price(self) -> bool:
        """True where buying pays the price and the position is worth its market value; False: gains and losses only are paid."""
        return self.kind in _PAYS_WHOLE_PRICE

    def _read_settlement(self) -> None:
        """Turn the older word into the kind that it means."""
        kind = self.kind
        if self.settlement == "spot" and kind is InstrumentKind.FUTURE:
            kind = _SPOT_OF_CALENDAR.get(self.calendar, InstrumentKind.EQUITY)
        if kind in _REFUSED_KINDS or (kind in _PAYS_WHOLE_PRICE) != (self.settlement == "spot"):
            raise UsageError(
                f"instrument {self.id}: found kind {kind.value} with settlement {self.settlement!r}, expected one of the two: "
                "leave settlement away"
            )
        msgspec.structs.force_setattr(self, "kind", kind)
        msgspec.structs.force_setattr(self, "settlement", "")

    def _check_kind(self) -> None:
        """Refuse a kind that is not built, and what a kind cannot have."""
        kind = self.kind
        if kind in _REFUSED_KINDS:
            built = ", ".join(one.value for one in InstrumentKind if one not in _REFUSED_KINDS)
            raise UsageError(
                f"instrument {self.id}: found kind {kind.value}: {_REFUSED_KINDS[kind]}, expected one of {built}"
            )
        if self.expiry:
            if kind is not InstrumentKind.FUTURE:
                raise UsageError(
                    f"instrument {self.id}: found an expiry for kind {kind.value}, expected one for a future only"
                )
            try:
                date.fromisoformat(self.expiry)
            except ValueError as error:
                raise UsageError(
                    f"instrument {self.id}: found expiry {self.expiry!r}, expected a day: 2024-09-20"
                ) from error
        if kind in _PAYS_WHOLE_PRICE and self.negative_prices:
            raise UsageError(
                f"instrument {self.id}: found negative_prices for kind {kind.value}, expected them for a future only"
            )
        if kind is not InstrumentKind.FUTURE:
            whole = self.tick_size * self.lot_size * MICROS_PER_UNIT
            if whole != self.tick_value_micros:
                raise UsageError(
                    f"instrument {self.id}: found tick_value_micros {self.tick_value_micros} for kind {kind.value}, expected "
                    f"tick_size x lot_size = {whole.normalize():f} millionths: a lot of {self.lot_size} gains that much a tick"
                )

    def ticks_from_price(self, price: Decimal | str) -> int:
        """The whole number of ticks in ``price``; raises ``UsageError`` where it is not on the tick or out of bounds."""
        try:
            ticks = Decimal(price) / self.tick_size
        except InvalidOperation as error:
            raise UsageError(f"{self.id}: found price {price!r}, expected a decimal number") from error
        if not ticks.is_finite() or ticks != ticks.to_integral_value():
            raise UsageError(f"{self.id}: found price {price}, expected a multiple of the tick size {self.tick_size}")
        if abs(ticks) > MAX_PRICE_TICKS:
            raise UsageError(f"{self.id}: found price {price}, expected at most {MAX_PRICE_TICKS} ticks in magnitude")
        return int(ticks)

    def nearest_ticks(self, price: Decimal | float) -> int:
        """The number of ticks nearest to ``price``, ties to even: for stops and targets computed from features."""
        exact = (
            Decimal(price) / self.tick_size
            if isinstance(price, Decimal)
            else Decimal(repr(float(price))) / self.tick_size
        )
        if not exact.is_finite() or abs(exact) > MAX_PRICE_TICKS:
            raise UsageError(
                f"{self.id}: found price {price}, expected a finite number of at most {MAX_PRICE_TICKS} ticks"
            )
        return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))

    def ticks_from_prices(self, prices: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ticks of float ``prices`` (any shape) and which of them were on the tick.

        Files hold decimal text that passed through float64, so "on the tick" allows one part in 10^9 of the price plus
        10^-6 of a tick. A price half-way between two ticks goes to the even one, decided on its decimal text: in floats
        0.15 / 0.1 lies below the half. Non-finite or huge values are off the tick and give 0; the caller decides what to
        do with them.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            exact = np.asarray(prices, dtype=np.float64) / float(self.tick_size)
            usable = np.isfinite(exact) & (np.abs(exact) <= MAX_PRICE_TICKS)
            rounded = np.rint(np.where(usable, exact, 0.0))
            on_tick = usable & (np.abs(exact - rounded) <= 1e-6 + 1e-9 * np.abs(rounded))
            near_half = usable & ~on_tick & (np.abs(np.abs(exact - rounded) - 0.5) <= 1e-6 + 1e-9 * np.abs(rounded))
        ticks = rounded.astype(np.int64)
        if near_half.any():
            values = np.asarray(prices, dtype=np.float64)[near_half]
            distinct, places = np.unique(values, return_inverse=True)
            ticks[near_half] = np.array([self.nearest_ticks(float(value)) for value in distinct], dtype=np.int64)[
                places
            ]
        return ticks, on_tick

    def ticks_from_scaled(
        self, scaled: NDArray[np.int64], decimals: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ticks of integer prices ``scaled`` (any shape, units of 10^-``decimals``) and which were on the tick.

        Exact, without a float. A price off the tick gives the tick below it; one beyond ``MAX_PRICE_TICKS`` gives 0.
        """
        return _scaled_counts(scaled, self.tick_size, decimals, MAX_PRICE_TICKS)

    def lots_from_quantities(self, quantities: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Whole lots in float ``quantities`` (any shape, never more than there was) and which were whole lots.

        Allows for decimal text that passed through float64, as ``ticks_from_prices`` does. Non-finite or huge values
        are not whole lots and give 0.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            exact = np.asarray(quantities, dtype=np.float64) / float(self.lot_size)
            usable = np.isfinite(exact) & (np.abs(exact) <= MAX_QUANTITY_LOTS)
            exact = np.where(usable, exact, 0.0)
            rounded = np.rint(exact)
            whole = np.abs(exact - rounded) <= 1e-6 + 1e-9 * np.abs(rounded)
        return np.where(whole, rounded, np.trunc(exact)).astype(np.int64), usable & whole

    def lots_from_scaled(self, scaled: NDArray[np.int64], decimals: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Whole lots in integer quantities ``scaled`` (0 or more, units of 10^-``decimals``) and which were whole."""
        return _scaled_counts(scaled, self.lot_size, decimals, MAX_QUANTITY_LOTS)

    def price_from_ticks(self, ticks: int) -> Decimal:
        """The exact price of ``ticks``."""
        return self.tick_size * ticks

    def prices_from_ticks(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Prices of an array of ticks as float64, for features and pictures only."""
        numerator, denominator = self.tick_size.as_integer_ratio()
        return np.asarray(ticks, dtype=np.float64) * numerator / denominator

    def value_micros(self, ticks: int, lots: int) -> int:
        """Money of ``lots`` (signed) over a price difference or level of ``ticks``, in millionths of the currency."""
        return ticks * lots * self.tick_value_micros


def _scaled_counts(
    scaled: NDArray[np.int64], unit: Decimal, decimals: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many times ``unit`` goes into each of ``scaled`` (units of 10^-decimals), and where it goes exactly."""
    values = np.asarray(scaled, dtype=np.int64)
    numerator, denominator = (unit * 10**decimals).as_integer_ratio()
    usable = (values <= _INT64_MAX // denominator) & (values >= -(_INT64_MAX // denominator))
    if numerator > _INT64_MAX:
        return np.zeros_like(values), values == 0
    counts, rest = np.divmod(np.where(usable, values, 0) * denominator, numerator)
    usable &= (counts <= most) & (counts >= -most)
    return np.where(usable, counts, 0), usable & (rest == 0)


def currency_text(micros: int, currency: str = "") -> str:
    """``-1,234.50 USD``: money for people, rounded half-even to the cent."""
    cents = (Decimal(micros) / MICROS_PER_UNIT).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
    return f"{cents:,} {currency}".rstrip()


def convert_micros(micros: int, rate_micros: int) -> int:
    """Money in another currency at ``rate_micros`` (millionths of the target unit per source unit), rounded down.

    Rounding is always towards minus infinity, in Python as in the compiled step, so both reach the same integer.
    """
    return micros * rate_micros // MICROS_PER_UNIT


def _future(
    instrument: str, name: str, tick: str, tick_value: str, mic: str, margin: int, *, negative_prices: bool = False
) -> Instrument:
    return Instrument(
        id=InstrumentId(instrument),
        name=name,
        tick_size=Decimal(tick),
        tick_value_micros=int(Decimal(tick_value) * MICROS_PER_UNIT),
        currency="USD",
        mic=mic,
        calendar="CMES",
        session_open="18:00",
        session_close="17:00",
        time_zone="America/New_York",
        initial_margin_micros=margin * 11 // 10 * MICROS_PER_UNIT,
        maintenance_margin_micros=margin * MICROS_PER_UNIT,
        negative_prices=negative_prices,
    )


BUILT_IN: dict[InstrumentId, Instrument] = {
    contract.id: contract
    for contract in (
        _future("NQ", "E-mini Nasdaq-100", "0.25", "5", "XCME", 17_000),
        _future("MNQ", "Micro E-mini Nasdaq-100", "0.25", "0.5", "XCME", 1_700),
        _future("ES", "E-mini S&P 500", "0.25", "12.5", "XCME", 12_000),
        _future("MES", "Micro E-mini S&P 500", "0.25", "1.25", "XCME", 1_200),
        _future("CL", "WTI crude oil", "0.01", "10", "XNYM", 6_000, negative_prices=True),
        _future("MCL", "Micro WTI crude oil", "0.01", "1", "XNYM", 600, negative_prices=True),
        _future("GC", "Gold", "0.1", "10", "XCEC", 8_000),
        _future("6E", "Euro FX", "0.00005", "6.25", "XCME", 2_500),
        Instrument(
            id=InstrumentId("IF"),
            name="CSI 300 index future",
            tick_size=Decimal("0.2"),
            tick_value_micros=60 * MICROS_PER_UNIT,
            currency="CNY",
            mic="CCFX",
            calendar="XSHG",
            initial_margin_micros=180_000 * MICROS_PER_UNIT,
            maintenance_margin_micros=150_000 * MICROS_PER_UNIT,
        ),
        Instrument(
            id=InstrumentId("EURUSD"),
            name="EUR/USD spot",
            tick_size=Decimal("0.00001"),
            tick_value_micros=10_000,
            currency="USD",
            mic="XXXX",
            calendar="24/5",
            session_open="17:00",
            session_close="17:00",
            time_zone="America/New_York",
            kind=InstrumentKind.FX_SPOT,
            lot_size=Decimal(1000),
        ),
        Instrument(
            id=InstrumentId("BTCUSD"),
            name="BTC/USD spot",
            tick_size=Decimal("0.01"),
            tick_value_micros=10,
            currency="USD",
            mic="XXXX",
            calendar="24/7",
            kind=InstrumentKind.CRYPTO_SPOT,
            lot_size=Decimal("0.001"),
        ),
    )
}
"""The contracts known without a file. Tick sizes and values: the exchanges' contract specifications."""


class _InstrumentTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML file has no list at its top: its tables are named."""

    instrument: list[Instrument]


def load_instruments(path: Path) -> dict[InstrumentId, Instrument]:
    """Instruments of a JSON file (a list of objects with the fields of ``Instrument``) or a TOML one (tables ``[[instrument]]``), by id.

    Raises ``UsageError`` naming the file and the field where something is missing, unknown or impossible.
    """
    is_toml = path.suffix == ".toml"
    listed = (
        load_document(path, "instrument file", _InstrumentTables).instrument
        if is_toml
        else load_document(path, "instrument file", list[Instrument])
    )
    found = {instrument.id: instrument for instrument in listed}
    if len(found) != len(listed):
        raise UsageError(f"{path}: found an instrument id twice, expected each once")
    return found


def instrument_named(name: str, known: dict[InstrumentId, Instrument] | None = None) -> Instrument:
    """The instrument called ``name`` among ``known`` (the built-in ones by default)."""
    universe = BUILT_IN if known is None else known
    try:
        return universe[InstrumentId(name)]
    except KeyError:
        listed = ", ".join(universe)
        raise UsageError(
            f"found instrument {name!r}, expected one of: {listed}; others come from --instruments FILE"
        ) from None
