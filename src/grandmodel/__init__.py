"""GrandModel: a risk-first, multi-agent trading system on one deterministic engine.

Start reading at ``docs/concepts/life-of-a-bar.md``; the rooms and the direction of their imports are in ``README.md``.
"""

__version__ = "0.1.0"
