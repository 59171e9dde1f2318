# SPDX-License-Identifier: BSD-2-Clause
"""One connection with a token stream, held by the test itself: who serves it, does it go on."""
from __future__ import annotations

import json
import select
import socket
import struct

from sluice_testbed import Host

from tests.lib.mock import PORT

NO_LINGER = struct.pack("ii", 1, 0)


class Stream:
    """
    A streaming completion from `host`. backend: who answers. source: local address and port, either
    may be left open ("", 0). open_stream=False: a short request (/health) on a connection that
    the client closes.
    """

    def __init__(self, host: Host, vip: str, port: int = PORT, source: tuple[str, int] = ("", 0),
                 tokens: int = 100000, open_stream: bool = True, timeout_s: float = 20):
        self.host = host
        self.socket = host.call(self._connect, vip, port, source, timeout_s)
        self.received = b""
        try:
            self._request(vip, tokens, open_stream)
            self.backend = self._read_head()
        except BaseException:
            self.socket.close()
            raise

    @staticmethod
    def _connect(vip: str, port: int, source: tuple[str, int], timeout_s: float) -> socket.socket:
        family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM)
        try:
            s.settimeout(timeout_s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if source != ("", 0):
                s.bind(source)
            s.connect((vip, port))
        except BaseException:
            s.close()
            raise
        return s

    def _request(self, vip: str, tokens: int, open_stream: bool) -> None:
        head = f"Host: {vip}\r\nConnection: close\r\n"
        if open_stream:
            body = json.dumps({"model": "mock-model", "prompt": "count", "max_tokens": tokens,
                               "stream": True})
            text = (f"POST /v1/completions HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}")
        else:
            text = f"GET /health HTTP/1.1\r\n{head}\r\n"
        self.socket.sendall(text.encode("ascii"))

    def _read_head(self) -> str:
        while b"\r\n\r\n" not in self.received:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"ended within the head: {self.received!r}")
            self.received += data
        for line in self.received.partition(b"\r\n\r\n")[0].decode("latin-1").splitlines():
            name, _, value = line.partition(":")
            if name.lower() == "x-backend":
                return value.strip()
        raise ConnectionError(f"no backend in the head: {self.received!r}")

    def goes_on(self, timeout_s: float = 20) -> bool:
        """Whether more of it comes; False at its end, however it ends."""
        self.socket.settimeout(timeout_s)
        try:
            return bool(self.socket.recv(65536))
        except OSError:
            return False

    def wait_reset(self, timeout_s: float) -> bool:
        """Whether it is reset in that time."""
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP | select.POLLERR | select.POLLHUP)
        return any(e & (select.POLLERR | select.POLLHUP)
                   for _, e in poller.poll(timeout_s * 1000))

    @property
    def local_port(self) -> int:
        return self.socket.getsockname()[1]

    def close(self) -> None:
        """In order: a FIN."""
        self.socket.close()

    def abort(self) -> None:
        """By a reset: no TIME_WAIT is left anywhere."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.socket.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_exc) -> None:
        self.abort()


def who(host: Host, vip: str, source: tuple[str, int] = ("", 0), port: int = PORT) -> str:
    """The backend that answers a new connection."""
    with Stream(host, vip, port, source, open_stream=False) as s:
        return s.backend
