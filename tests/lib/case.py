# SPDX-License-Identifier: BSD-2-Clause
"""
What a namespace test is written with:

    @case("a node whose port is closed gets no new connection", timeout_s=60)
    def closed_port(t):
        tb = t.testbed(nodes=4)
        ...
        equal(count, 0, "connections to node1")

The sentence is the test's name. A test fails by any exception and is skipped by t.skip(reason).
"""
from __future__ import annotations

import dataclasses
import os
import shutil

from sluice_testbed import Testbed, Topology

from tests.lib import BUILD


class Skip(Exception):
    """What the test needs is not on this machine; the message says what."""


@dataclasses.dataclass(frozen=True)
class Case:
    sentence: str
    timeout_s: float
    alone: bool


def case(sentence: str, timeout_s: float = 30, alone: bool = False):
    """
    Mark a function as a test. timeout_s: a test that takes longer (and some patience, wait.py) is
    ended, and has failed. alone: no other test runs beside it, for it measures the machine or
    fills it.
    """

    def mark(fn):
        fn.case = Case(sentence, timeout_s, alone)
        return fn

    return mark


def equal(got, want, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, expected {want!r}")


def between(got, low, high, what: str) -> None:
    """low <= got <= high"""
    if not low <= got <= high:
        raise AssertionError(f"{what}: got {got!r}, expected {low!r} to {high!r}")


class Context:
    """What a running test has: testbeds that go away with it, a directory for files, skip()."""

    def __init__(self, log_dir: str):
        self.log_dir = log_dir
        self.testbeds: list[Testbed] = []

    def testbed(self, prefix: str | None = None, **topology) -> Testbed:
        """A new testbed: arguments as for Topology."""
        log_dir = self.log_dir
        if self.testbeds:
            log_dir = os.path.join(log_dir, f"testbed{len(self.testbeds) + 1}")
        testbed = Testbed(Topology(**topology), prefix=prefix, log_dir=log_dir)
        self.testbeds.append(testbed)
        return testbed.up()

    def skip(self, reason: str) -> None:
        raise Skip(reason)

    def need(self, *what: str) -> None:
        """Skip unless these programs are installed, or these files are in build/."""
        for name in what:
            if not (shutil.which(name) or os.path.exists(os.path.join(BUILD, name))):
                self.skip(f"{name} is missing")

    def last_words(self, lines: int = 15) -> str:
        """The last lines of every program that ran, the agent's first; of quiet ones nothing."""
        processes = [p for tb in self.testbeds for h in tb.hosts.values() for p in h.processes]
        processes.sort(key=lambda p: not p.name.startswith("sluiced"))
        parts = []
        for process in processes:
            tail = process.tail(lines if process.name.startswith("sluiced") else 5)
            if tail:
                state = "running" if process.running() else f"status {process.returncode}"
                parts.append(f"-- {process.name} on {process.host.name} ({state}, {process.log})")
                parts.append(tail)
        return "\n".join(parts)

    def close(self, keep: bool = False) -> None:
        for testbed in self.testbeds:
            if keep:
                testbed.release()
            else:
                testbed.down()
