# SPDX-License-Identifier: BSD-2-Clause
"""Barriers: wait for what has to be true, never for a time that is hoped to be enough."""
from __future__ import annotations

import os
import socket
import time

# runner.py --time-factor. Time limits are written for a quiet machine; a machine that is busy with
# something else is no failure, so there is patience. Who measures a time compares it himself.
PATIENCE = 4
TIME_FACTOR = PATIENCE * float(os.environ.get("TEST_TIME_FACTOR", 1))


class NotInTime(AssertionError):
    """A condition did not come true in its time; the message has it and what was last seen."""


def wait_until(condition, timeout_s: float, what: str, interval_s: float = 0.02, ignore=()):
    """
    Call condition() until it returns something true, and return that. Exceptions of the types in
    `ignore` count as "not yet".
    """
    timeout_s *= TIME_FACTOR
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            last = condition()
            if last:
                return last
        except ignore as e:
            last = e
        if time.monotonic() >= deadline:
            raise NotInTime(f"{what}: not within {timeout_s:g} s; last seen: {last!r}")
        time.sleep(interval_s)


def holds_for(condition, duration_s: float, what: str, interval_s: float = 0.05) -> None:
    """The condition is true now and stays true for so long."""
    deadline = time.monotonic() + duration_s
    while True:
        value = condition()
        if not value:
            raise AssertionError(f"{what}: no longer so ({value!r})")
        if time.monotonic() >= deadline:
            return
        time.sleep(interval_s)


def free_port(host=None, address: str = "") -> int:
    """A TCP port that nothing listens on, in a testbed's host or (host=None) right here."""

    def pick() -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.bind((address, 0))
            return s.getsockname()[1]

    return host.call(pick) if host else pick()


def port_open(host, address: str, port: int, timeout_s: float = 20) -> bool:
    """
    Whether a TCP connection from `host` to address:port is accepted. timeout_s: without any answer;
    an open port answers at once, so it is long unless silence is what is expected.
    """

    def attempt() -> bool:
        try:
            socket.create_connection((address, port), timeout_s).close()
            return True
        except OSError:
            return False

    return host.call(attempt)
