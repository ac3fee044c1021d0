"""What the networks are, as plain data: which agents there are, what each sees, and how wide its layers are.

Training builds torch modules from it, the runtime builds compiled inference from it, and a model file carries it, so all three
mean the same network. Every layer is an ordinary linear one:

    window (R, C), normalised, oldest row first
    -> patches of p1 rows, flattened:  (R / p1, p1 C)        linear w1, ReLU
    -> patches of p2 of those:         (R / p1 / p2, p2 w1)  linear w2, ReLU
    -> all of it, flattened                                  linear F, ReLU      = the features of the window
    -> dropout (kept features are divided by the share kept)
    -> an agent's head: [features, tail] -> linear H, ReLU -> linear K logits;  with H = 0: features, tail -> linear K

The strategic Coordinator has no window: its head takes the other agents' beliefs and its tail, and its softmax is the weights.
Weights are named ``{trunk}.patch1.weight`` (out, in), ``.bias``, then ``patch2``, ``features``; ``{agent}.hidden``, ``{agent}.logits``.
"""

from __future__ import annotations

import msgspec

from grandmodel.features.schema import AGENT_COLUMNS, STRATEGIC_SCHEMA, TACTICAL_SCHEMA, TIME_COLUMNS
from grandmodel.models.errors import ModelError

BELIEF = ("bullish", "neutral", "bearish")
"""The order of a belief's three numbers, everywhere."""
DIRECTIONS = (1, 0, -1)
"""What each entry of a belief means as a direction."""

STRATEGIC_AGENTS = tuple(AGENT_COLUMNS)
"""The agents with a belief, in order: whoever has columns in ``features.schema``."""
COORDINATOR = "coordinator"
TACTICAL_STANCES = ("enter", "hold", "exit")
RISK_SCALES = (0.0, 0.5, 1.0)
"""Share of the strategic position that the Risk agent allows."""
STOP_SCALES = (8.0, 16.0)
"""Distance of the protective stop, in deviations of one 5-minute move."""
RISK_ACTIONS = tuple(f"scale {scale:g} stop {stop:g}" for scale in RISK_SCALES for stop in STOP_SCALES)
EXECUTION_ACTIONS = ("wait", "passive", "aggressive", "slice")
TACTICAL_ACTIONS = {"tactical": TACTICAL_STANCES, "risk": RISK_ACTIONS, "execution": EXECUTION_ACTIONS}

STRATEGIC_TAIL = (
    "time_of_day",
    "day_of_week",
    "position",
    "unrealised",
    "drawdown",
    "day_result",
    "shortfall",
    "bars_held",
    "relative_scale",
)
"""What the Coordinator sees besides beliefs, in order; ``environments`` and the decision engine compute them by one function.

Newest row's two time columns; lots held over the lots of full exposure; open profit over one horizon's risk; fall from the peak
and loss of the day over their limits; lots asked for but not yet held, over full exposure (what the tactical layer left undone);
bars since the position last changed over 48; the scale of moves over its own mean."""
TACTICAL_TAIL = (
    "exposure",
    "exposure_age",
    "position",
    "gap",
    "unrealised",
    "drawdown",
    "day_result",
    "bars_held",
    "working",
)
"""What all three tactical agents see besides the window: strategic exposure and its age (5-minute bars over 6), lots held over full
exposure, exposure less position, open profit over one horizon's risk, drawdown and day's loss over their limits, bars since the
position changed over 60, and 1 while an order rests."""


class TrunkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The temporal encoder of one window."""

    name: str
    columns: tuple[int, ...]
    """Columns of the matrix that it sees, in this order."""
    rows: int
    patches: tuple[int, int]
    widths: tuple[int, int] = (16, 32)
    features: int = 32

    def __post_init__(self) -> None:
        p1, p2 = self.patches
        if self.rows % (p1 * p2):
            raise ModelError(
                f"trunk {self.name}: found patches {self.patches} of {self.rows} rows, expected a whole number of them"
            )
        if self.features != 32:
            raise ModelError(
                f"trunk {self.name}: found {self.features} features, expected 32: one bit each in a dropout mask"
            )

    @property
    def inputs(self) -> int:
        """Numbers in its window."""
        return self.rows * len(self.columns)

    def layers(self) -> tuple[tuple[str, int, int], ...]:
        """(name, inputs, outputs) of its linear layers."""
        p1, p2 = self.patches
        w1, w2 = self.widths
        return (
            ("patch1", p1 * len(self.columns), w1),
            ("patch2", p2 * w1, w2),
            ("features", self.rows // (p1 * p2) * w2, self.features),
        )


class HeadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent's head."""

    agent: str
    trunk: str
    """Name of the trunk whose features it takes; empty for the Coordinator, who takes beliefs."""
    tail: int
    """Numbers that it sees besides."""
    hidden: int
    """Width of its hidden layer; 0 for none."""
    actions: tuple[str, ...]

    def layers(self, inputs: int) -> tuple[tuple[str, int, int], ...]:
        """(name, inputs, outputs) of its linear layers, for ``inputs`` features or beliefs before the tail."""
        width = inputs + self.tail
        if not self.hidden:
            return (("logits", width, len(self.actions)),)
        return (("hidden", width, self.hidden), ("logits", self.hidden, len(self.actions)))


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer's networks."""

    layer: str
    trunks: tuple[TrunkSpec, ...]
    heads: tuple[HeadSpec, ...]
    """In the order of the environment's agents."""
    dropout: float = 0.25
    """Share of the features that is dropped: 0.25 or 0.5, which masks of whole bits can do."""

    def __post_init__(self) -> None:
        if self.dropout not in (0.25, 0.5):
            raise ModelError(f"architecture: found dropout {self.dropout}, expected 0.25 or 0.5")

    def trunk(self, name: str) -> TrunkSpec:
        """The trunk called ``name``."""
        return next(trunk for trunk in self.trunks if trunk.name == name)

    def head_inputs(self, head: HeadSpec) -> int:
        """Features, or beliefs, that ``head`` takes before its tail."""
        if head.trunk:
            return self.trunk(head.trunk).features
        return len(BELIEF) * sum(1 for other in self.heads if other.trunk)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of a model file, by name, with its shape."""
        found: dict[str, tuple[int, ...]] = {}
        parts = [(trunk.name, trunk.layers()) for trunk in self.trunks]
        parts += [(head.agent, head.layers(self.head_inputs(head))) for head in self.heads]
        for owner, layers in parts:
            for name, inputs, outputs in layers:
                found[f"{owner}.{name}.weight"] = (outputs, inputs)
                found[f"{owner}.{name}.bias"] = (outputs,)
        return found


def strategic_architecture() -> Architecture:
    """The four strategic agents: three trunks, each with a belief, and the Coordinator."""
    trunks = tuple(
        TrunkSpec(
            name=f"{agent}_trunk",
            columns=(*AGENT_COLUMNS[agent], *TIME_COLUMNS),
            rows=STRATEGIC_SCHEMA.rows,
            patches=(4, 3),
        )
        for agent in STRATEGIC_AGENTS
    )
    heads = tuple(
        HeadSpec(agent=agent, trunk=f"{agent}_trunk", tail=0, hidden=0, actions=BELIEF) for agent in STRATEGIC_AGENTS
    )
    coordinator = HeadSpec(agent=COORDINATOR, trunk="", tail=len(STRATEGIC_TAIL), hidden=16, actions=STRATEGIC_AGENTS)
    return Architecture(layer="strategic", trunks=trunks, heads=(*heads, coordinator))


def tactical_architecture() -> Architecture:
    """The three tactical agents: one trunk that they share, and a head each."""
    trunk = TrunkSpec(
        name="trunk", columns=tuple(range(len(TACTICAL_SCHEMA.columns))), rows=TACTICAL_SCHEMA.rows, patches=(5, 3)
    )
    heads = tuple(
        HeadSpec(agent=agent, trunk=trunk.name, tail=len(TACTICAL_TAIL), hidden=32, actions=actions)
        for agent, actions in TACTICAL_ACTIONS.items()
    )
    return Architecture(layer="tactical", trunks=(trunk,), heads=heads)
