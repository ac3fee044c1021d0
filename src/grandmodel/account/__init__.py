"""The compiled account: from a wish to orders, from a fill to the books. The engine and the training environments call the same kernels.

Read ``planner`` (what a wish for a position becomes), then ``booking`` (what a fill does). The rows that they work on, the checks and the
open orders are those of risk (``risk.rows``, ``risk.checks``, ``risk.working``).
"""
