# SPDX-License-Identifier: BSD-2-Clause
"""One TCP connection as fast as it goes, every byte accounted for."""
from __future__ import annotations

import socket
import threading
import time

from sluice_testbed import Host

from tests.lib.case import equal

BLOCK = bytes(1 << 18)


def transfer(source: Host, sink: Host, address: str, duration_s: float, port: int = 5001) -> float:
    """
    Send from `source` to address:port, which must lead to `sink`, for so long. Gbit/s. A byte that
    does not arrive is a failure.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = sink.call(socket.create_server, (address, port), family=family)
    listener.settimeout(5)
    received = []

    def receive() -> None:
        with listener, listener.accept()[0] as s:
            s.settimeout(10)
            buffer = bytearray(len(BLOCK))
            total = 0
            while n := s.recv_into(buffer):
                total += n
            received.append(total)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    sent = 0
    began = time.monotonic()
    with source.call(socket.create_connection, (address, port), 5) as s:
        while time.monotonic() < began + duration_s:
            s.sendall(BLOCK)
            sent += len(BLOCK)
    thread.join(10)
    equal(received, [sent], f"bytes that arrived for {address}")
    return sent * 8 / (time.monotonic() - began) / 1e9
