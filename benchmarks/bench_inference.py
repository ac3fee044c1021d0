"""Decisions: one of each layer with 1,000 dropout samples, and many at once, beside the same networks in torch and onnxruntime.

Paths, units and what a regression means:

- ``strategic decision``, ``tactical decision``: from the raw window to every number that the decision carries, microseconds of CPU
  time; every 30- and 5-minute close of every instrument waits for one, and a backtest takes one a bar.
- ``tactical layer``: the same close as the engine's agent meets it: the bar's features into their window, novelty, the networks, and the
  lots, urgency and reasons that follow; microseconds of CPU time, no peer.
- ``strategic batch``, ``tactical batch``: windows a CPU second, without dropout, from raw windows to collapsed beliefs, purity and
  entropy; what evaluation and hyper-parameter search wait for.

torch runs the same weights under ``inference_mode`` with one thread, onnxruntime the graph exported from that torch module, one
thread too. To their favour, both get the dropout masks ready made, as floats, and stop at rho: its eigenvalues, purity and entropy
are in our time alone. Before anything is timed, all numbers of both must equal ours within 1e-5 (the rest by numpy from their rho).
Windows and weights are random, as no figure depends on what a model has learnt; ``tests/unit/models/test_inference.py`` holds real bars
to the same bound.

    python benchmarks/bench_inference.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch
from torch import nn

from grandmodel.domain.agents import Account, Standing
from grandmodel.domain.decisions import NoDecision
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import Order
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.features import TacticalState
from grandmodel.features.normaliser import LIMIT, NormaliserData
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.models.architecture import strategic_architecture, tactical_architecture
from grandmodel.models.dropout import fill_masks
from grandmodel.models.inference import SAMPLES, CompiledModel
from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import DataSpan, DataSpans, Model, ModelManifest, model_bytes, model_from_bytes
from grandmodel.models.novelty import Novelty, fit_novelty, window_statistics
from grandmodel.tactical.agent import TacticalLayer
from grandmodel.tactical.decision import TacticalSettings

CLOSE = 1e-5
KINDS = {"strategic": (STRATEGIC_SCHEMA, strategic_architecture), "tactical": (TACTICAL_SCHEMA, tactical_architecture)}


@dataclass(frozen=True)
class Figure:
    """One path's cost, ours and the peers'."""

    path: str
    unit: str
    ours: float
    ours_p99: float | None
    torch: float | None
    onnxruntime: float | None
    aim: float
    """What is to be reached; the batches, besides, twice the better of the peers."""
    torch_over_ours: float | None
    """How many times our CPU time torch takes, as the next one."""
    onnxruntime_over_ours: float | None


def random_model(layer: str) -> tuple[CompiledModel, dict[str, np.ndarray]]:
    """A model of random weights, compiled, and these."""
    model, weights = random_file(layer)
    return CompiledModel(model), weights


def random_file(layer: str, novelty: Novelty | None = None) -> tuple[Model, dict[str, np.ndarray]]:
    """A model of random weights for NQ, and these; its logits are of the size of 1."""
    schema, make = KINDS[layer]
    architecture, generator, columns = make(), np.random.default_rng(0), len(schema.columns)
    weights = {
        name: (1.4 * generator.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in architecture.shapes().items()
    }
    normaliser = NormaliserData(
        schema_hash=schema.hash,
        centre=tuple(generator.normal(size=columns).tolist()),
        scale=tuple(generator.uniform(0.5, 2.0, size=columns).tolist()),
        train_from_ns=0,
        train_to_ns=1,
        rows=1_000,
    )
    manifest = ModelManifest(
        layer=layer,
        architecture=architecture,
        schema_hash=schema.hash,
        volume="known",
        normaliser=normaliser,
        horizon_bars=8,
        scale_decay=0.985,
        mean_scale={"NQ": 30.0},
        novelty={} if novelty is None else msgspec.to_builtins(novelty.parameters),
        data=DataSpans(instruments=("NQ",), train=DataSpan(start_ns=0, end_ns=1)),
        seeds=(0,),
        settings={},
        code_version="benchmark",
        metrics={},
    )
    measured = {} if novelty is None else {f"novelty.{name}": one for name, one in novelty.tensors().items()}
    return model_from_bytes(model_bytes(manifest, weights | measured), layer), weights


class Networks(nn.Module):
    """The networks of a layer in torch, from raw windows: what one writes who serves a model with torch."""

    def __init__(self, model: CompiledModel, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.architecture, normaliser = model.architecture, model.manifest.normaliser
        self.register_buffer("centre", torch.tensor(normaliser.centre, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(normaliser.scale, dtype=torch.float64))
        self.layers = nn.ModuleDict()
        for name, shape in self.architecture.shapes().items():
            if name.endswith(".weight"):
                owner, layer = name.removesuffix(".weight"), nn.Linear(shape[1], shape[0])
                layer.weight.data, layer.bias.data = torch.tensor(weights[name]), torch.tensor(weights[f"{owner}.bias"])
                self.layers[owner.replace(".", "/")] = layer
        for trunk in self.architecture.trunks:
            self.register_buffer(f"columns_{trunk.name}", torch.tensor(trunk.columns))

    def features(self, windows: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, R, C) raw -> {trunk: (N, 32)}."""
        rows = ((windows - self.centre) / self.scale).clamp(-LIMIT, LIMIT).float()
        found = {}
        for trunk in self.architecture.trunks:
            p1, p2 = trunk.patches
            seen = rows.index_select(2, getattr(self, f"columns_{trunk.name}"))
            seen = seen.reshape(-1, trunk.rows // p1, p1 * len(trunk.columns))
            seen = self.layers[f"{trunk.name}/patch1"](seen).relu()
            seen = seen.reshape(-1, trunk.rows // (p1 * p2), p2 * trunk.widths[0])
            seen = self.layers[f"{trunk.name}/patch2"](seen).relu()
            seen = seen.reshape(-1, trunk.rows // (p1 * p2) * trunk.widths[1])
            found[trunk.name] = self.layers[f"{trunk.name}/features"](seen).relu()
        return found

    def head(self, agent: str, seen: torch.Tensor) -> torch.Tensor:
        """(N, inputs) -> (N, K) probabilities."""
        if f"{agent}/hidden" in self.layers:
            seen = self.layers[f"{agent}/hidden"](seen).relu()
        return self.layers[f"{agent}/logits"](seen).softmax(-1)


def entropy(p: torch.Tensor) -> torch.Tensor:
    """Mean entropy of distributions (..., K)."""
    return -(p * p.clamp_min(1e-30).log()).sum(-1).mean()


def state(beliefs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The state rho (N, 3, 3) of beliefs (N, A, 3) and weights (N, A)."""
    psi = beliefs.sqrt()
    return torch.einsum("na,nai,naj->nij", weights, psi, psi)


class StrategicDecision(Networks):
    """One window with ready masks (A, S, 32): beliefs, weights, rho, predictive and expected entropy."""

    def forward(self, window: torch.Tensor, tail: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``window`` (1, R, C), ``tail`` (1, T)."""
        features, samples, points = self.features(window), [], []
        for place, head in enumerate(self.architecture.heads[:-1]):
            seen = features[head.trunk]
            points.append(self.head(head.agent, seen))
            samples.append(self.head(head.agent, seen * masks[place] / (1.0 - self.architecture.dropout)))
        drawn = torch.stack(samples)  # (A, S, 3)
        beliefs = drawn.mean(1)
        weights = self.head("coordinator", torch.cat([beliefs.reshape(1, -1), tail], 1))
        collapsed = torch.einsum("a,ask->sk", weights[0], drawn)
        rho = state(beliefs[None], weights)
        return beliefs, torch.cat(points), weights, rho, entropy(collapsed.mean(0)), entropy(collapsed)


class TacticalDecision(Networks):
    """One window with ready masks (1, S, 32): three distributions, rho, predictive and expected entropy of the first."""

    def forward(self, window: torch.Tensor, tail: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``window`` (1, R, C), ``tail`` (1, T)."""
        seen = self.features(window)["trunk"]
        kept = seen * masks[0] / (1.0 - self.architecture.dropout)
        drawn = self.head("tactical", torch.cat([kept, tail.expand(kept.shape[0], -1)], 1))
        whole = torch.cat([seen, tail], 1)
        point, risk, execution = (self.head(agent, whole) for agent in ("tactical", "risk", "execution"))
        own = drawn.mean(0, keepdim=True)
        rho = state(stances(own, risk, execution), torch.full((1, 3), 1 / 3))
        return own, point, risk, execution, rho, entropy(own), entropy(drawn)


class StrategicBatch(Networks):
    """Many windows, no dropout: beliefs, weights and rho."""

    def forward(self, windows: torch.Tensor, tails: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``windows`` (N, R, C), ``tails`` (N, T)."""
        features = self.features(windows)
        beliefs = torch.stack([self.head(h.agent, features[h.trunk]) for h in self.architecture.heads[:-1]], 1)
        weights = self.head("coordinator", torch.cat([beliefs.flatten(1), tails], 1))
        return beliefs, weights, state(beliefs, weights)


class TacticalBatch(Networks):
    """Many windows, no dropout: stances and rho."""

    def forward(self, windows: torch.Tensor, tails: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``windows`` (N, R, C), ``tails`` (N, T)."""
        whole = torch.cat([self.features(windows)["trunk"], tails], 1)
        joint = stances(*(self.head(agent, whole) for agent in ("tactical", "risk", "execution")))
        return joint, state(joint, torch.full_like(joint[:, :, 0], 1 / 3))


def stances(tactical: torch.Tensor, risk: torch.Tensor, execution: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3) what the agents lean to: ``superposition.tactical_stances`` in torch."""
    by_scale = risk.reshape(-1, 3, 2).sum(-1).flip(-1)
    wait = execution[:, :1]
    return torch.stack([tactical, by_scale, torch.cat([1.0 - wait, wait, torch.zeros_like(wait)], 1)], 1)


class OnnxPeer:
    """A torch module as an onnxruntime session with one thread."""

    def __init__(self, module: Networks, inputs: tuple[torch.Tensor, ...], *, batched: bool) -> None:
        names = ["windows", "tails", "masks"][: len(inputs)]
        axes = {name: {0: "n"} for name in names} if batched else None
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, inputs, file, dynamo=False, input_names=names, dynamic_axes=axes)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        self.names = [one.name for one in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """All outputs."""
        return self.session.run(None, dict(zip(self.names, inputs, strict=False)))


def joint_numbers(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Purity and von Neumann entropy of (N, 3, 3)."""
    found = np.maximum(np.linalg.eigvalsh(rho), 1e-30)
    return (rho**2).sum((1, 2)), -(found * np.log(found)).sum(-1)


def check(name: str, ours: Any, theirs: Any) -> None:
    """Stop where two answers differ by more than 1e-5."""
    ours, theirs = np.asarray(ours, np.float64).ravel(), np.asarray(theirs, np.float64).ravel()
    if ours.shape != theirs.shape or not np.abs(ours - theirs).max() <= CLOSE:
        raise SystemExit(f"{name}: ours {ours[:6]} and the peer's {theirs[:6]} differ by more than {CLOSE}")


def windows_of(layer: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random raw windows and tails."""
    schema, _ = KINDS[layer]
    generator = np.random.default_rng(1)
    windows = 2.0 * generator.standard_t(4, size=(count, schema.rows, len(schema.columns)))
    return windows, generator.uniform(-2, 2, size=(count, 9)).astype(np.float32)


def masks_of(model: CompiledModel, seed: int) -> np.ndarray:
    """The masks that the decision with ``seed`` draws, as floats (A, S, 32)."""
    agents = len(model.agents) if model.architecture.layer == "strategic" else 1
    found = np.empty((agents, SAMPLES), np.uint32)
    for place in range(agents):
        fill_masks(np.uint64(seed), np.uint64(place), model.architecture.dropout, found[place])
    return ((found[..., None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float32)


def timed(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of the CPU seconds of ``call``."""
    call()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 20:
        start = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - start) / 1e9)
    return float(np.median(times)), float(np.quantile(times, 0.99))


def bench_decision(layer: str, aim_us: float, seconds: float) -> Figure:
    """One decision with 1,000 samples."""
    model, weights = random_model(layer)
    peer = (StrategicDecision if layer == "strategic" else TacticalDecision)(model, weights).eval()
    windows, tails = windows_of(layer, 20)
    decide = model.strategic if layer == "strategic" else model.tactical

    def arguments(number: int) -> tuple[torch.Tensor, ...]:
        masks = masks_of(model, number)
        return torch.tensor(windows[[number]]), torch.tensor(tails[[number]]), torch.tensor(masks)

    with torch.inference_mode():
        session = OnnxPeer(peer, arguments(0), batched=False)
        for number in range(len(windows)):
            ours, seen = decide(windows[number], tails[number], number), arguments(number)
            for found in ([one.numpy() for one in peer(*seen)], session(*(one.numpy() for one in seen))):
                *distributions, rho, predictive, expected = found
                if layer == "strategic":
                    mine = [ours.beliefs, ours.point_beliefs, ours.weights]
                else:
                    mine = [ours.distributions[0], ours.point_stance, *ours.distributions[1:]]
                for own, theirs in zip(mine, distributions, strict=True):
                    check(layer, own, theirs)
                purity, mixed = joint_numbers(rho)
                check(
                    layer,
                    [ours.purity, ours.predictive_entropy, ours.expected_entropy],
                    [purity[0], predictive, expected],
                )
                # The entropy's slope is infinite where an eigenvalue is 0: float32 there is worth a digit less.
                check(layer, ours.entropy / 10.0, mixed[0] / 10.0)
        window, tail, seen = windows[0], tails[0], arguments(0)
        given = [one.numpy() for one in seen]
        ours = timed(lambda: decide(window, tail, 7), seconds)
        by_torch = timed(lambda: peer(*seen), seconds)
        by_onnx = timed(lambda: session(*given), seconds)
    return Figure(
        path=f"{layer} decision, {SAMPLES} samples",
        unit="us",
        ours=ours[0] * 1e6,
        ours_p99=ours[1] * 1e6,
        torch=by_torch[0] * 1e6,
        onnxruntime=by_onnx[0] * 1e6,
        aim=aim_us,
        torch_over_ours=by_torch[0] / ours[0],
        onnxruntime_over_ours=by_onnx[0] / ours[0],
    )


class FlatAccount(Account):
    """An account without a position that shows the tactical window of ``state``."""

    equity_micros = 10**13

    def __init__(self, state: TacticalState) -> None:
        self.state = state

    def lots(self, instrument: InstrumentId) -> int:
        """Nothing."""
        return 0

    def working(self, instrument: InstrumentId) -> list[Order]:
        """Nothing."""
        return []

    def tactical_window(self, instrument: InstrumentId) -> np.ndarray:
        """The newest rows."""
        return self.state.window


def bench_tactical_layer(aim_us: float, seconds: float) -> Figure:
    """What a 5-minute close costs the tactical layer, features included."""
    generator, name = np.random.default_rng(2), InstrumentId("NQ")
    closes = 80_000 + np.cumsum(generator.integers(-20, 21, 20_000))
    reach = generator.integers(1, 20, (2, len(closes)))
    bars = [
        ClosedBar(
            instrument=name,
            width_ns=FIVE_MINUTES_NS,
            ts_open=number * FIVE_MINUTES_NS,
            ts_event=(number + 1) * FIVE_MINUTES_NS,
            open=close,
            high=close + up,
            low=close - down,
            close=close,
            volume=10 + number % 7,
        )
        for number, (close, up, down) in enumerate(zip(closes.tolist(), *reach.tolist(), strict=True))
    ]

    def row(bar: ClosedBar) -> np.ndarray:
        prices = (0.25 * price for price in (bar.open, bar.high, bar.low, bar.close))
        return state.update(*prices, float(bar.volume), bar.ts_event)

    state, columns = TacticalState(), tuple(range(len(TACTICAL_SCHEMA.columns)))
    rows = np.array([row(bar).copy() for bar in bars])
    places = np.arange(200, len(rows))
    statistics = window_statistics(rows, places, TACTICAL_SCHEMA.rows, np.array(columns))
    model, _ = random_file(
        "tactical", fit_novelty(statistics, places, window_rows=TACTICAL_SCHEMA.rows, columns=columns)
    )
    layer = TacticalLayer([name], LoadedModel(model, "random"), TacticalSettings(), seed=1)
    standing = Standing(
        open_profit_micros=0,
        tick_value_micros=5e6,
        drawdown=0.01,
        drawdown_limit=0.08,
        day_loss=0.0,
        day_loss_limit=0.02,
        size_scale=1.0,
        peak_micros=10**13,
        day_start_micros=10**13,
    )
    state = TacticalState()
    account, times, end = FlatAccount(state), [], None
    for number, bar in enumerate(bars):
        start = time.process_time_ns()
        row(bar)
        decided, _ = layer.on_bar(bar, account, standing, 0.5, (number - 2) * FIVE_MINUTES_NS)
        if not isinstance(decided, NoDecision):
            times.append((time.process_time_ns() - start) / 1e9)
            end = end or time.monotonic() + seconds
        if end is not None and time.monotonic() > end:
            break
    return Figure(
        path="tactical layer, all of a close",
        unit="us",
        ours=float(np.median(times)) * 1e6,
        ours_p99=float(np.quantile(times, 0.99)) * 1e6,
        torch=None,
        onnxruntime=None,
        aim=aim_us,
        torch_over_ours=None,
        onnxruntime_over_ours=None,
    )


def bench_batch(layer: str, aim: float, seconds: float) -> Figure:
    """Many windows, no dropout; each is given the block size that suits it best."""
    model, weights = random_model(layer)
    peer = (StrategicBatch if layer == "strategic" else TacticalBatch)(model, weights).eval()
    windows, tails = windows_of(layer, 4_096)
    with torch.inference_mode():
        seen = torch.tensor(windows), torch.tensor(tails)
        session = OnnxPeer(peer, (seen[0][:8], seen[1][:8]), batched=True)
        ours = model.decide_batch(windows, tails)
        for found in ([one.numpy() for one in peer(*seen)], session(windows, tails)):
            check(layer, ours.beliefs, found[0])
            purity, _ = joint_numbers(found[-1])
            check(layer, ours.purity, purity)
        count = len(windows)
        mine = timed(lambda: model.decide_batch(windows, tails), seconds)[0]
        by_torch, by_onnx = [], []
        for block in (256, 1_024, 4_096):
            parts = [slice(start, start + block) for start in range(0, count, block)]
            by_torch.append(timed(lambda p=parts: [peer(seen[0][s], seen[1][s]) for s in p], seconds / 3)[0])
            by_onnx.append(timed(lambda p=parts: [session(windows[s], tails[s]) for s in p], seconds / 3)[0])
    return Figure(
        path=f"{layer} batch of {count}",
        unit="decisions/s",
        ours=count / mine,
        ours_p99=None,
        torch=count / min(by_torch),
        onnxruntime=count / min(by_onnx),
        aim=aim,
        torch_over_ours=min(by_torch) / mine,
        onnxruntime_over_ours=min(by_onnx) / mine,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="A tenth of the time for each number.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 0.3 if options.quick else 3.0
    figures = [
        bench_decision("strategic", 50.0, seconds),
        bench_decision("tactical", 100.0, seconds),
        bench_tactical_layer(100.0, seconds),
        bench_batch("strategic", 500_000.0, seconds),
        bench_batch("tactical", 500_000.0, seconds),
    ]
    if options.json:
        document = {"machine": platform.processor() or platform.machine(), "figures": [asdict(one) for one in figures]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    print(
        f"{'CPU time, one thread; all equal within 1e-5':42}{'ours':>12}{'p99':>10}{'torch':>12}{'onnx':>12}{'aim':>10}"
    )
    for one in figures:
        p99, by_torch, by_onnx = (
            f"{value:{width},.0f}" if value is not None else " " * width
            for value, width in ((one.ours_p99, 10), (one.torch, 12), (one.onnxruntime, 12))
        )
        beside = ""
        if one.torch_over_ours is not None:
            beside = f"   torch takes {one.torch_over_ours:.1f}, onnxruntime {one.onnxruntime_over_ours:.1f} times our CPU time"
        print(f"{one.path + ', ' + one.unit:42}{one.ours:12,.0f}{p99}{by_torch}{by_onnx}{one.aim:10,.0f}{beside}")


if __name__ == "__main__":
    main()
