"""Real processes that are let go together, for tests of what happens where several begin in one moment."""

import os


def at_once(work, count=8):
    """Call ``work(number)`` in ``count`` forked processes, all begun before any goes on; their exit codes, 0 where it returned."""
    children = []
    gate_read, gate_write = os.pipe()
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(gate_write)
                os.read(gate_read, 1)  # All wait here until the gate is closed.
                work(number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(gate_read)
    os.close(gate_write)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
