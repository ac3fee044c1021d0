"""Let the disk fill up in the middle of a session, free it, and show that nothing left unrecorded and nothing is lost.

``python -m tests.tools.full_disk`` from the root of the repository. The full disk is a limit on the size of the files
that the session's process may write (``RLIMIT_FSIZE``): SQLite meets the same failing write. The session must stop with
a ``JournalWriteError``; then it runs again without the limit and must end as the undisturbed session does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from tests.tools.kill_run import (
    REJECT_EVERY,
    Fuse,
    Venue,
    check_after_kill,
    check_end,
    live_once,
    run_session,
)
from tests.tools.small_engine import build_blocks

from grandmodel.domain.ids import RunId
from grandmodel.journal.errors import JournalWriteError
from grandmodel.journal.verification import verify_run

STOPPED = 3
RUN = RunId("full")


def live_on_a_small_disk(limit_bytes, folder, port, blocks):
    """Run the session in a forked process that may write files up to ``limit_bytes``; the result is its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
            run_session(folder, RUN, port, blocks, Fuse())
            status = 0
        except JournalWriteError as error:
            print(f"stopped: {error}", file=sys.stderr, flush=True)
            status = STOPPED
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fill_disk(base, limits, seed=1, blocks=60):
    """The problems found when the disk fills up at each of ``limits`` bytes in turn, then is free again."""
    feed = build_blocks(seed, blocks)
    calm_venue = Venue(base / "calm.sqlite", [f"reject:{REJECT_EVERY}"])
    venue = Venue(base / "venue.sqlite", [f"reject:{REJECT_EVERY}"])
    problems, records = [], []
    try:
        live_once(None, base / "calm" / RUN, RUN, calm_venue.port, feed, Fuse())
        folder = base / "killed" / RUN
        for limit in limits:
            status = live_on_a_small_disk(limit, folder, venue.port, feed)
            if status != STOPPED:
                problems.append(f"with {limit} bytes the session ended with {status}, expected {STOPPED}")
            problems += check_after_kill(folder, RUN, venue)
            records.append(verify_run(folder).records)
        live_once(None, folder, RUN, venue.port, feed, Fuse())
        problems += check_end(folder, base / "calm" / RUN, RUN, venue, calm_venue)
        records.append(verify_run(folder).records)
    finally:
        venue.close()
        calm_venue.close()
    return {"limits": limits, "records": records, "problems": problems}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--limits", type=int, nargs="+", default=[150_000, 400_000, 900_000], help="bytes a file")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="full_disk", dir=given.folder) as base:
        summary = fill_disk(Path(base), given.limits)
    print(json.dumps(summary, indent=2))
    sys.exit(1 if summary["problems"] else 0)


if __name__ == "__main__":
    main()
