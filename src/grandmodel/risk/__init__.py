"""Risk: numbers, limits, circuit breakers. It can shrink, refuse or reverse anything, and fails closed.

Begin with ``gate.py``, through which every order passes; then ``var.py`` and ``backtests.py`` for the numbers.
"""
