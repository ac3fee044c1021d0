"""Training: environments in batched form, rollouts, MAPPO, checkpoints.

Read ``mappo.py`` first: it is the algorithm from top to bottom, over the pure functions of ``advantage``, ``losses`` and
``normalise``. Nothing is imported here, so that reading an environment does not load torch.
"""
