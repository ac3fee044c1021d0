"""What happened, provably: a run's journal, its hash chain, signed Merkle checkpoints, the check of both, and replay.

Read ``format`` (what a journal's file holds) and ``writer``, then ``chain``, ``checkpoints``, ``verification`` and ``replay``.
"""
