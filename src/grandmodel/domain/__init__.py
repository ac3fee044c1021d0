"""The words of the trade as types: instruments, blocks, orders, decisions, events, the ledger, ids and errors.

No I/O, no settings, no clock. Everything else imports this room; this room imports nothing of ours.
"""
