"""What happened, provably: the hash chain over a run's journal, signed Merkle checkpoints, and the check of both.

Read ``chain``, then ``journal_file`` (what a journal's file holds), ``checkpoints`` and ``verification``.
"""
