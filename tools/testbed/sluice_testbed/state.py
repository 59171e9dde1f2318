# SPDX-License-Identifier: BSD-2-Clause
"""What is written down about testbeds in /run/sluice-testbed, and the locks on it."""
from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time

from .signals import TestbedError, signals

STATE_DIR = "/run/sluice-testbed"
STATE_VERSION = 1
LOCK_TIMEOUT_S = 60


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def owner_alive(owner: dict | None) -> bool:
    return bool(owner) and process_start(owner["pid"]) == owner["start"]


def check_prefix(prefix: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,30}", prefix):
        raise TestbedError(f"prefix {prefix!r}: accepted are 1 to 31 letters, digits, '_' and '-'")
    return prefix


def state_path(prefix: str) -> str:
    return os.path.join(STATE_DIR, f"{prefix}.json")


def read_state(prefix: str) -> dict | None:
    """The state file of a testbed, or None if there is no such testbed."""
    try:
        with open(state_path(prefix), encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def write_state(state: dict) -> None:
    tmp = os.path.join(STATE_DIR, f".{os.getpid()}.{threading.get_ident()}.tmp")
    with signals.hold():  # a signal between the two would leave the first
        with open(tmp, "w", encoding="utf-8") as f:
            json.dump(state, f, indent=1)
        os.rename(tmp, state_path(state["prefix"]))


def list_prefixes() -> list[str]:
    """Prefixes of all testbeds on this machine."""
    try:
        names = os.listdir(STATE_DIR)
    except FileNotFoundError:
        return []
    return sorted(n[: -len(".json")] for n in names if n.endswith(".json"))


class Lock:
    """
    An exclusive lock on a testbed's prefix. Commands that change the kernel's state inherit `fd`,
    so the lock outlives a killed creator for as long as one of its commands is still at work.
    A lock whose block is not entered, because a signal comes first, is given back; if it cannot
    be, the next takes it over.
    """

    _held: dict[str, int] = {}

    def __init__(self, name: str):
        self.path = os.path.join(STATE_DIR, f"{name}.lock")
        self.fd = -1

    def __enter__(self) -> "Lock":
        os.makedirs(STATE_DIR, mode=0o755, exist_ok=True)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        try:
            while not self._try():
                if time.monotonic() > deadline:
                    raise TestbedError(f"{self.path} has been locked for {LOCK_TIMEOUT_S} s")
                time.sleep(0.02)
        except BaseException:
            if self.fd >= 0:
                self.__exit__()
            raise
        return self

    def _try(self) -> bool:
        with signals.hold():
            if self.path in Lock._held:
                self.fd = Lock._held[self.path]
                return True
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(fd):
                    self.fd = Lock._held[self.path] = fd
            except BlockingIOError:
                pass
            finally:
                if self.fd < 0:
                    os.close(fd)
        return self.fd >= 0

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __exit__(self, *_exc) -> None:
        with signals.hold():
            fd, self.fd = self.fd, -1
            Lock._held.pop(self.path, None)
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
            os.close(fd)
