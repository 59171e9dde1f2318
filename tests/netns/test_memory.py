# SPDX-License-Identifier: BSD-2-Clause
"""The agent's memory over thousands of checks of good, broken and flapping nodes."""
import itertools
import os
import time

from tests.lib import ROOT
from tests.lib.case import between, case, equal
from tests.lib.service import Service

# 40 s at this pace are as many checks as 10 minutes at 100 ms make, and more.
INTERVAL = "10ms"
WARM_S, RUN_S, CHECKS = 8, 32, 1500
GROWTH_KIB = 256

SUPPRESSIONS = os.path.join(ROOT, "tests", "lib", "valgrind.supp")
BAD_MEMORY = 99


def service(t, **kwargs) -> Service:
    return Service(t, nodes=6, start=False, pool={
        "preset": "vllm",
        "check": {"interval": INTERVAL, "connect_timeout": "100ms", "timeout": "200ms"},
        "load": {"interval": INTERVAL, "timeout": "200ms"},
        "thresholds": {"warm_up": "0s", "busy": "1s"},
    }, **kwargs)


def break_some(s: Service) -> None:
    """Of six nodes two work; of the others one hangs, one lies, one is gone, one flaps."""
    s.mocks["node3"].control(health="hang", metrics="slow")
    s.mocks["node4"].control(health="garbage", metrics="huge", huge_mb=1)
    s.mocks["node5"].kill()


def checks_of_node1(s: Service) -> int:
    return s.agent.nodes()["node1"]["check"]["checks"]


def keep_busy(s: Service, duration_s: float, samples: list[int], checks: int = 0) -> None:
    """
    So long, and until node1 was checked so often, a node flaps, orders are given, the file is read
    again; memory is looked at twice a second.
    """
    end = time.monotonic() + duration_s
    checks += checks_of_node1(s) if checks else 0
    for turn in itertools.count():
        s.mocks["node6"].control(health=("ok", "status", "reset", "truncated")[turn % 4])
        s.agent.ctl("drain" if turn % 2 else "undrain", "node2")
        s.agent.ctl("status")
        if turn % 8 == 7:
            equal(s.reload().returncode, 0, "reload")
        samples.append(s.agent.memory_kib("RssAnon"))
        if time.monotonic() >= end and (not checks or checks_of_node1(s) >= checks):
            return
        time.sleep(0.5)


@case("memory does not grow over as many checks as ten minutes at 100 ms make", timeout_s=120)
def steady(t):
    s = service(t)
    s.agent.start()
    break_some(s)
    samples: list[int] = []
    keep_busy(s, WARM_S, samples)
    before = max(samples)
    began, checked = time.monotonic(), checks_of_node1(s)
    samples.clear()
    keep_busy(s, RUN_S, samples, CHECKS)
    checks = checks_of_node1(s) - checked
    print(f"{checks} checks of node1 in {time.monotonic() - began:.0f} s; "
          f"RssAnon {before} KiB before, {samples[-1]} KiB after, {max(samples)} KiB at most")
    between(samples[-1], 0, before + GROWTH_KIB, "KiB of memory")
    equal(s.agent.stop(), 0, "exit status")


@case("valgrind has nothing to say about a life with checks, faults, reloads and orders",
      timeout_s=120)
def valgrind(t):
    t.need("valgrind")
    s = service(t)
    log = f"{t.log_dir}/valgrind.log"
    s.pool["check"]["interval"] = s.pool["load"]["interval"] = "200ms"
    s.agent.write_config(s.config)
    # Its own memory is written to and run, which the agent's filter of system calls forbids.
    s.agent.start(timeout_s=60, args=("--keep-privileges",), before=(
        "valgrind", "--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect",
        "--show-leak-kinds=definite,indirect", f"--suppressions={SUPPRESSIONS}",
        f"--error-exitcode={BAD_MEMORY}", f"--log-file={log}"))
    break_some(s)
    keep_busy(s, 10, [])
    status = s.agent.process.stop(30)
    with open(log, encoding="utf-8") as f:
        said = f.read()
    equal(status, 0, f"exit status; valgrind says: {said[:4000]}")
