"""The settings of a run: one frozen tree, composed of the small types declared beside what they configure.

A settings file is JSON or TOML; ``--set a.b=c`` overrides one value. Unknown keys fail. The resolved tree is the first
input of every journal, and its hash stands on every report.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import MOST_RATE_MICROS, CashFlow, Command, CommandKind
from grandmodel.domain.files import is_text, load_document, path_text
from grandmodel.domain.instruments import MICROS_PER_UNIT
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, THIRTY_MINUTES_NS
from grandmodel.risk.settings import AccountLimits, BreakerSettings, RiskSettings, Thresholds, traders_of
from grandmodel.runtime.agent_time import AgentTimeSettings
from grandmodel.simulation.models import VenueSettings

MOST_CAPITAL_MICROS = 10**17
"""A hundred billions of the currency: sums of it and of every position's value stay inside 64 bits."""
_DEEPEST_KEY = 32


class Mode(enum.StrEnum):
    """How a run is meant."""

    BACKTEST = "backtest"
    """History through the engine; the journal does not wait for the disk."""
    PAPER = "paper"
    """A session against the simulated venue; the journal waits for the disk."""
    LIVE = "live"
    """Orders leave to a broker; the journal waits for the disk."""


class RollPolicy(enum.StrEnum):
    """What happens to a position when a continuous series changes contract, or its data is marked bad."""

    ROLL = "roll"
    """Close at the old contract's last price and open at the new one's first, with both fees; working orders are cancelled.
    Before a bad stretch the position is closed at the last good price, and nothing is traded until it ends."""
    IGNORE = "ignore"
    """Nothing: the step between contracts counts as profit or loss, and bad data is traded like any other. For comparison with
    systems that know no marks."""


SHORTEST_WIDTH_NS = 1_000_000
LONGEST_WIDTH_NS = 366 * NS_PER_DAY
"""Bars are kept from a millisecond to a year; beyond a session's length they end with the session."""


_BACKTEST_QUIET_MOMENTS = 1_024
_MOST_QUIET_MOMENTS = 65_536


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The account that a run trades."""

    capital_micros: int = 1_000_000 * MICROS_PER_UNIT
    """Starting cash, millionths of the base currency."""
    base_currency: str = "USD"
    """The currency that equity is counted in."""
    rates: dict[str, int] = {}
    """Millionths of the base currency per unit of each other currency."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent: a built-in kind, or ``module:Class`` for one of one's own; ``parameters`` go to its constructor."""

    kind: str = "moving_average_cross"
    """``moving_average_cross``, ``random``, ``buy_and_hold``, ``grandmodel`` (the learning agents), or ``module:Class``."""
    parameters: dict[str, Any] = {}
    """Keyword arguments of its constructor."""
    account: str | msgspec.UnsetType = msgspec.UNSET
    """The one of ``accounts`` that it trades for; needed where there are any."""


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a run is built from, apart from its data and its instruments."""

    mode: Mode = Mode.PAPER
    seed: int = 7
    """Of everything drawn in the run: latency, slippage, agents."""
    account: AccountSettings = AccountSettings()
    agents: tuple[AgentSettings, ...] = (AgentSettings(),)
    agent_time: AgentTimeSettings = AgentTimeSettings()
    venue: VenueSettings = VenueSettings()
    risk: RiskSettings = RiskSettings()
    accounts: dict[str, AccountLimits] | msgspec.UnsetType = msgspec.UNSET
    """Accounts below the run's own, by name: strategies and desks with limits of their own. Those that no other names as its parent trade, and
    each agent names its own; the capital of all of these is ``account.capital_micros``."""
    widths_ns: tuple[int, ...] = (FIVE_MINUTES_NS, THIRTY_MINUTES_NS)
    """Bar widths kept, ns, shortest first, each a multiple of the shortest. ``risk.var.width_ns`` must be one of them, and so must
    the width that an agent decides on."""
    mark_on_quotes: bool = False
    """Value positions at the middle of the quotes instead of the last trade; for feeds without trades."""
    rolls: RollPolicy = RollPolicy.ROLL
    trade_from_ns: int = -(2**63)
    """Before this time bars only warm the agents and the risk numbers up; their intents are not acted on."""
    quiet_moments: int | None = None
    """How many moments at which bars closed and nothing came of it share one record of the journal. None: 1 in paper and live trading,
    so that each has its own record at once; 1,024 in a backtest. Every moment and bar is in the journal either way."""
    wake_rules: bool = True
    """False: an agent with a wake rule is asked at every closed bar all the same. The run is the same, and slower."""

    @property
    def moments_a_record(self) -> int:
        """``quiet_moments``, as the mode has it where nothing is said."""
        if self.quiet_moments is not None:
            return self.quiet_moments
        return _BACKTEST_QUIET_MOMENTS if self.mode is Mode.BACKTEST else 1

    def __post_init__(self) -> None:
        """Refuse what no run can begin with."""
        if self.quiet_moments is not None and not 0 < self.quiet_moments <= _MOST_QUIET_MOMENTS:
            raise UsageError(
                f"quiet_moments: found {self.quiet_moments}, expected 1 to {_MOST_QUIET_MOMENTS} moments in one record"
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed: found {self.seed}, expected 0 to 2^63 - 1")
        widths = list(self.widths_ns)
        if not widths or not all(SHORTEST_WIDTH_NS <= width <= LONGEST_WIDTH_NS for width in widths):
            raise UsageError(
                f"widths_ns: found {widths}, expected at least one bar width of {SHORTEST_WIDTH_NS} (a millisecond) to "
                f"{LONGEST_WIDTH_NS} ns (a year)"
            )
        if sorted(set(widths)) != widths or any(width % widths[0] for width in widths):
            raise UsageError(
                f"widths_ns: found {widths}, expected each once, shortest first, each a multiple of the shortest, in ns"
            )
        if not 0 < self.account.capital_micros <= MOST_CAPITAL_MICROS:
            raise UsageError(
                f"account.capital_micros: found {self.account.capital_micros}, expected 1 to {MOST_CAPITAL_MICROS} (millionths "
                "of the base currency)"
            )
        self._check_accounts()
        for currency, rate in self.account.rates.items():
            if not 0 < rate <= MOST_RATE_MICROS:
                raise UsageError(
                    f"account.rates.{currency}: found {rate}, expected 1 to {MOST_RATE_MICROS} (millionths of the base currency "
                    "per unit)"
                )

    @property
    def traders(self) -> tuple[str, ...]:
        """Names of the accounts that trade: the run's own, which has the empty one, or those of ``accounts`` that no other names as its parent."""
        return traders_of(self.accounts or {}) or ("",)

    def _check_accounts(self) -> None:
        """Every agent trades for one of the accounts that trade, where there are any."""
        for place, agent in enumerate(self.agents):
            if (agent.account or "") not in self.traders:
                known = f"one of {', '.join(self.traders)}" if self.accounts else "none: the run names no accounts"
                raise UsageError(f"agents.{place}.account: found {agent.account or 'none'}, expected {known}")


def expected_account(given: Command | CashFlow, settings: RunSettings) -> str:
    """Which account ``given`` should name in a run of ``settings``; empty where the one that it names is right.

    A command is about any account of the run and all below it, or about the run; STOP about the run only, since the agents stop all at once.
    Cash is booked in one that trades.
    """
    accounts, named = settings.accounts or {}, given.account
    if isinstance(given, CashFlow):
        is_right, known = named in settings.traders, ", ".join(settings.traders)
    else:
        is_right, known = not named or named in accounts, f"{', '.join(accounts)}, or none for all"
        if named in accounts and given.kind is CommandKind.STOP:
            return "none: the agents stop all at once"
    if is_right:
        return ""
    return f"one of {known}" if accounts else "none: the run names no accounts"


_VENUE_KINDS = {"fees": "per_lot", "latency": "constant", "slippage": "fixed"}
"""The model that is meant where settings give a model's values without naming it."""


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> RunSettings:
    """The settings of ``path`` (the defaults where None) with each ``a.b=value`` of ``overrides`` applied.

    Raises ``UsageError`` naming the key that is unknown or of the wrong kind.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = load_document(path, "settings file", dict[str, Any])
    for override in overrides:
        _set(tree, override)
    _check_whole_numbers(tree)
    risk = tree.get("risk")
    _keep_thresholds(risk, "risk")
    _keep_limits(risk)
    _keep_for_accounts(tree.get("accounts"), risk if isinstance(risk, dict) else {})
    venue = tree.get("venue")
    if isinstance(venue, dict):
        for part, kind in _VENUE_KINDS.items():
            if isinstance(venue.get(part), dict):
                venue[part].setdefault("type", kind)
    try:
        return msgspec.convert(tree, RunSettings)
    except (msgspec.ValidationError, RecursionError) as error:
        raise UsageError(f"settings: {error}") from error


def _check_whole_numbers(tree: dict[str, Any]) -> None:
    """Refuse what the engine's 64-bit counts cannot hold, and groups nested without end; names the key."""
    waiting: list[tuple[str, object]] = [("", tree)]
    while waiting:
        name, value = waiting.pop()
        if name.count(".") > _DEEPEST_KEY:
            raise UsageError(
                f"settings: {name[:60]}...: found groups nested deeper than {_DEEPEST_KEY}, expected a few levels"
            )
        if isinstance(value, dict):
            waiting.extend((f"{name}.{key}" if name else str(key), part) for key, part in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{name}.{place}", part) for place, part in enumerate(value))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UsageError(f"settings: {name}: found {value}, expected a whole number of 64 bits (-2^63 to 2^63 - 1)")


def _keep_for_accounts(accounts: Any, risk: dict[str, Any]) -> None:
    """Of an account's limits that are named in part, the others are those of the run."""
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        _keep_thresholds(account, f"accounts.{name}")
        for group in ("limits", "portfolio", "flow", "breakers"):
            own, common = account.get(group), risk.get(group)
            if isinstance(own, dict) and isinstance(common, dict):
                account[group] = common | own
        _keep_limits({"limits": risk.get("limits")} | account)


def _keep_thresholds(risk: Any, where: str) -> None:
    """A breaker of which only some steps are named keeps its defaults at the others: naming one never switches another off."""
    named = risk.get("breakers") if isinstance(risk, dict) else None
    if not isinstance(named, dict):
        return
    usual = msgspec.to_builtins(BreakerSettings())
    for trigger, steps in named.items():
        if isinstance(steps, dict) and isinstance(usual.get(trigger), dict):
            named[trigger] = usual[trigger] | steps
            try:
                msgspec.convert(named[trigger], Thresholds)
            except UsageError as error:
                raise UsageError(
                    f"{where}.breakers.{trigger}: {error}; a step that is not named keeps its default"
                ) from error
            except msgspec.ValidationError:
                continue  # Told with its place where the whole tree is read.


def _keep_limits(risk: Any) -> None:
    """An instrument of which only some limits are named has the others of ``limits``, as every other instrument has."""
    common, own = (risk.get("limits"), risk.get("instruments")) if isinstance(risk, dict) else (None, None)
    if isinstance(common, dict) and isinstance(own, dict):
        for name, limits in own.items():
            if isinstance(limits, dict):
                own[name] = common | limits


def changed(settings: RunSettings, changes: Mapping[str, object]) -> RunSettings:
    """``settings`` with ``changes`` (top-level names) applied."""
    return msgspec.structs.replace(settings, **changes)


def settings_hash(settings: RunSettings) -> str:
    """The hash of the resolved tree; equal trees give equal hashes."""
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:16]


def _set(tree: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise UsageError(f"--set {override}: expected name=value, such as --set account.capital_micros=500000000000")
    if not is_text(override):
        raise UsageError(f"--set {path_text(override)}: found bytes that are no text, expected name=value")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = text
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and "." not in text:
        value = int(value)  # 5e11 is a whole number of millionths.
    *path, last = name.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {override}: {key} holds a value, expected a group of settings")
    tree[last] = value
