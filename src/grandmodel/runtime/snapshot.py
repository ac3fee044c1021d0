"""A whole engine as bytes, and back: the run goes on from a snapshot exactly as it would have gone on without it.

The market step's memory is plain arrays and is copied; ledger, open orders, risk, agents and features say for themselves what
they must remember. A snapshot fits only an engine built from the same beginning (settings, instruments, sessions).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from grandmodel.domain.errors import UsageError
from grandmodel.domain.orders import Order, ReplaceOrder, Tag
from grandmodel.runtime.engine import Engine

_FORMAT = 5


class _SavedEngine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    format: int
    arrays: dict[str, tuple[int, bytes]]
    rows_before: int
    ledgers: list[tuple[list[str], bytes, bytes, list[str], int]]
    lives: tuple[bytes, bytes, bytes, list[Order], list[ReplaceOrder], list[Tag]]
    exchange: tuple[str, int]
    gates: dict[str, bytes]
    """By the name of the account, each after the one above it."""
    agents: list[tuple[str, bytes]]
    features: bytes
    counters: tuple[int, int, int, int, bool]
    quiet: tuple[list[int], bytes, list[bytes]]


def save_engine(engine: Engine) -> bytes:
    """Everything that the next step depends on."""
    market = engine.market
    saved = _SavedEngine(
        format=_FORMAT,
        arrays=market.saved(),
        rows_before=market.rows_before,
        ledgers=[trader.ledger.save() for trader in engine.books.accounts],
        lives=engine.lives.save(),
        exchange=(_generator_text(engine.exchange.generator_state()), engine.exchange.last_order_id),
        gates={name: gate.save() for name, gate in engine.books.gates.items()},
        agents=[(_generator_text(agent.generator.bit_generator.state), agent.save()) for agent in engine.asking.agents],
        features=engine.features.save() if engine.features is not None else b"",
        counters=engine.counters(),
        quiet=engine.quiet.save(),
    )
    return msgspec.msgpack.encode(saved)


def restore_engine(engine: Engine, data: bytes) -> None:
    """Bring a fresh ``engine`` to where ``save_engine`` found another of the same beginning.

    Raises ``UsageError`` where the snapshot does not fit this engine.
    """
    try:
        saved = msgspec.msgpack.decode(data, type=_SavedEngine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"snapshot: not one of this version: {error}") from error
    if (
        saved.format != _FORMAT
        or saved.arrays["instruments"][0] != len(engine.market.instruments)
        or list(saved.gates) != list(engine.books.gates)
        or len(saved.agents) != len(engine.asking.agents)
    ):
        raise UsageError(
            f"snapshot: found format {saved.format}, {saved.arrays['instruments'][0]} rows of instruments, {len(saved.gates)} accounts and "
            f"{len(saved.agents)} agents, expected {_FORMAT}, {len(engine.market.instruments)}, {len(engine.books.gates)} and "
            f"{len(engine.asking.agents)}: restore it into the run that it was taken from"
        )
    market = engine.market
    market.restore(saved.arrays, saved.rows_before)
    for trader, ledger in zip(engine.books.accounts, saved.ledgers, strict=True):
        trader.ledger.restore(ledger)
    engine.lives.restore(saved.lives)
    text, last_order_id = saved.exchange
    engine.exchange.restore_generator(_generator_state(text))
    engine.exchange.last_order_id = last_order_id
    for name, gate in engine.books.gates.items():
        gate.restore(saved.gates[name])
    for agent, (generator, state) in zip(engine.asking.agents, saved.agents, strict=True):
        agent.generator.bit_generator.state = _generator_state(generator)
        agent.restore(state)
    if engine.features is not None:
        engine.features.restore(saved.features)
    engine.restore_counters(saved.counters)
    engine.quiet.restore(saved.quiet)


def _generator_text(state: Any) -> str:
    """A bit generator's state as JSON: its numbers are larger than 64 bits."""
    return json.dumps(state)


def _generator_state(text: str) -> dict[str, object]:
    state: dict[str, object] = json.loads(text)
    return state
