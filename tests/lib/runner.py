#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Runs the namespace tests: every @case function of the files given, by default tests/netns/test_*.py.
One line per test and, at the end, "N passed, N failed[, N skipped]". The exit status is 0 only if
nothing failed. Each test runs in a process of its own, which is ended when its time is over; what
it built goes away in any case. Tests that do not ask to be alone run several at once, for most of
their time is waiting. Logs are in build/netns/last/TEST/ until the next run.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import glob
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from tests.lib import BUILD, PROGRAMS  # noqa: E402
from tests.lib.case import Context, Skip  # noqa: E402
from tests.lib.wait import PATIENCE  # noqa: E402
from sluice_testbed import Interrupted, run_main  # noqa: E402

EXIT_FAILED = 1
EXIT_SKIPPED = 77
TERM_GRACE_S = 10
PR_SET_PDEATHSIG = 1


def load_cases(path: str) -> list[tuple[str, object]]:
    """(function name, function) of a file, in the order in which they are defined."""
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(f"netns_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [(n, fn) for n, fn in vars(module).items() if hasattr(fn, "case")]


def test_files() -> list[str]:
    return sorted(glob.glob(os.path.join(ROOT, "tests", "netns", "test_*.py")))


# --------------------------------------------------------------------------------------------------
# In the process of one test


def end_with_parent() -> None:
    """Get SIGTERM, which cleans up, when the runner is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run_one(path: str, name: str, log_dir: str, keep: bool) -> int:
    """Run one test here. What is to be shown goes to standard output."""
    end_with_parent()
    fn = dict(load_cases(path))[name]
    context = Context(log_dir)
    status = 0
    watch_sanitizers(log_dir)
    try:
        fn(context)
    except Skip as e:
        print(e)
        status = EXIT_SKIPPED
    except Interrupted as e:
        print(f"ended after {fn.case.timeout_s:g} s, or from outside ({e})")
        report_failure(context)
        status = EXIT_FAILED
    except BaseException as e:  # every kind of failure ends in the report
        report_failure(context, e)
        status = EXIT_FAILED
    keep = keep and status == EXIT_FAILED
    context.close(keep)
    if keep:
        for testbed in context.testbeds:
            command = f"tools/testbed/testbed exec --prefix {testbed.prefix} ingress bash"
            print(f"kept: {command}\n      tools/testbed/testbed down --prefix {testbed.prefix}")
    return status if clean(log_dir) else EXIT_FAILED


def watch_sanitizers(log_dir: str) -> None:
    """Reports of programs that a test starts are files, whatever becomes of the programs."""
    if not PROGRAMS:
        return
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        given = os.environ.get(name, "")
        os.environ[name] = f"{given}:log_path={log_dir}/report".lstrip(":")


def clean(log_dir: str) -> bool:
    """Whether no program was reported; prints what was."""
    paths = glob.glob(os.path.join(log_dir, "report.*"))
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as f:
            print(f"-- {path}\n{f.read(8000)}")
    return not paths


def report_failure(context: Context, error: BaseException | None = None) -> None:
    try:
        if error:
            lines = traceback.format_exception(error)
            print("".join(lines).rstrip())
        else:
            print(traceback.format_exc().rstrip())
        print(context.last_words())
    except Interrupted:
        print("(interrupted while reporting)")
    sys.stdout.flush()


# --------------------------------------------------------------------------------------------------
# In the process that runs all of them


def new_log_dir() -> str:
    """A directory of this run's own, for several may run at once; those of ended runs go."""
    base = os.path.join(BUILD, "netns")
    os.makedirs(base, exist_ok=True)
    for name in os.listdir(base):
        pid = name.removeprefix("run-")
        if name != "last" and not (pid.isdigit() and os.path.exists(f"/proc/{pid}")):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)
    path = os.path.join(base, f"run-{os.getpid()}")
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    link = os.path.join(base, f"last-{os.getpid()}")
    os.symlink(os.path.basename(path), link)
    os.rename(link, os.path.join(base, "last"))
    return path


class Runner:
    def __init__(self, log_dir: str, keep: bool, time_factor: float):
        self.log_dir = log_dir
        self.keep = keep
        self.time_factor = time_factor
        self.counts = {"ok": 0, "FAIL": 0, "skip": 0}
        self.lock = threading.Lock()  # of the counts and of what is printed
        self.children: set[subprocess.Popen] = set()
        self.interrupted = 0

    def on_signal(self, signum, _frame) -> None:
        """Hand the signal to the tests, which clean up; the run ends after them."""
        self.interrupted = signum
        for child in list(self.children):
            child.send_signal(signum)

    def over(self) -> bool:
        return bool(self.interrupted or (self.keep and self.counts["FAIL"]))

    def run_all(self, cases: list[tuple[str, str, object]], jobs: int) -> None:
        """So many at once, and then those that must be alone."""
        beside = [case for case in cases if jobs > 1 and not case[2].case.alone]
        alone = [case for case in cases if case not in beside]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for done in [pool.submit(self.run_next, *case) for case in beside]:
                done.result()
        for case in alone:
            self.run_next(*case)

    def run_next(self, path: str, name: str, fn) -> None:
        if not self.over():
            self.run(path, name, fn)

    def run(self, path: str, name: str, fn) -> None:
        label = f"{os.path.splitext(os.path.basename(path))[0]}.{name}"
        log_dir = os.path.join(self.log_dir, label)
        os.makedirs(log_dir, exist_ok=True)
        began = time.monotonic()
        output_path = os.path.join(log_dir, "output.log")
        with open(output_path, "wb") as output:
            status = self._run_child(path, name, log_dir, output, fn.case.timeout_s)
        with open(output_path, encoding="utf-8", errors="replace") as f:
            said = f.read().strip()
        with self.lock:
            self._report(fn.case.sentence, status, said, time.monotonic() - began, output_path)

    def _run_child(self, path: str, name: str, log_dir: str, output, timeout_s: float) -> int:
        argv = [sys.executable, os.path.realpath(__file__), "--child", path, name, log_dir]
        argv += ["--keep"] if self.keep else []
        child = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
                                 stdin=subprocess.DEVNULL, process_group=0)
        self.children.add(child)
        if self.interrupted:
            child.send_signal(self.interrupted)
        try:
            return self._wait(child, timeout_s * self.time_factor * PATIENCE)
        finally:
            self.children.discard(child)

    @staticmethod
    def _wait(child: subprocess.Popen, limit_s: float) -> int:
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return EXIT_FAILED

    def _report(self, sentence: str, status: int, said: str, took_s: float, path: str) -> None:
        if status == EXIT_SKIPPED:
            self.counts["skip"] += 1
            print(f"skip {sentence}: {said.splitlines()[-1] if said else ''}", flush=True)
        elif status == 0:
            self.counts["ok"] += 1
            print(f"ok   {sentence} ({took_s:.1f} s)", flush=True)
        else:
            self.counts["FAIL"] += 1
            print(f"FAIL {sentence} ({took_s:.1f} s)")
            died = f"ended by {signal.Signals(-status).name}\n" if status < 0 else ""
            text = f"{died}{said}\nall of it: {os.path.relpath(path, ROOT)}"
            print("     | " + text.replace("\n", "\n     | "), flush=True)

    def summary(self) -> str:
        text = f"{self.counts['ok']} passed, {self.counts['FAIL']} failed"
        return text + (f", {self.counts['skip']} skipped" if self.counts["skip"] else "")


def _test_file(path: str) -> str:
    if not (path.endswith(".py") and os.path.isfile(path)):
        raise argparse.ArgumentTypeError(f"{path}: no file of tests (--only takes a pattern)")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", metavar="REGEX", help="tests whose sentence or FILE:NAME matches")
    parser.add_argument("--keep", action="store_true",
                        help="stop at the first failure and leave its testbed up")
    parser.add_argument("--logs", metavar="DIR", help="where logs go")
    parser.add_argument("--list", action="store_true", help="print the names and sentences")
    parser.add_argument("--time-factor", type=float, default=1.0, metavar="X",
                        help="multiply the time limits (slow machines, sanitizers)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N",
                        help="tests at once (default: %(default)s)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", metavar="FILE", type=_test_file,
                        help="of tests (all of tests/netns)")
    return parser


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    if args.child:
        return run_main(run_one, *args.child, args.keep)
    wanted = re.compile(args.only or "", re.IGNORECASE)
    cases = [
        (os.path.realpath(path), name, fn)
        for path in args.files or test_files()
        for name, fn in load_cases(path)
        if wanted.search(fn.case.sentence) or wanted.search(f"{os.path.basename(path)}:{name}")
    ]
    if args.list:
        for path, name, fn in cases:
            print(f"{os.path.basename(path)}:{name}: {fn.case.sentence}")
        return 0
    if os.geteuid() != 0:
        print("the namespace tests need root", file=sys.stderr)
        return 1
    runner = Runner(args.logs or new_log_dir(), args.keep, args.time_factor)
    os.environ["TEST_TIME_FACTOR"] = str(args.time_factor)  # for wait.py in the tests
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, runner.on_signal)
    runner.run_all(cases, 1 if args.keep else args.jobs)
    print(runner.summary())
    if runner.interrupted:
        return 128 + runner.interrupted
    return 1 if runner.counts["FAIL"] or not sum(runner.counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
