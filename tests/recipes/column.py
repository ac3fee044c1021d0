"""The column stands in the matrix, by history and bar by bar, and in what its agent sees."""

import numpy as np

from grandmodel.features import STRATEGIC_SCHEMA, StrategicState
from grandmodel.features.bars import BarArrays
from grandmodel.features.ranges import close_places
from grandmodel.models.architecture import strategic_architecture

place = STRATEGIC_SCHEMA.place("close_place")
assert place == len(STRATEGIC_SCHEMA.columns) - 1, "a column is added at the end"
(trunk,) = [trunk for trunk in strategic_architecture().trunks if trunk.name == "mlmi_trunk"]
assert place in trunk.columns, "the agent sees it"

draw = np.random.default_rng(1)
close = 1_000 + draw.normal(size=80).cumsum()
opened, spread = np.roll(close, 1), draw.uniform(0.1, 2.0, size=80)
high, low = np.maximum(opened, close) + spread, np.minimum(opened, close) - spread
ts = 1_700_000_000 * 10**9 + np.arange(80) * 1_800 * 10**9
bars = BarArrays(ts_event=ts, open=opened, high=high, low=low, close=close, volume=np.full(80, 100.0))
expected = (close - low) / (high - low)

rows = StrategicState().update_block(bars)
one_by_one = StrategicState()
last = [
    one_by_one.update(*map(float, bar[1:]), int(bar[0])).copy()
    for bar in zip(ts, opened, high, low, close, bars.volume, strict=True)
]
np.testing.assert_array_equal(rows[:, place], expected)
np.testing.assert_array_equal(np.array(last), rows)
np.testing.assert_array_equal(close_places(high, low, close), expected)
np.testing.assert_array_equal(one_by_one.window[:, place], expected[-STRATEGIC_SCHEMA.rows :])
