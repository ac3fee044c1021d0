"""Models without torch: what the networks are, their files, compiled inference, superposition and uncertainty.

Read ``architecture.py`` first: it says what the networks compute. Training them is in ``grandmodel.training``.
"""
