# SPDX-License-Identifier: BSD-2-Clause
"""The test runner itself: a failure, a hang and an interruption are seen, and leave nothing."""
import glob
import os
import secrets
import signal
import subprocess
import sys
import time

from tests.lib import ROOT
from tests.lib.case import case, equal
from tests.lib.wait import PATIENCE, wait_until

SAMPLE = """
# SPDX-License-Identifier: BSD-2-Clause
import os, time
from tests.lib.case import case, equal

@case("right things pass")
def right(t):
    t.testbed(prefix="PREFIX1-", nodes=1)

@case("wrong things fail")
def wrong(t):
    tb = t.testbed(prefix="PREFIX2-", nodes=1)
    tb.client.run(["true"])
    process = tb.ingress.popen(["echo", "last words"], name="sluiced")
    process.wait(60)
    equal(1 + 1, 3, "the sum")

@case("missing things are skipped")
def missing(t):
    t.need("no-such-program")

@case("endless things are ended", timeout_s=2)
def endless(t):
    t.testbed(prefix="PREFIX3-", nodes=1)
    time.sleep(1000)

@case("dying things fail")
def dying(t):
    t.testbed(prefix="PREFIX4-", nodes=1)
    os.abort()
"""


def write_sample(t) -> tuple[str, str]:
    prefix = f"slr{secrets.token_hex(3)}"
    path = os.path.join(t.log_dir, "test_sample.py")
    with open(path, "w", encoding="utf-8") as f:
        f.write(SAMPLE.replace("PREFIX", prefix))
    return prefix, path


def spawn(t, *words: str) -> subprocess.Popen:
    argv = [sys.executable, "-m", "tests.lib.runner", "--logs", t.log_dir, *words]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, process_group=0)


def namespaces(prefix: str) -> list[str]:
    return glob.glob(f"/run/netns/{prefix}*")


@case("passes, failures, skips, time limits and crashes are told apart and add up")
def outcomes(t):
    prefix, path = write_sample(t)
    runner = spawn(t, "--time-factor", str(1 / PATIENCE), path)
    out = runner.communicate(timeout=180)[0]
    lines = out.splitlines()
    equal(lines[-1], "1 passed, 3 failed, 1 skipped", out)
    equal(runner.returncode, 1, "exit status")
    for expected in (
        "ok   right things pass (",
        "FAIL wrong things fail (",
        "the sum: got 2, expected 3",
        "last words",
        "skip missing things are skipped: no-such-program is missing",
        "FAIL endless things are ended (",
        "ended after 2 s",
        "FAIL dying things fail (",
        "ended by SIGABRT",
    ):
        assert expected in out, f"{expected!r} is not in:\n{out}"
    wait_until(lambda: not namespaces(prefix), 10, "nothing is left")


@case("--only chooses by name or sentence, and nothing chosen is a failure")
def only(t):
    _, path = write_sample(t)
    runner = spawn(t, "--only", "right", path)
    out = runner.communicate(timeout=180)[0]
    equal((out.splitlines()[-1], runner.returncode), ("1 passed, 0 failed", 0), out)
    runner = spawn(t, "--only", "nothing has this name", path)
    out = runner.communicate(timeout=180)[0]
    equal((out.splitlines()[-1], runner.returncode), ("0 passed, 0 failed", 1), out)


@case("--keep leaves the testbed of a failure up and says how to enter and remove it")
def keep(t):
    prefix, path = write_sample(t)
    runner = spawn(t, "--keep", "--only", "wrong", path)
    out = runner.communicate(timeout=180)[0]
    try:
        assert f"exec --prefix {prefix}2- ingress" in out, out
        assert len(namespaces(prefix)) == 4, namespaces(prefix)
    finally:
        command = os.path.join(ROOT, "tools", "testbed", "testbed")
        subprocess.run([sys.executable, command, "down", "--prefix", f"{prefix}2-"], check=True)
    equal(namespaces(prefix), [], "left")


def interrupted_run(t, signum: int) -> None:
    prefix, path = write_sample(t)
    runner = spawn(t, "--only", "endless", "--time-factor", "10", path)
    wait_until(lambda: len(namespaces(prefix)) == 4, 10, "the test has its testbed")
    time.sleep(0.3)
    runner.send_signal(signum)
    out = runner.communicate(timeout=90)[0]
    wait_until(lambda: not namespaces(prefix), 10, f"nothing is left ({out})")
    if signum != signal.SIGKILL:
        equal(out.splitlines()[-1], "0 passed, 1 failed", out)
        equal(runner.returncode, 128 + signum, "exit status")


@case("Ctrl-C, SIGTERM and SIGKILL of the runner leave nothing behind", timeout_s=60)
def interrupted(t):
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        interrupted_run(t, signum)
