"""gym-anytrading's step: its ``StocksEnv`` over the given bars, random actions, a new episode where one ends."""

import random
from importlib.metadata import version

import pandas as pd
from gym_anytrading.envs import StocksEnv
from protocol import Answer, load, serve, timed

WINDOW, STEPS = 48, 20_000
bars = load("env_bars")  # open, high, low, close (price units), volume
frame = pd.DataFrame(bars, columns=["Open", "High", "Low", "Close", "Volume"])
env = StocksEnv(df=frame, window_size=WINDOW, frame_bound=(WINDOW, len(frame)))


def steps() -> Answer:
    """``STEPS`` random steps; its window is 48 rows of price and difference."""
    chooser = random.Random(1)
    actions = [chooser.randrange(2) for _ in range(STEPS)]
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


serve({"steps": steps}, version("gym-anytrading"))
