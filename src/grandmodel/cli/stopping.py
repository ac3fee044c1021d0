"""Signals during a run: the first asks the run to commit and stop, the second ends the process at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

_STOPPING = b"\nstopping: what was done is being committed; a second signal ends the process at once\n"


class StopSignals:
    """SIGINT and SIGTERM as a question that the run answers between two steps. Use as a context manager."""

    def __init__(self) -> None:
        self.number = 0
        """The signal that came; 0 while none has."""
        self._before: dict[int, object] = {}

    def asked(self) -> bool:
        """True from the first signal on."""
        return self.number != 0

    @property
    def name(self) -> str:
        """SIGINT or SIGTERM."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that this signal ended."""
        return 128 + self.number

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Elsewhere Python takes no handlers.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave is what it takes

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature that signal asks for
        if self.number:
            os._exit(128 + number)
        self.number = number
        os.write(2, _STOPPING)  # Nothing that takes a lock: the signal may have come while one was held.


def resume_command(folder: Path) -> str:
    """The command that goes on with the run in ``folder``: this one, with ``--resume``."""
    given: list[str] = []
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        if argument == "--resume":
            next(arguments, None)
        elif not argument.startswith("--resume="):
            given.append(argument)
    return shlex.join(["grandmodel", *given, "--resume", str(folder)])
