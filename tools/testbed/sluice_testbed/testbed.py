# SPDX-License-Identifier: BSD-2-Clause
"""Plan -> namespaces, cables, addresses; and their owner."""
from __future__ import annotations

import atexit
import dataclasses
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys

from .host import BUILD, ROOT, Host
from .plan import Plan, Topology, fabric_batch, fabric_sysctls, host_batch, host_sysctls
from .removal import remove
from .signals import Interrupted, TestbedError, signals
from .state import (
    STATE_DIR,
    STATE_VERSION,
    Lock,
    check_prefix,
    process_start,
    read_state,
    write_state,
)
from .system import (
    BPFFS,
    command,
    ensure_machine,
    enter,
    netns_path,
    pin_pass_program,
    setns_thread,
    write_sysctls,
)

COMMAND = os.path.join(ROOT, "tools", "testbed", "testbed")

_live: set[Testbed] = set()


class Testbed:
    """
    A testbed that belongs to this process.

        with Testbed(Topology(nodes=4)) as tb:
            tb["client"].run(["ping", "-c1", tb["node1"].ip4])

    It is down when the block ends, also by an exception or a signal, and when the process ends for
    any other reason. keep=True leaves it up (until `testbed down --prefix PREFIX`).
    """

    __test__ = False

    def __init__(
        self,
        topology: Topology | None = None,
        prefix: str | None = None,
        log_dir: str | None = None,
        keep: bool = False,
    ):
        self.topology = topology or Topology()
        self.plan = Plan(self.topology)
        self.prefix = check_prefix(prefix or f"sl{secrets.token_hex(3)}-")
        self.own_log_dir = log_dir is None
        self.log_dir = log_dir or os.path.join(BUILD, "testbed", self.prefix)
        self.keep = keep
        self.hosts = {plan.name: Host(self, plan) for plan in self.plan.hosts}
        self.fabric = f"{self.prefix}fabric"
        self.pin_dir = os.path.join(BPFFS, f"sluice-testbed-{self.prefix}")
        self.run_dir = os.path.join(STATE_DIR, self.prefix)
        self._state: dict | None = None
        self._guard: subprocess.Popen | None = None
        self._log_names: dict[str, int] = {}

    def __getitem__(self, name: str) -> Host:
        try:
            return self.hosts[name]
        except KeyError:
            known = ", ".join(self.hosts)
            raise TestbedError(f"no host {name!r} in testbed {self.prefix}: {known}") from None

    def _of_role(self, role: str) -> list[Host]:
        return [h for h in self.hosts.values() if h.role == role]

    @property
    def clients(self) -> list[Host]:
        return self._of_role("client")

    @property
    def nodes(self) -> list[Host]:
        return self._of_role("node")

    @property
    def client(self) -> Host:
        return self.hosts["client"]

    @property
    def ingress(self) -> Host:
        return self.hosts["ingress"]

    @property
    def vip4(self) -> str:
        return self.plan.vips4[0]

    @property
    def vip6(self) -> str:
        return self.plan.vips6[0]

    def log_path(self, name: str) -> str:
        """A fresh file name in the log directory: NAME.log, NAME-2.log, ..."""
        n = self._log_names[name] = self._log_names.get(name, 0) + 1
        return os.path.join(self.log_dir, f"{name}.log" if n == 1 else f"{name}-{n}.log")

    # -- up

    def up(self) -> "Testbed":
        """Build it. On failure nothing is left."""
        signals.install()
        ensure_machine()
        _live.add(self)
        try:
            self._start_guard()
            with Lock(self.prefix) as lock:
                if read_state(self.prefix):
                    raise TestbedError(f"testbed {self.prefix} exists; `testbed down --prefix "
                                       f"{self.prefix}` removes it, another --prefix stands beside")
                self._record("creating")
                os.makedirs(self.log_dir, exist_ok=True)
                os.makedirs(self.run_dir, mode=0o700)
                self._build(lock)
                self._record("up")
        except BaseException:
            self.down()
            raise
        return self

    def _record(self, phase: str) -> None:
        me = os.getpid()
        self._state = {
            "version": STATE_VERSION,
            "prefix": self.prefix,
            "phase": phase,
            "owner": {"pid": me, "start": process_start(me)},
            "topology": dataclasses.asdict(self.topology),
            "namespaces": [self.fabric] + [h.ns for h in self.hosts.values()],
            "pins": [self.pin_dir],
            "run_dir": self.run_dir,
            "log_dir": self.log_dir,
        }
        write_state(self._state)

    def _start_guard(self) -> None:
        """The guard takes the testbed down when our end of its pipe closes without a word."""
        with signals.hold():
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", COMMAND, "guard", "--prefix", self.prefix,
                 str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if not guard:
            return
        try:
            guard.stdin.write(b"dismissed")
            guard.stdin.close()
        except BrokenPipeError:
            pass
        guard.wait()

    def _batch(self, ns: str, lines: list[str], lock: Lock) -> None:
        command(enter(ns, ["ip", "-batch", "-"]), "".join(line + "\n" for line in lines), lock)

    def _build(self, lock: Lock) -> None:
        names = self._state["namespaces"]
        command(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in names), lock)
        setns_thread(netns_path(self.fabric), write_sysctls, (fabric_sysctls(),), {})
        for host in self.hosts.values():
            host.sysctl(host_sysctls(host.plan))
        os.makedirs(self.pin_dir, mode=0o700)
        pass_program = os.path.join(self.pin_dir, "pass")
        pin_pass_program(pass_program)
        self._batch(self.fabric, fabric_batch(self.plan, self.prefix, pass_program), lock)
        for host in self.hosts.values():
            self._batch(host.ns, host_batch(self.plan, host.plan), lock)
        self._set_offloads(lock)

    def _set_offloads(self, lock: Lock) -> None:
        """Finished checksums on every cable; no switch that glues segments together."""
        for host in self.hosts.values():
            for leg in host.plan.legs:
                command(host.enter(["ethtool", "-K", leg.dev, "tx", "off"]), lock=lock)
                words = ["ethtool", "-K", leg.port, "tx", "off", "gro", "off"]
                command(enter(self.fabric, words), lock=lock)

    def fabric_ip(self, *words: str) -> str:
        """`ip WORDS` among the switches."""
        return command(enter(self.fabric, ["ip", *words]))

    # -- down

    def down(self) -> None:
        """Remove everything. May be called twice."""
        with signals.hold():
            if self._state:
                remove(self.prefix)
                self._state = None
            for host in self.hosts.values():
                for process in host.processes:
                    process.popen.wait()
                    process.close()
                host.processes.clear()
            self._dismiss_guard()
            _live.discard(self)

    def release(self) -> None:
        """Let it stay up after this process ends; `testbed down` removes it."""
        with signals.hold(), Lock(self.prefix):
            self._state["owner"] = None
            write_state(self._state)
            self._dismiss_guard()
            _live.discard(self)

    def __enter__(self) -> "Testbed":
        return self.up()

    def __exit__(self, kind, _value, _trace) -> None:
        if self.keep:
            self.release()
            return
        self.down()
        if self.own_log_dir and (kind is None or issubclass(kind, Interrupted)):
            shutil.rmtree(self.log_dir, ignore_errors=True)


@atexit.register
def _down_at_exit() -> None:
    with signals.hold():
        for testbed in list(_live):
            testbed.down()


def _nobody_reads() -> bool:
    """Whoever read standard output has seen enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _fd, events in poll.poll(0))


def run_main(fn, *args) -> int:
    """Call fn and turn how it ended into an exit status; dies of the signal that ended it."""
    signals.install()
    try:
        status = fn(*args) or 0
        sys.stdout.flush()
        return status
    except TestbedError as e:
        print(f"testbed: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        _down_at_exit()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Interrupted as e:
        _down_at_exit()
        sys.stdout.flush()
        signal.signal(e.signum, signal.SIG_DFL)
        os.kill(os.getpid(), e.signum)
        return 128 + e.signum
