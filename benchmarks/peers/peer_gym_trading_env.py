"""gym-trading-env's step: its ``TradingEnv`` over the given bars, random positions of -1, 0, 1, fees on, a new episode where one ends."""

import random
from importlib.metadata import version

import pandas as pd
from gym_trading_env.environments import TradingEnv
from protocol import Answer, load, serve, timed

WINDOW, STEPS = 48, 10_000
bars = load("env_bars")  # open, high, low, close (price units), volume
frame = pd.DataFrame(bars, columns=["open", "high", "low", "close", "volume"])
frame.index = pd.date_range("2022-01-08", periods=len(frame), freq="30min", name="date")
for name, column in (
    ("feature_close", frame["close"].pct_change()),
    ("feature_volume", frame["volume"] / frame["volume"].mean()),
    ("feature_range", (frame["high"] - frame["low"]) / frame["close"]),
    ("feature_open", frame["close"] / frame["open"]),
):
    frame[name] = column
frame = frame.dropna()
env = TradingEnv(
    df=frame,
    positions=[-1, 0, 1],
    windows=WINDOW,
    trading_fees=0.00001,
    borrow_interest_rate=0.0,
    max_episode_duration=230,
    verbose=0,
)


def steps() -> Answer:
    """``STEPS`` random steps; its window is 48 rows of four static and two dynamic features, its episodes have 230 bars as ours."""
    chooser = random.Random(1)
    actions = [chooser.randrange(3) for _ in range(STEPS)]
    env.reset(seed=1)
    total = 0.0

    def run() -> None:
        nonlocal total
        for action in actions:
            _, reward, terminated, truncated, _ = env.step(action)
            total += reward
            if terminated or truncated:
                env.reset()

    seconds, _ = timed(run)
    return {
        "seconds": seconds,
        "steps": STEPS,
        "numbers": int(env.observation_space.shape[0] * env.observation_space.shape[1]),
        "total": float(total),
    }


serve({"steps": steps}, version("gym-trading-env"))
