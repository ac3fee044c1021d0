"""The venue passes what every broker must; out of reach, it says so."""

import tempfile
from pathlib import Path

from grandmodel.execution.brokers.desk_book import DeskBookBroker

from broker_contract import RUN, check_broker, check_out_of_reach

with tempfile.TemporaryDirectory() as folder:
    check_broker(lambda run: DeskBookBroker(Path(folder), run))
check_out_of_reach(DeskBookBroker(Path(folder), RUN))
