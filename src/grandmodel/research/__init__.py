"""Honest evaluation: is what was trained better than simple rules and than luck, after costs, on data it never saw?

Read ``statistics.py`` (luck), ``measures.py`` (one equity path), ``walk_forward.py`` (what may be learnt from and what tested on),
``strategies.py`` (the competitors), then ``report.py`` and ``card.py`` (what a person reads).
"""
