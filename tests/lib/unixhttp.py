# SPDX-License-Identifier: BSD-2-Clause
"""HTTP and JSON over a Unix socket."""
from __future__ import annotations

import http.client
import json
import socket


class HttpError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, body: str):
        super().__init__(f"status {status}: {body[:300]}")
        self.status = status
        self.body = body


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float):
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(socket_path: str, method: str, target: str, data=None, timeout_s: float = 20):
    """The decoded JSON answer (the text, if it is not JSON; None, if it is empty)."""
    connection = _UnixConnection(socket_path, timeout_s)
    try:
        body = None if data is None else json.dumps(data)
        headers = {} if data is None else {"Content-Type": "application/json"}
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise HttpError(response.status, text)
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
