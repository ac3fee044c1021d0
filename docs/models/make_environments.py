# ruff: noqa: INP001, T201 (a script beside the page whose pictures it makes)
"""Draw the pictures of ``docs/models/environments.md``: one tactical episode on simulated bars, with actions drawn at random.

python docs/models/make_environments.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grandmodel.charts import LineChart, Series, picture
from grandmodel.training import tactical_env
from grandmodel.training.environments.rewards import TERMS

FOLDER = Path(__file__).resolve().parent / "img"
SEED = 5
STAY = 0.9
"""Chance that an agent does again what it did: a policy that is random and yet holds positions."""


def main() -> None:
    """Play one episode and draw what was wanted, held and earned."""
    env = tactical_env()
    rng = np.random.default_rng(SEED)
    _, infos = env.reset(seed=SEED)
    rows = [infos["tactical"]]
    actions = dict.fromkeys(env.agents, 0)
    while env.agents:
        for agent in env.agents:
            if rng.random() > STAY:
                actions[agent] = int(rng.integers(env.action_space(agent).n))
        *_, infos = env.step(actions)
        rows.append(infos["tactical"])
    seen = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    time_ns = seen["ts_event"].astype(np.int64)
    charts = {
        "lots": LineChart(
            title="Lots held, and the strategic exposure that they work towards (simulated NQ, random actions)",
            series=(
                Series("exposure x 20 lots", time_ns, 20 * seen["exposure"], step=True, dashed=True),
                Series("held", time_ns, seen["lots"], step=True),
            ),
            unit="lots",
            include_zero=True,
        ),
        "rewards": LineChart(
            title="The reward's terms, added up since the start",
            series=[Series(name, time_ns, np.cumsum(seen[f"reward_{name}"])) for name in TERMS],
            y_label="deviations of one bar",
            include_zero=True,
        ),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        path = FOLDER / f"environment-{name}.svg"
        path.write_text(picture(chart), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
