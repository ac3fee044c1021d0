# ruff: noqa: INP001, T201, D102 (a script beside the page that it makes; forward is what a module computes)
"""Remake ``docs/models/encoders.md``: encoders of one window, trained alike on real NQ and CL and scored on months that none has seen.

``python docs/models/make_encoders.py [FOLDER]``, where FOLDER holds the shared market data (default ``../shared/data``). Bars from July
2023 on belong to the last fold and are cut off before anything is computed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.domain.time import ns_from_text
from grandmodel.models.architecture import TrunkSpec
from grandmodel.runtime.feeds import instruments_named
from grandmodel.training.labels import Windows, find_examples
from grandmodel.training.mappo import torch_threads
from grandmodel.training.market import Span, TrainingMarket, build_market
from grandmodel.training.pipeline import Prepared, default_settings, label, prepare, split_labelled
from grandmodel.training.warm_start import (
    Classifier,
    LabelledSet,
    WarmStartSettings,
    constant_log_loss,
    train_classifier,
)

HERE = Path(__file__).resolve().parent
FILES = {"NQ": "NQ_30m_eth_20200629_20240628.csv.gz", "CL": "CL_30m_eth_20200629_20240628.csv.gz"}
TRAIN = Span(ns_from_text("2020-07-01"), ns_from_text("2022-10-01"))
SCORED = Span(ns_from_text("2022-10-01"), ns_from_text("2023-07-01"))
ROWS, COLUMNS, FEATURES, CLASSES = 48, 13, 32, 3
SEEDS = (0, 1, 2)
SETTINGS = WarmStartSettings(epochs=8, patience=2)
DROPOUT = 0.25
TRUNK = TrunkSpec(name="trunk", columns=tuple(range(COLUMNS)), rows=ROWS, patches=(4, 3))


class Patches(nn.Module):
    """Ours: linear layers over patches of 4 rows, then of 3 of those."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, m) for _, n, m in TRUNK.layers())

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        for layer in self.layers:
            x = functional.relu(layer(x.reshape(-1, layer.in_features)))
        return x.reshape(count, -1)


class Flat(nn.Module):
    """The window as one row: 624 -> 10 -> 32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(ROWS * COLUMNS, 10), nn.Linear(10, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x.flatten(1)))))


class Convolution(nn.Module):
    """Two convolutions over time of width 5, stride 3, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(COLUMNS, 16, 5, 3), nn.Conv1d(16, 24, 5, 3)
        self.last = nn.Linear(24 * 4, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(functional.relu(self.first(x.reshape(len(x), ROWS, COLUMNS).transpose(1, 2)))))
        return functional.relu(self.last(x.flatten(1)))


class Recurrent(nn.Module):
    """A GRU of 34 over the 48 rows; its last state, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.last = nn.GRU(COLUMNS, 34, batch_first=True), nn.Linear(34, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.gru(x.reshape(len(x), ROWS, COLUMNS))
        return functional.relu(self.last(state[0]))


class Averages(nn.Module):
    """Each column's mean over the last 1, 2, 4, 8, 16, 32 and 48 rows, then 91 -> 50 -> 32."""

    SPANS = (1, 2, 4, 8, 16, 32, 48)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(COLUMNS * len(self.SPANS), 50), nn.Linear(50, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), ROWS, COLUMNS)
        means = torch.cat([rows[:, -span:].mean(1) for span in self.SPANS], dim=1)
        return functional.relu(self.second(functional.relu(self.first(means))))


ENCODERS: dict[str, tuple[type[nn.Module], int]] = {
    "patches (ours)": (Patches, sum(n * m * (12, 4, 1)[i] for i, (_, n, m) in enumerate(TRUNK.layers()))),
    "flat perceptron": (Flat, ROWS * COLUMNS * 10 + 10 * FEATURES),
    "1-d convolution": (Convolution, 15 * 16 * COLUMNS * 5 + 4 * 24 * 16 * 5 + 96 * FEATURES),
    "GRU": (Recurrent, ROWS * 3 * 34 * (COLUMNS + 34) + 34 * FEATURES),
    "multi-scale averages": (Averages, 91 * 50 + 50 * FEATURES),
}
"""Each with its multiply-adds a window, counted by hand from its layers (sums of the averages not counted)."""


class Encoded(Classifier):
    """An encoder and a linear head."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(FEATURES, CLASSES)

    def features(self, windows: Tensor) -> Tensor:
        found: Tensor = self.encoder(windows)
        return found

    def logits(self, features: Tensor) -> Tensor:
        found: Tensor = self.head(features)
        return found


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one encoder and seed on the months that it never saw."""

    log_loss: float
    bets: float
    """Log loss of up against down, where the outcome was one of the two; ln 2 is a coin's."""
    daily: np.ndarray
    """Mean log loss of each trading day."""


def load_markets(folder: Path) -> list[TrainingMarket]:
    """NQ and CL up to June 2023."""
    markets = []
    for name, file in FILES.items():
        (instrument,) = instruments_named([name])
        profile = ImportProfile(time_zone="Asia/Jerusalem", label=Label.OPEN)
        blocks, _ = read_file(folder / "bars" / "futures_30m" / file, instrument, profile)
        (block,) = blocks.values()
        markets.append(build_market(block[block["ts_event"] < SCORED.end_ns], instrument, "strategic"))
    return markets


def seeded(build: type[nn.Module], generator: torch.Generator) -> Encoded:
    """A network whose weights are drawn from ``generator``: uniform within 1 / sqrt(inputs), as torch's own are."""
    network = Encoded(build())
    with torch.no_grad():
        for parameter in network.parameters():
            bound = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
            parameter.uniform_(-bound, bound, generator=generator)
    return network


def score(network: Encoded, windows: Windows, scored: LabelledSet, days: np.ndarray) -> Scores:
    """What the trained ``network`` says of the scored months."""
    parts = np.array_split(scored.places, len(scored.places) // 2_048 + 1)
    with torch.no_grad():
        logits = torch.cat([network.logits(network.features(_gather(windows, part))) for part in parts]).double()
    losses = functional.cross_entropy(logits, torch.from_numpy(scored.classes), reduction="none").numpy()
    bet = scored.classes != 1
    sides = logits[torch.from_numpy(bet)][:, [0, 2]]
    bets = functional.cross_entropy(sides, torch.from_numpy(scored.classes[bet] // 2))
    _, place = np.unique(days, return_inverse=True)
    daily = np.bincount(place, losses) / np.bincount(place)
    return Scores(float(losses.mean()), float(bets), daily)


def microseconds(network: Encoded) -> float:
    """Of one window in a batch of 512, one thread, no gradient: the best of 30, in CPU time."""
    windows, best = torch.randn(512, ROWS * COLUMNS, generator=torch.Generator().manual_seed(0)), np.inf
    with torch.no_grad():
        for _ in range(30):
            start = time.process_time_ns()
            network.logits(network.features(windows))
            best = min(best, time.process_time_ns() - start)
    return best / 512 / 1_000


def _gather(windows: Windows, places: np.ndarray) -> Tensor:
    return torch.from_numpy(windows.gather(TRUNK, places))


def main(folder: Path) -> None:
    """Train, score, write the page."""
    began = time.process_time()
    markets = load_markets(folder)
    prepared: Prepared = prepare("strategic", markets, TRAIN, default_settings("strategic").env)
    learnt, held = split_labelled(prepared, SETTINGS)
    examples = find_examples(markets, prepared.windows, SCORED)
    scored = label(prepared, examples)
    days = examples.market * 1_000_000 + np.concatenate(
        [
            market.day[examples.places[examples.market == m] - prepared.windows.offsets[m]]
            for m, market in enumerate(markets)
        ]
    )
    constant = constant_log_loss(learnt.classes, scored.classes)
    found: dict[str, list[Scores]] = {}
    speeds, weights = {}, {}
    for name, (build, _) in ENCODERS.items():
        for seed in SEEDS:
            generator = torch.Generator().manual_seed(seed)
            network = seeded(build, generator)
            train_classifier(
                network, lambda places: _gather(prepared.windows, places), learnt, held, SETTINGS, generator,
                dropout=DROPOUT, name=name,
            )  # fmt: skip
            found.setdefault(name, []).append(score(network, prepared.windows, scored, days))
            print(
                f"{time.process_time() - began:6.1f} s  {name:22s} seed {seed}  {found[name][-1].log_loss:.4f}",
                flush=True,
            )
        speeds[name], weights[name] = microseconds(network), sum(p.numel() for p in network.parameters())
    text = page(found, speeds, weights, constant, len(learnt.places), len(scored.places), time.process_time() - began)
    (HERE / "encoders.md").write_text(text, encoding="utf-8")


def page(
    found: dict[str, list[Scores]],
    speeds: dict[str, float],
    weights: dict[str, int],
    constant: float,
    learnt: int,
    scored: int,
    seconds: float,
) -> str:
    """The page's text."""
    ours = np.mean([one.daily for one in found["patches (ours)"]], axis=0)
    lines = [
        "| encoder | log loss, mean of 3 seeds | least to most | days: less ours | up or down | weights | multiply-adds | us a window |",
        "|---|---|---|---|---|---|---|---|",
    ]
    verdicts = []
    for name, scores in found.items():
        losses, bets = [one.log_loss for one in scores], [one.bets for one in scores]
        gap = np.mean([one.daily for one in scores], axis=0) - ours
        error = gap.std(ddof=1) / len(gap) ** 0.5
        beside = "" if name == "patches (ours)" else f"{gap.mean():+.4f} +- {1.96 * error:.4f}"
        lines.append(
            f"| {name} | {np.mean(losses):.4f} | {min(losses):.4f} to {max(losses):.4f} | {beside} | {np.mean(bets):.4f} | "
            f"{weights[name]:,} | {ENCODERS[name][1]:,} | {speeds[name]:.1f} |"
        )
        if beside:
            clear = abs(gap.mean()) > 1.96 * error
            verdicts.append((name, "worse" if gap.mean() > 0 else "better") if clear else (name, "no different"))
    lines.append(f"| constant forecast | {constant:.4f} | | | {np.log(2):.4f} | 3 | 0 | 0 |")
    said = {
        kind: [name for name, verdict in verdicts if verdict == kind] for kind in ("better", "no different", "worse")
    }
    sentences = [
        f"{kind} than ours, beyond the noise of days: {', '.join(said[kind])}."
        for kind in ("better", "worse")
        if said[kind]
    ]
    if said["no different"]:
        sentences.append(f"Not to be told from ours on these months: {', '.join(said['no different'])}.")
    least = min(float(np.mean([one.bets for one in scores])) for scores in found.values())
    if least > np.log(2):
        sentences.append(
            "No encoder tells up from down better than a coin: what they gain over the constant forecast is when the market moves at all."
        )
    else:
        sentences.append(f"Up is told from down with {least:.4f} at best, where a coin has {np.log(2):.4f}.")
    head = (HERE / "encoders.head.md").read_text(encoding="utf-8")
    numbers = f"Learnt from {learnt:,} decisions (NQ and CL, July 2020 to about May 2022), scored on {scored:,} (October 2022 to June 2023)."
    verdict = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    table = "\n".join(lines)
    return f"{head}\n{numbers}\n\n{table}\n\n{verdict}\n\nMade in {seconds:.0f} CPU seconds by `python docs/models/make_encoders.py`.\n"


if __name__ == "__main__":
    with torch_threads(1):
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "data")
