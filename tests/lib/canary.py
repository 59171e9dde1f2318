# SPDX-License-Identifier: BSD-2-Clause
"""How late this machine is, apart from the programs that are tested."""
from __future__ import annotations

import sys

from sluice_testbed import Host

from tests.lib.wait import wait_until


class Canary:
    """
    A process that only waits: how late the machine wakes it is what it makes of everybody else, the
    agent's loop among them.
    """

    PERIOD_S = 0.01
    PROGRAM = f"""
import sys, time
worst, due = 0.0, time.monotonic()
sys.stdout.write("ready\\n"), sys.stdout.flush()
end = due + 600
while due < end:
    due += {PERIOD_S}
    time.sleep(max(0, due - time.monotonic()))
    now = time.monotonic()
    if now - due > worst:
        worst = now - due
        sys.stdout.write(f"{{worst * 1000:.1f}}\\n"), sys.stdout.flush()
    due = max(due, now)
"""

    def __init__(self, host: Host):
        self.process = host.popen([sys.executable, "-c", self.PROGRAM], name="canary")
        wait_until(lambda: "ready" in self.process.output(), 5, "the canary sings")

    def end(self) -> float:
        """ms that it was woken too late, at worst."""
        self.process.kill()
        said = self.process.output().split()
        return float(said[-1]) if len(said) > 1 else 0.0
