"""GrandModel: a risk-first, multi-agent trading system on one deterministic engine.

Start reading at ``docs/concepts/life-of-a-bar.md``; the rooms and the direction of their imports are in ``README.md``.
"""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"] and any("grandmodel" in one for one in sys.orig_argv) and not sys.flags.safe_path:
    # ``python -m grandmodel``: Python put the current folder before everything else, so that a json.py in it would be ours.
    # The command ``grandmodel`` never looks there.
    sys.path.pop(0)
