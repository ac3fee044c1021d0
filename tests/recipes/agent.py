"""The agent decides in a run: what it wishes stands on the record under its name, and fills."""

import sys
import tempfile
import time
from pathlib import Path

from grandmodel.domain.time import ns_from_text
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AgentSettings, RunSettings

sys.path.insert(0, str(Path.cwd()))
start, end = ns_from_text("2024-07-03T22:00:00+00:00"), ns_from_text("2024-07-09T21:00:00+00:00")
with tempfile.TemporaryDirectory() as folder:
    run = Path(folder) / "run"
    settings = RunSettings(agents=(AgentSettings(kind="turning_points:LastBar"),))
    feed = SimulatedFeed(instruments_named(["NQ"]), start, end, seed=7)
    summary = run_feed(run, settings, feed, clock_ns=time.perf_counter_ns)
    with JournalReader.open(run) as reader:
        records = [decode_record(row.body) for row in reader.record_rows()]
wishes = [intent.intent for record in records for intent in record.intents if intent.agent == "last_bar"]
assert len(wishes) > 100, len(wishes)
assert {wish.lots for wish in wishes} == {-1, 1}
assert summary.fills > 0, summary.orders
