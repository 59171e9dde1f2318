# SPDX-License-Identifier: BSD-2-Clause
"""One TCP connection as fast as it goes, every byte accounted for."""
from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time

from sluice_testbed import Host

from tests.lib.case import between, equal

BLOCK = bytes(1 << 18)
PATIENCE_S = 60
# Far below what any way through the balancer gives, and far above one that stalls: a segment that
# is lost for good or has a wrong checksum costs 0.2 s.
GBITS_MIN = 0.02
RETRANSMITTED_MAX = 0.1


@dataclasses.dataclass
class Transfer:
    gbits: float
    retransmitted: float  # share of the segments

    def flowed(self, what: str) -> None:
        """It did not stall, whatever else the machine was doing."""
        print(f"{what}: {self.gbits:.2f} Gbit/s, {self.retransmitted:.2%} sent again")
        between(self.gbits, GBITS_MIN, 1000, f"Gbit/s, {what}")
        between(self.retransmitted, 0, RETRANSMITTED_MAX, f"segments sent again, {what}")


def _retransmitted(s: socket.socket) -> float:
    """struct tcp_info (linux/tcp.h): tcpi_total_retrans, tcpi_segs_out."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    again, segments = struct.unpack_from("=I", info, 100)[0], struct.unpack_from("=I", info, 136)[0]
    return again / max(segments, 1)


def _listen(host: Host, at: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    listener = host.call(socket.create_server, at, family=family)
    listener.settimeout(PATIENCE_S)
    return listener


def transfer(source: Host, sink: Host, address: str, megabytes: float, port: int = 5001,
             at: tuple[str, int] | None = None) -> Transfer:
    """
    Send so much from `source` to address:port, which must lead to `sink`. A byte that does not
    arrive is a failure. at: where the sink listens, if not there.
    """
    listener = _listen(sink, at or (address, port))
    received = []

    def receive() -> None:
        with listener, listener.accept()[0] as s:
            s.settimeout(PATIENCE_S)
            buffer = bytearray(len(BLOCK))
            total = 0
            while n := s.recv_into(buffer):
                total += n
            received.append(total)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    sent, size = 0, int(megabytes * 1e6)
    with source.call(socket.create_connection, (address, port), PATIENCE_S) as s:
        began = time.monotonic()
        while sent < size:
            s.sendall(BLOCK)
            sent += len(BLOCK)
        share = _retransmitted(s)
    thread.join(PATIENCE_S)
    equal(received, [sent], f"bytes that arrived for {address}")
    return Transfer(sent * 8 / (time.monotonic() - began) / 1e9, share)


def download(source: Host, sink: Host, address: str, size: int, port: int = 5001,
             at: tuple[str, int] | None = None) -> int:
    """
    `sink` connects to address:port, which must lead to `source`, and is sent so many bytes: how
    many of them arrive. at: where the source listens, if not there.
    """
    listener = _listen(source, at or (address, port))

    def serve() -> None:
        with listener, listener.accept()[0] as s:
            s.settimeout(PATIENCE_S)
            s.sendall(bytes(size))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    got = 0
    with sink.call(socket.create_connection, (address, port), PATIENCE_S) as s:
        s.settimeout(PATIENCE_S)
        while data := s.recv(65536):
            got += len(data)
    thread.join(PATIENCE_S)
    return got
