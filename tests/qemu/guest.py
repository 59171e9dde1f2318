# SPDX-License-Identifier: BSD-2-Clause
"""
In the guest: every packet program is loaded, the packet cases run, and what needs a kernel is
tested on this one. Lines "ok|FAIL|skip  NAME", at the end "N passed, N failed, N skipped".
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS = Path("/sys/fs/bpf/qemu")

# Namespace tests: beside another program in libxdp's dispatcher (ipip); gue with the decap program.
NETNS = "test_chain|test_modes.py:flat_gue6"

# Of the programs in build/tests/kernel: which of their tests; the others say nothing about a
# kernel.
KERNEL = {"test_attach": "*chain*", "test_scan": "test_e*"}

totals = {"passed": 0, "failed": 0, "skipped": 0}


def say(line: str) -> None:
    print(line, flush=True)


def result(name: str, error: str | None, note: str = "") -> None:
    if error is None:
        totals["passed"] += 1
        say(f"ok    {name}{': ' if note else ''}{note}")
    else:
        totals["failed"] += 1
        say(f"FAIL  {name}\n{error}")


def run(argv: list, limit_s: float) -> tuple[int, str]:
    """Status and output; -1 after limit_s."""
    try:
        p = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, text=True, errors="replace",
                           timeout=limit_s, check=False)
        return p.returncode, p.stdout
    except subprocess.TimeoutExpired as e:
        text = e.output or b""
        return -1, text.decode(errors="replace") + f"\nnot done after {limit_s:g} s"


def tail(text: str, lines: int = 60) -> str:
    return "\n".join(f"      {line[:200]}" for line in text.strip().splitlines()[-lines:])


def load_programs() -> None:
    for path in sorted(ROOT.glob("build/*.bpf.o")) + sorted(ROOT.glob("build/tests/*.bpf.o")):
        status, out = run(["bpftool", "prog", "loadall", path, PINS], 200)
        result(f"{path.relative_to(ROOT / 'build')} loads", tail(out) if status else None)
        shutil.rmtree(PINS, ignore_errors=True)


def add_counts(name: str, status: int, out: str) -> None:
    """A program that ends with "N passed, N failed[, N skipped]"."""
    found = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", out, re.M)
    if not found:
        result(name, tail(out))
        return
    passed, failed, skipped = (int(n or 0) for n in found[-1])
    totals["passed"] += passed
    totals["skipped"] += skipped
    totals["failed"] += failed
    line = f"{passed} passed, {failed} failed, {skipped} skipped"
    if failed:
        shown = [x for x in out.splitlines() if not x.startswith("ok ")]
        say(f"FAIL  {name}: {line}\n" + tail("\n".join(shown), 60))
    elif status:
        result(name, tail(out))
    else:
        say(f"ok    {name}: {line}")


def packet_cases() -> None:
    add_counts("packet cases in the kernel", *run(["build/tests/packet_cases", "--kernel"], 400))


def kernel_tests() -> None:
    """Programs of cmocka: one line "[       OK ] name" a test."""
    for name, pattern in KERNEL.items():
        at = time.monotonic()
        status, out = run([ROOT / "build/tests/kernel" / name, pattern], 500)
        ok = len(re.findall(r"^\[ *OK *\]", out, re.M))
        skipped = re.findall(r"^\[ *SKIPPED *\] ([a-z]\w*)", out, re.M)
        totals["passed"] += ok
        totals["skipped"] += len(skipped)
        if status or not ok:
            result(name, tail(out, 40))
        else:
            say(f"ok    {name}: {ok} passed ({time.monotonic() - at:.1f} s)")


def namespace_tests() -> None:
    argv = [sys.executable, "-m", "tests.lib.runner", "--time-factor", "4", "--only", NETNS]
    status, out = run(argv, 900)
    add_counts("namespaces", status, out)


def main() -> int:
    began = time.monotonic()
    say(f"kernel {os.uname().release}, {os.cpu_count()} CPUs")
    for step in (load_programs, packet_cases, kernel_tests, namespace_tests):
        at = time.monotonic()
        step()
        say(f"      ({step.__name__}: {time.monotonic() - at:.1f} s)")
    say(f"      ({time.monotonic() - began:.0f} s in the guest)")
    say("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    return 0 if totals["passed"] and not totals["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
