# SPDX-License-Identifier: BSD-2-Clause
"""Whoever may open the API's socket may do so badly: the agent answers, ends them, goes on
checking."""
import concurrent.futures
import http.client
import json
import socket
import time

from tests.lib.case import case, equal
from tests.lib.service import Service

HANGERS = 3000


def ask(path: str, data: bytes, timeout_s: float = 60) -> tuple[int, bytes]:
    """The status and body of the first answer to these bytes; (0, b"") if there is none."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout_s)
        s.connect(path)
        try:
            s.sendall(data)
            answer = http.client.HTTPResponse(s)
            answer.begin()
            return answer.status, answer.read()
        except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
            return 0, b""


def post(target: str, body: bytes) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def hang(path: str, count: int) -> list[socket.socket]:
    """Connections with half a request; as many as the agent and its queue take."""
    out = []
    for _ in range(count):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
            s.send(b"POST /v1/backends/node1/drain HTTP/1.1\r\nHost: a\r\nContent-Le")
        except (BlockingIOError, BrokenPipeError, ConnectionError):
            s.close()
            continue
        out.append(s)
    return out


@case("bad requests are refused in JSON, and the next one is answered", timeout_s=60)
def refused(t):
    s = Service(t, nodes=2, sanitized=True)
    path = s.agent.socket
    deep = b"[" * 2000 + b"]" * 2000
    for target, body, status in (
        ("/v1/backends/node1/drain", b"{", 400),
        ("/v1/backends/node1/drain", b"[]", 400),
        ("/v1/backends/node1/drain", b'{"deadline_ms": -1}', 400),
        ("/v1/backends/node1/drain", b'{"deadline_ms": 1e99}', 400),
        ("/v1/backends/node1/drain", b'{"a": 1, "a": 2}', 400),
        ("/v1/backends/node1/weight", b'{"weight": 99999999999999999999999}', 400),
        ("/v1/backends/node1/weight", b'{"weight": ' + deep + b"}", 400),
        ("/v1/backends/node1/weight", b'{"weight": "\xff"}', 400),
        ("/v1/backends/node1/weight", b" " * 100000, 413),
        ("/v1/backends/%ff%fe/drain", b"{}", 404),
        ("/v1/backends/" + "x" * 3000, b"{}", 404),
        ("/v1/diff", b"interfaces: [\xff]\n", 409),
        ("/v1/diff", b"interfaces: [lo]\n" * 50000, 409),
        ("/v1/diff", b"a: &a [x,x]\n" + b"".join(
            b"%c: &%c [*%c,*%c]\n" % (c + 1, c + 1, c, c) for c in range(97, 121)), 409),
        ("/v1/nothing", b"{}", 404),
    ):
        got, answer = ask(path, post(target, body))
        equal(got, status, f"{target} {body[:40]!r}")
        assert isinstance(json.loads(answer)["error"], str), answer
        assert len(s.agent.nodes()) == 2
    equal(ask(path, b"BREW /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")[0], 405, "an unknown method")
    ask(path, b"\0" * 100000)  # no HTTP at all
    ask(path, b"GET /v1/status HTTP/1.1\r\nHost: " + b"a" * 200000 + b"\r\n\r\n")
    equal(s.agent.states(), {"node1": "healthy", "node2": "healthy"}, "states")
    s.end()


@case("thousands of silent connections to the API delay no check, and who asks waits for a place",
      timeout_s=60)
def silent(t):
    s = Service(t, nodes=2, sanitized=True)
    hangers = hang(s.agent.socket, HANGERS)
    assert len(hangers) > 60, f"only {len(hangers)} connections"
    s.mocks["node1"].kill()
    s.agent.wait_log(r"node1\b.*unhealthy", 15)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(s.agent.states)
        time.sleep(0.5)
        for hanger in hangers:
            hanger.close()
        equal(asked.result(30), {"node1": "unhealthy", "node2": "healthy"}, "states")
    s.end()
