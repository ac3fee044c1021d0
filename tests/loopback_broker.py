"""The broker that talks to the loopback venue (``loopback_venue``): one JSON line per question, one per answer.

Every question has a number and waits for the answer with that number; an answer that comes twice or too late is passed
over. Where the line breaks or the answer does not come in time, the question is asked again on a new line, which the
venue's ids make harmless.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

import msgspec

from grandmodel.domain.ids import ExecId, RunId
from grandmodel.domain.orders import ExecutionReport
from grandmodel.execution.brokers.errors import BrokerUnavailableError
from grandmodel.execution.brokers.requests import Request
from loopback_venue import Answer, Ask, BrokerProtocolError


class LoopbackBroker:
    """Satisfies ``runtime.recovery.Broker``."""

    def __init__(self, port: int, run: RunId, *, timeout_s: float = 2.0, attempts: int = 3) -> None:
        """``timeout_s`` is how long one answer may take, ``attempts`` how often a question is asked in all."""
        self._address = ("127.0.0.1", port)
        self._run = run
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._socket: socket.socket | None = None
        self._received = b""
        self._number = 0
        self.passed_over = 0
        """Answers that came twice or too late."""

    def send(self, request: Request) -> None:
        """Hand over one request and wait for the venue's answer; sending the same id again is harmless."""
        self._ask(request=request)

    def known_requests(self) -> AbstractSet[str]:
        """The ids of all requests of this run that the venue has taken."""
        return frozenset(self._ask(known=True).known)

    def reports_since(self, exec_id: ExecId) -> Sequence[ExecutionReport]:
        """This run's reports with a number above ``exec_id``."""
        return self._ask(since=exec_id).reports

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None
        self._received = b""

    def _ask(self, *, request: Request | None = None, known: bool = False, since: int | None = None) -> Answer:
        self._number += 1
        ask = Ask(number=self._number, run=self._run, request=request, known=known, since=since)
        failure: Exception | None = None
        for _ in range(self._attempts):
            try:
                self._write(msgspec.json.encode(ask) + b"\n")
                return self._read_answer()
            except TimeoutError as error:
                failure = error  # The line may be good: ask again on it, and pass over what was late.
            except OSError as error:
                failure = error
                self.close()
        raise BrokerUnavailableError(
            f"the venue on port {self._address[1]} did not answer {self._attempts} times ({failure}): is it running?"
        )

    def _write(self, line: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(line)

    def _read_answer(self) -> Answer:
        while True:
            try:
                answer = msgspec.json.decode(self._read_line(), type=Answer)
            except msgspec.DecodeError as error:
                raise BrokerProtocolError(f"the venue answered something that is no answer: {error}") from error
            if answer.number == self._number:
                return answer
            self.passed_over += 1

    def _read_line(self) -> bytes:
        while b"\n" not in self._received:
            if self._socket is None:
                raise ConnectionError("the line is closed")
            more = self._socket.recv(1 << 16)
            if not more:
                raise ConnectionError("the venue closed the line")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line
