# SPDX-License-Identifier: BSD-2-Clause
"""
A network of hosts on one machine: topology description -> namespaces, veth pairs, addresses,
routes; and back to nothing.

Every host is a network namespace named PREFIX + host name. One more namespace, PREFIX + "fabric",
holds the switches: one bridge per segment, one veth port per host leg. Nothing is ever created in
the namespace of the caller, so any number of testbeds with the same addresses can run side by side.

    clients --- [access] --- edge --- [front] --- ingress          (access and edge: optional)
                                         |
                          nodes (flat), or router --- [back] --- nodes (routed, split)

  flat    clients, ingress and nodes share the segment "front" (layer 2 forwarding works)
  routed  nodes are behind a router on the segment "back"; ingress has one leg, on "front"
  split   as routed, and ingress has a second leg, eth1, on "back"

Nodes own the virtual addresses on their loopback device and answer clients directly. Clients reach
the virtual prefixes by a route through the ingress host.

What was created is written down in /run/sluice-testbed/PREFIX.json before it is created, so that
`down` works after the creator was killed. A testbed made from Python belongs to its process: a
guard process takes it down when that process ends for whatever reason, SIGKILL included.
"""
from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

STATE_DIR = "/run/sluice-testbed"
NETNS_DIR = "/run/netns"
BPFFS = "/sys/fs/bpf"
DEFAULT_PREFIX = "sluice-"
STATE_VERSION = 1
NODES_MAX = 16
LOCK_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 30
TERM_GRACE_S = 1.0
CLONE_NEWNET = 0x40000000

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
BUILD = os.path.join(ROOT, "build")


class TestbedError(Exception):
    """Something about the testbed cannot be done; the message says what and why."""

    __test__ = False


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, signum: int):
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


# --------------------------------------------------------------------------------------------------
# What is to be built


@dataclasses.dataclass(frozen=True)
class Topology:
    """
    What the testbed looks like.
    mtu: of the clients' side. backend_mtu: between ingress and nodes, where an outer header has to
    fit; the same on both means that full-sized packets do not fit once they are encapsulated.
    access_mtu: with edge=True, of the segment between clients and their router.
    """

    layout: str = "flat"
    clients: int = 1
    ingress: int = 1
    nodes: int = 4
    vips: int = 1
    mtu: int = 1500
    backend_mtu: int = 1700
    edge: bool = False
    access_mtu: int = 1500

    def check(self) -> None:
        limits = {
            "clients": (1, 64),
            "ingress": (1, 2),
            "nodes": (1, NODES_MAX),
            "vips": (1, 100),
            "mtu": (1280, 3498),
            "backend_mtu": (1280, 3498),
            "access_mtu": (1280, 3498),
        }
        if self.layout not in ("flat", "routed", "split"):
            raise TestbedError(f"layout {self.layout!r}: accepted are flat, routed, split")
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise TestbedError(f"{name} {value}: accepted is {low} to {high}")


@dataclasses.dataclass(frozen=True)
class Segment:
    """A layer-2 segment: 10.77.INDEX.0/24 and fd77:0:0:INDEX::/64. Index 0 is the VIPs'."""

    name: str
    index: int
    mtu: int

    def ip4(self, number: int) -> str:
        return f"10.77.{self.index}.{number}"

    def ip6(self, number: int) -> str:
        """The decimal digits of `number` are the last group, so that both families read alike."""
        return f"fd77:0:0:{self.index}::{number}" if self.index else f"fd77::{number}"

    @property
    def net4(self) -> str:
        return f"10.77.{self.index}.0/24"

    @property
    def net6(self) -> str:
        return f"fd77:0:0:{self.index}::/64" if self.index else "fd77::/64"


@dataclasses.dataclass(frozen=True)
class Leg:
    """One network interface of a host, and the switch port it is plugged into."""

    dev: str
    segment: Segment
    number: int
    port: str
    mtu: int

    @property
    def ip4(self) -> str:
        return self.segment.ip4(self.number)

    @property
    def ip6(self) -> str:
        return self.segment.ip6(self.number)

    @property
    def mac(self) -> str:
        return f"02:77:00:00:{self.segment.index:02x}:{self.number:02x}"


@dataclasses.dataclass
class HostPlan:
    """A host to build. routes: arguments of `ip route add`, both families."""

    name: str
    role: str
    legs: list[Leg]
    routes: list[str] = dataclasses.field(default_factory=list)
    owns_vips: bool = False
    forwards: bool = False


class Plan:
    """Topology -> segments, hosts, legs, addresses and routes. Pure: creates nothing."""

    def __init__(self, topology: Topology):
        topology.check()
        self.topology = t = topology
        wide = max(t.mtu, t.backend_mtu)
        self.vip = Segment("vip", 0, 0)
        self.front = Segment("front", 1, t.mtu if t.layout == "split" else wide)
        self.back = None if t.layout == "flat" else Segment("back", 2, t.backend_mtu)
        self.access = Segment("access", 3, t.access_mtu) if t.edge else None
        self.vips4 = [self.vip.ip4(100 + i) for i in range(t.vips)]
        self.vips6 = [self.vip.ip6(100 + i) for i in range(t.vips)]
        self.hosts = self._clients() + self._ingress() + self._nodes() + self._routers()

    @property
    def segments(self) -> list[Segment]:
        return [s for s in (self.front, self.back, self.access) if s]

    @staticmethod
    def _via(networks: list[str], gateway4: str, gateway6: str, extra: str = "") -> list[str]:
        return [f"{net} via {gateway6 if ':' in net else gateway4}{extra}" for net in networks]

    def _clients(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        home = self.access or self.front
        for i in range(t.clients):
            name = "client" if i == 0 else f"client{i + 1}"
            mtu = t.access_mtu if self.access else t.mtu
            leg = Leg("eth0", home, 11 + i, name, mtu)
            host = HostPlan(name, "client", [leg])
            if self.access:
                host.routes = self._via(["default", "::/0"], home.ip4(253), home.ip6(253))
            else:
                host.routes = self._vip_routes() + self._back_routes()
            hosts.append(host)
        return hosts

    def _vip_routes(self) -> list[str]:
        front = self.front
        return self._via([self.vip.net4, self.vip.net6], front.ip4(1), front.ip6(1))

    def _back_routes(self) -> list[str]:
        if not self.back:
            return []
        return self._via([self.back.net4, self.back.net6], self.front.ip4(254), self.front.ip6(254))

    def _access_routes(self, extra: str = "") -> list[str]:
        if not self.access:
            return []
        networks = [self.access.net4, self.access.net6]
        return self._via(networks, self.front.ip4(253), self.front.ip6(253), extra)

    def _ingress(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        for i in range(t.ingress):
            name = "ingress" if i == 0 else f"ingress{i + 1}"
            legs = [Leg("eth0", self.front, 1 + i, name, self.front.mtu)]
            host = HostPlan(name, "ingress", legs, self._access_routes(), owns_vips=True)
            if t.layout == "split":
                legs.append(Leg("eth1", self.back, 1 + i, f"{name}-b", t.backend_mtu))
            elif t.layout == "routed":
                host.routes += self._back_routes()
            hosts.append(host)
        return hosts

    def _nodes(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        home = self.back or self.front
        for i in range(t.nodes):
            name = f"node{i + 1}"
            leg = Leg("eth0", home, 101 + i, name, t.backend_mtu)
            host = HostPlan(name, "node", [leg], owns_vips=True)
            if self.back:
                extra = f" mtu {t.mtu}"
                host.routes = self._via(["default", "::/0"], home.ip4(254), home.ip6(254), extra)
            else:
                host.routes = self._access_routes(f" mtu {t.mtu}")
            hosts.append(host)
        return hosts

    def _routers(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        if self.back:
            legs = [
                Leg("eth0", self.front, 254, "router", self.front.mtu),
                Leg("eth1", self.back, 254, "router-b", t.backend_mtu),
            ]
            hosts.append(HostPlan("router", "router", legs, self._access_routes(), forwards=True))
        if self.access:
            legs = [
                Leg("eth0", self.front, 253, "edge", t.mtu),
                Leg("eth1", self.access, 253, "edge-a", t.access_mtu),
            ]
            routes = self._vip_routes() + self._back_routes()
            hosts.append(HostPlan("edge", "router", legs, routes, forwards=True))
        return hosts


# --------------------------------------------------------------------------------------------------
# Small pieces: signals, locks, state files, namespaces, processes


class _Signals:
    """
    The first SIGINT, SIGTERM or SIGHUP raises Interrupted in the main thread; inside hold() it
    waits until the outermost hold() ends. Later ones are ignored: we are on our way out already.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.pending = 0
        self.raised = False
        self.installed = False

    def install(self) -> None:
        if self.installed or threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)
        self.installed = True

    def _handle(self, signum, _frame) -> None:
        if self.depth:
            self.pending = signum
        else:
            self._raise(signum)

    def _raise(self, signum) -> None:
        if not self.raised:
            self.raised = True
            raise Interrupted(signum)

    @contextlib.contextmanager
    def hold(self):
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
        if self.depth == 0 and self.pending:
            signum, self.pending = self.pending, 0
            self._raise(signum)


_signals = _Signals()
_live: set["Testbed"] = set()
_libc = ctypes.CDLL(None, use_errno=True)


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _owner_alive(owner: dict | None) -> bool:
    return bool(owner) and process_start(owner["pid"]) == owner["start"]


def _check_prefix(prefix: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,30}", prefix):
        raise TestbedError(f"prefix {prefix!r}: accepted are 1 to 31 letters, digits, '_' and '-'")
    return prefix


def _state_path(prefix: str) -> str:
    return os.path.join(STATE_DIR, f"{prefix}.json")


def read_state(prefix: str) -> dict | None:
    """The state file of a testbed, or None if there is no such testbed."""
    try:
        with open(_state_path(prefix), encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def _write_state(state: dict) -> None:
    path = _state_path(state["prefix"])
    tmp = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp"
    with open(tmp, "w", encoding="utf-8") as f:
        json.dump(state, f, indent=1)
    os.rename(tmp, path)


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
    """

    def __init__(self, name: str):
        self.path = os.path.join(STATE_DIR, f"{name}.lock")
        self.fd = -1

    def __enter__(self) -> "Lock":
        os.makedirs(STATE_DIR, mode=0o755, exist_ok=True)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(fd):
                    self.fd = fd
                    return self
            except BlockingIOError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if time.monotonic() > deadline:
                raise TestbedError(f"{self.path} has been locked for {LOCK_TIMEOUT_S} s")
            time.sleep(0.02)

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __exit__(self, *_exc) -> None:
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        os.close(fd)


def _setns_thread(ns_path: str, fn, args, kwargs):
    """Run fn in a thread of its own that has entered the namespace; its result or exception."""
    box: list = []

    def body() -> None:
        try:
            fd = os.open(ns_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, f"setns {ns_path}: {os.strerror(code)}")
            finally:
                os.close(fd)
            box.append((True, fn(*args, **kwargs)))
        except BaseException as e:  # handed to the caller below
            box.append((False, e))

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join()
    ok, value = box[0]
    if ok:
        return value
    raise value


def _command(argv: list[str], text_in: str | None = None, lock: Lock | None = None) -> str:
    """
    Run a command that changes or reads the kernel's state; what it printed. In a group of its own:
    Ctrl-C is for us, and half of an `ip -batch` or a missed `ip netns del` helps nobody.
    """
    done = subprocess.run(
        argv,
        input=text_in or "",
        text=True,
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        process_group=0,
        pass_fds=(lock.fd,) if lock else (),
    )
    if done.returncode:
        raise TestbedError(
            f"{shlex.join(argv)}: exit status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def _netns_path(ns: str) -> str:
    return os.path.join(NETNS_DIR, ns)


def enter(ns: str, argv: list[str]) -> list[str]:
    """
    The command line that runs argv in a namespace. Not `ip netns exec` nor `ip -n`: those change
    the mount namespace too, and the programs pinned under /sys/fs/bpf would be out of sight.
    """
    return ["nsenter", f"--net={_netns_path(ns)}", "--", *argv]


def _netns_fds(names: list[str]) -> dict[str, int]:
    """Open descriptors of those names that are namespaces, which keeps their inode numbers ours."""
    nsfs = os.stat("/proc/self/ns/net").st_dev
    fds = {}
    for name in names:
        try:
            fd = os.open(_netns_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(fd).st_dev == nsfs:
            fds[name] = fd
        else:
            os.close(fd)
    return fds


def _processes_in(inodes: set[int]) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                found.append(int(entry))
        except OSError:
            continue
    return found


def _open_members(inodes: set[int]) -> list[int]:
    """pidfds of all processes inside the namespaces; membership is checked after opening."""
    pidfds = []
    for pid in _processes_in(inodes):
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                pidfds.append(fd)
                continue
        except OSError:
            pass
        os.close(fd)
    return pidfds


def _wait_pidfds(pidfds: list[int], timeout_s: float) -> list[int]:
    """Wait until the processes end; returns those that did not."""
    deadline = time.monotonic() + timeout_s
    left = list(pidfds)
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        poller = select.poll()
        for fd in left:
            poller.register(fd, select.POLLIN)
        ended = {fd for fd, _ in poller.poll(remaining * 1000)}
        left = [fd for fd in left if fd not in ended]
    return left


def _signal_all(pidfds: list[int], signum: int) -> None:
    for fd in pidfds:
        try:
            signal.pidfd_send_signal(fd, signum)
        except ProcessLookupError:
            pass


def _end_processes(inodes: set[int]) -> None:
    """End every process inside the namespaces: TERM, a grace time, KILL; until none is left."""
    for attempt in range(20):
        pidfds = _open_members(inodes)
        if not pidfds:
            return
        try:
            if attempt == 0:
                _signal_all(pidfds, signal.SIGTERM)
                _signal_all(pidfds, signal.SIGCONT)
                stubborn = _wait_pidfds(pidfds, TERM_GRACE_S)
            else:
                stubborn = pidfds
            _signal_all(stubborn, signal.SIGKILL)
            _wait_pidfds(stubborn, 2.0)
        finally:
            for fd in pidfds:
                os.close(fd)
    raise TestbedError("processes inside the testbed keep appearing; not removing it")


def ensure_bpffs() -> None:
    """Mount a BPF file system where the programs expect it, unless there is one."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        if any(line.split()[1:3] == [BPFFS, "bpf"] for line in f):
            return
    _command(["mount", "-t", "bpf", "bpf", BPFFS])


def _ensure_machine() -> None:
    """What testbeds share: the directory of namespaces (first use mounts it), and bpffs."""
    if os.geteuid() != 0:
        raise TestbedError("the testbed needs root (network namespaces, BPF)")
    for tool in ("ip", "nsenter", "ethtool"):
        if not shutil.which(tool):
            raise TestbedError(f"{tool} is missing (Debian: iproute2, util-linux, ethtool)")
    with Lock("machine"):
        ensure_bpffs()


# --------------------------------------------------------------------------------------------------
# BPF: the far end of each cable, and programs on hosts

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_PROG_LOAD = 5
_BPF_OBJ_PIN = 6
_BPF_PROG_TYPE_XDP = 6
_XDP_PASS_CODE = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def _bpf(command: int, attr: bytes) -> int:
    number = _BPF_SYSCALL.get(os.uname().machine)
    if number is None:
        raise TestbedError(f"the number of bpf(2) on {os.uname().machine} is not known here")
    r = _libc.syscall(number, command, attr, len(attr))
    if r < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf(2) command {command}: {os.strerror(code)}")
    return r


def _pin_pass_program(path: str) -> None:
    """
    Pin the XDP program "r0 = XDP_PASS; exit". It goes on the switch end of every cable: what a
    host sends by XDP_TX or XDP_REDIRECT arrives only where the receiving end of the veth pair
    polls. Measured on Linux 6.18: with GRO alone at that end frames of XDP_TX pile up unseen
    (veth_xdp_flush() looks for a program), with this program they pass at some Gbit/s.
    """
    code = ctypes.create_string_buffer(_XDP_PASS_CODE, len(_XDP_PASS_CODE))
    text = ctypes.create_string_buffer(b"BSD", 4)
    attr = struct.pack("<IIQQIIQII16s", _BPF_PROG_TYPE_XDP, len(_XDP_PASS_CODE) // 8,
                       ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0, 0, b"pass")
    fd = _bpf(_BPF_PROG_LOAD, attr)
    try:
        name = ctypes.create_string_buffer(os.fsencode(path))
        _bpf(_BPF_OBJ_PIN, struct.pack("<QII", ctypes.addressof(name), fd, 0))
    finally:
        os.close(fd)


# --------------------------------------------------------------------------------------------------
# Hosts and processes


class Process:
    """A program started inside a host, in a process group of its own. Output goes to `log`."""

    def __init__(self, host: "Host", popen: subprocess.Popen, name: str, log: str):
        self.host = host
        self.popen = popen
        self.name = name
        self.log = log
        self.pidfd = os.pidfd_open(popen.pid)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    def running(self) -> bool:
        return self.popen.poll() is None

    def send(self, signum: int) -> None:
        """Signal this one process; nothing happens if it has ended."""
        if self.popen.poll() is None:
            signal.pidfd_send_signal(self.pidfd, signum)

    def kill(self) -> int:
        """End it by SIGKILL; its exit status."""
        self.send(signal.SIGKILL)
        return self.wait(5)

    def stop(self, timeout_s: float = 5.0) -> int:
        """End it by SIGTERM, after timeout_s by SIGKILL; its exit status."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def wait(self, timeout_s: float) -> int:
        """Its exit status; TestbedError if it is still running after timeout_s."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TestbedError(
                f"{self.name} on {self.host.name} still runs after {timeout_s} s; log: {self.log}"
            ) from None

    def output(self) -> str:
        """Everything it has written so far."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Host:
    """A namespace that plays a machine."""

    def __init__(self, testbed: "Testbed", plan: HostPlan):
        self.testbed = testbed
        self.plan = plan
        self.name = plan.name
        self.role = plan.role
        self.ns = testbed.prefix + plan.name
        self.ns_path = _netns_path(self.ns)
        self.processes: list[Process] = []

    def __repr__(self) -> str:
        return f"<host {self.ns}>"

    def leg(self, segment: str | None = None) -> Leg:
        """The leg on a segment; without a name, the first."""
        for leg in self.plan.legs:
            if segment is None or leg.segment.name == segment:
                return leg
        raise TestbedError(f"{self.name} has no leg on segment {segment}")

    @property
    def dev(self) -> str:
        return self.leg().dev

    @property
    def ip4(self) -> str:
        return self.leg().ip4

    @property
    def ip6(self) -> str:
        return self.leg().ip6

    @property
    def mac(self) -> str:
        return self.leg().mac

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs argv inside this host, in the caller's mount namespace."""
        return enter(self.ns, [str(word) for word in argv])

    def popen(self, argv: list[str], name: str | None = None, **kwargs) -> Process:
        """
        Start a program. It is ended when the testbed goes down. kwargs: as subprocess.Popen.
        It is born inside the namespace, so there is no moment when `down` would not find it.
        """
        name = name or os.path.basename(str(argv[0]))
        log = self.testbed.log_path(f"{self.name}-{name}")
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        with _signals.hold(), open(log, "ab") as out:
            kwargs.setdefault("stdout", out)
            kwargs.setdefault("stderr", out)
            popen = self.call(subprocess.Popen, [str(word) for word in argv], process_group=0,
                              **kwargs)
            process = Process(self, popen, name, log)
            self.processes.append(process)
        return process

    def run(self, argv: list[str], check: bool = True, timeout_s: float = 30,
            text_in: str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program to its end; CompletedProcess with text. check: failure is an error."""
        argv = [str(word) for word in argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        pipes["stdin"] = subprocess.DEVNULL if text_in is None else subprocess.PIPE
        with _signals.hold():
            popen = self.call(subprocess.Popen, argv, process_group=0, **pipes, **kwargs)
        with popen:
            try:
                out, err = popen.communicate(text_in, timeout_s)
            except BaseException as e:
                os.killpg(popen.pid, signal.SIGKILL)
                if not isinstance(e, subprocess.TimeoutExpired):
                    raise
                raise TestbedError(
                    f"{self.name}: {shlex.join(argv)}: no end in {timeout_s} s"
                ) from None
        done = subprocess.CompletedProcess(argv, popen.returncode, out, err)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise TestbedError(
                f"{self.name}: {shlex.join(argv)}: exit status {done.returncode}: {said}"
            )
        return done

    def call(self, fn, *args, **kwargs):
        """Call a Python function in a thread inside this host: sockets it opens belong here."""
        return _setns_thread(self.ns_path, fn, args, kwargs)

    def ip(self, *words: str, check: bool = True) -> str:
        """`ip WORDS` inside this host; what it printed."""
        return self.run(["ip", *words], check=check).stdout

    def ip_json(self, *words: str):
        return json.loads(self.ip("-j", *words) or "[]")

    def sysctl(self, values: dict[str, object]) -> None:
        """Set sysctls: {"net.ipv4.ip_forward": 1}. Device names in keys must hold no dot."""
        self.call(_write_sysctls, values)

    def curl_json(self, url: str, method: str = "GET", data=None, timeout_s: float = 5):
        """Request url from inside this host; the decoded JSON body. Error status is an error."""
        argv = ["curl", "-sS", "--fail-with-body", "--globoff", "--max-time", str(timeout_s)]
        argv += ["-X", method]
        if data is not None:
            argv += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(data)]
        body = self.run([*argv, url], timeout_s=timeout_s + 2).stdout
        try:
            return json.loads(body) if body.strip() else None
        except ValueError:
            raise TestbedError(f"{self.name}: {url}: not JSON: {body[:200]!r}") from None

    def attach_xdp(self, obj: str, program: str | None = None, mode: str = "native",
                   dev: str | None = None, pin: bool = False) -> None:
        """
        Attach an XDP program from an object file under build/, in place of one that is there.
        pin: its maps go to the directory self.pin_dir, where bpftool finds them.
        """
        argv = [os.path.join(BUILD, "xdpattach"), "--mode", mode, "--replace"]
        argv += ["--program", program] if program else []
        argv += ["--pin", self.pin_dir] if pin else []
        self.run([*argv, os.path.join(BUILD, obj), dev or self.dev])

    def detach_xdp(self, mode: str = "native", dev: str | None = None) -> None:
        self.run([os.path.join(BUILD, "xdpattach"), "--mode", mode, "--detach", dev or self.dev])

    def attach_decap(self, mode: str = "native") -> None:
        """Have outer headers (ipip, gue) taken off on every leg: bpf/decap.bpf.c."""
        for leg in self.plan.legs:
            self.attach_xdp("decap.bpf.o", mode=mode, dev=leg.dev)

    @property
    def pin_dir(self) -> str:
        """A directory under /sys/fs/bpf for this host; it goes with the testbed."""
        return os.path.join(self.testbed.pin_dir, self.name)

    def plug(self, connected: bool, segment: str | None = None) -> None:
        """Pull or plug the cable: the switch side of the leg goes down or up."""
        leg = self.leg(segment)
        self.testbed.fabric_ip("link", "set", leg.port, "up" if connected else "down")

    def processes_running(self) -> list[Process]:
        return [p for p in self.processes if p.running()]


def _write_sysctls(values: dict[str, object]) -> None:
    for key, value in values.items():
        path = "/proc/sys/" + key.replace(".", "/")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{value}\n")


# --------------------------------------------------------------------------------------------------
# Building


def _host_sysctls(host: HostPlan) -> dict[str, object]:
    """Before any device exists, so that `default` reaches all of them."""
    values: dict[str, object] = {
        "net.ipv4.ip_forward": int(host.forwards),
        "net.ipv6.conf.all.forwarding": int(host.forwards),
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    for scope in ("all", "default"):
        values |= {
            f"net.ipv4.conf.{scope}.rp_filter": 0,
            f"net.ipv4.conf.{scope}.arp_ignore": 1,
            f"net.ipv4.conf.{scope}.arp_announce": 2,
            f"net.ipv4.conf.{scope}.send_redirects": 0,
            f"net.ipv4.conf.{scope}.accept_redirects": 0,
            f"net.ipv6.conf.{scope}.accept_dad": 0,
            f"net.ipv6.conf.{scope}.accept_ra": 0,
            f"net.ipv6.conf.{scope}.accept_redirects": 0,
            f"net.ipv6.conf.{scope}.router_solicitations": 0,
        }
    return values


def _fabric_sysctls() -> dict[str, object]:
    """Switches have no opinion about IP: no addresses, and no filter that eats odd headers."""
    values: dict[str, object] = {
        "net.ipv6.conf.all.disable_ipv6": 1,
        "net.ipv6.conf.default.disable_ipv6": 1,
    }
    for table in ("arptables", "ip6tables", "iptables"):
        key = f"net.bridge.bridge-nf-call-{table}"
        if os.path.exists("/proc/sys/" + key.replace(".", "/")):
            values[key] = 0
    return values


def _host_batch(plan: Plan, host: HostPlan) -> list[str]:
    """`ip` commands inside a host whose legs are there already."""
    lines = ["link set lo up"]
    for leg in host.legs:
        own = f"dev {leg.dev}"
        mtu = ""
        if host.role == "node" and leg.mtu > plan.topology.mtu:
            mtu = f" mtu {plan.topology.mtu}"
        lines += [
            f"addr add {leg.ip4}/24 {own} noprefixroute",
            f"addr add {leg.ip6}/64 {own} noprefixroute nodad",
            f"link set {own} up",
            f"route add {leg.segment.net4} {own} src {leg.ip4} scope link{mtu}",
            f"route add {leg.segment.net6} {own}{mtu}",
        ]
    if host.owns_vips:
        lines += [f"addr add {vip}/32 dev lo" for vip in plan.vips4]
        lines += [f"addr add {vip}/128 dev lo nodad" for vip in plan.vips6]
    for route in host.routes:
        lines.append(f"route add {route}")
    return lines


def _fabric_batch(plan: Plan, prefix: str, pass_program: str) -> list[str]:
    """`ip` commands inside the fabric: switches, and a cable to every leg of every host."""
    lines = []
    for segment in plan.segments:
        lines.append(f"link add {segment.name} type bridge stp_state 0 forward_delay 0 "
                     "mcast_snooping 0")
        lines.append(f"link set {segment.name} up")
    for host in plan.hosts:
        for leg in host.legs:
            lines.append(
                f"link add {leg.port} mtu {leg.mtu} type veth peer name {leg.dev} mtu {leg.mtu} "
                f"address {leg.mac} netns {prefix}{host.name}"
            )
            lines.append(f"link set {leg.port} master {leg.segment.name} up")
            lines.append(f"link set {leg.port} xdpdrv pinned {pass_program}")
    return lines


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
        self.prefix = _check_prefix(prefix or f"sl{secrets.token_hex(3)}-")
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
    def ingresses(self) -> list[Host]:
        return self._of_role("ingress")

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
        _signals.install()
        _ensure_machine()
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
        _write_state(self._state)

    def _start_guard(self) -> None:
        """The guard takes the testbed down when our end of its pipe closes without a word."""
        with _signals.hold():
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.realpath(__file__), "guard", self.prefix,
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
        _command(enter(ns, ["ip", "-batch", "-"]), "".join(line + "\n" for line in lines), lock)

    def _build(self, lock: Lock) -> None:
        names = self._state["namespaces"]
        _command(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in names), lock)
        _setns_thread(_netns_path(self.fabric), _write_sysctls, (_fabric_sysctls(),), {})
        for host in self.hosts.values():
            host.sysctl(_host_sysctls(host.plan))
        os.makedirs(self.pin_dir, mode=0o700)
        pass_program = os.path.join(self.pin_dir, "pass")
        _pin_pass_program(pass_program)
        self._batch(self.fabric, _fabric_batch(self.plan, self.prefix, pass_program), lock)
        for host in self.hosts.values():
            self._batch(host.ns, _host_batch(self.plan, host.plan), lock)
        self._set_offloads(lock)

    def _set_offloads(self, lock: Lock) -> None:
        """Finished checksums on every cable; no switch that glues segments together."""
        for host in self.hosts.values():
            for leg in host.plan.legs:
                _command(host.enter(["ethtool", "-K", leg.dev, "tx", "off"]), lock=lock)
                words = ["ethtool", "-K", leg.port, "tx", "off", "gro", "off"]
                _command(enter(self.fabric, words), lock=lock)

    def fabric_ip(self, *words: str) -> str:
        """`ip WORDS` among the switches."""
        return _command(enter(self.fabric, ["ip", *words]))

    # -- down

    def down(self) -> None:
        """Remove everything. May be called twice."""
        with _signals.hold():
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
        with _signals.hold(), Lock(self.prefix):
            self._state["owner"] = None
            _write_state(self._state)
            self._dismiss_guard()
            _live.discard(self)

    def __enter__(self) -> "Testbed":
        return self.up()

    def __exit__(self, kind, _value, _trace) -> None:
        if self.keep:
            self.release()
            return
        self.down()
        if kind is None and self.own_log_dir:
            shutil.rmtree(self.log_dir, ignore_errors=True)


@atexit.register
def _down_at_exit() -> None:
    with _signals.hold():
        for testbed in list(_live):
            testbed.down()


# --------------------------------------------------------------------------------------------------
# Removing, from the state file alone


def remove(prefix: str) -> bool:
    """Remove a testbed, whoever made it and however that ended. False: there is none."""
    if not os.path.exists(_state_path(prefix)):
        return False
    with Lock(prefix):
        state = read_state(prefix)
        if not state:
            return False
        if state.get("version") != STATE_VERSION:
            raise TestbedError(f"{_state_path(prefix)}: version {state.get('version')}, "
                               f"this program knows {STATE_VERSION}")
        _remove_recorded(state)
        os.unlink(_state_path(prefix))
    return True


def _remove_recorded(state: dict) -> None:
    fds = _netns_fds(state["namespaces"])
    inodes = {os.fstat(fd).st_ino for fd in fds.values()}
    try:
        _end_processes(inodes)
        dispatchers = [path for ns in fds for path in _dispatcher_pins(ns)]
        for path in [*state["pins"], *dispatchers]:
            _remove_pin(path)
        if os.path.dirname(state["run_dir"]) == STATE_DIR:
            shutil.rmtree(state["run_dir"], ignore_errors=True)
        present = [ns for ns in state["namespaces"] if os.path.lexists(_netns_path(ns))]
        for ns in present:
            _delete_netns(ns)
        _end_processes(inodes)
    finally:
        for fd in fds.values():
            os.close(fd)


def _delete_netns(ns: str) -> None:
    try:
        _command(["ip", "netns", "del", ns])
    except TestbedError:
        if os.path.lexists(_netns_path(ns)):
            raise


def _dispatcher_pins(ns: str) -> list[str]:
    """What libxdp's dispatcher pinned for the devices of a namespace."""
    root = os.path.join(BPFFS, "xdp")
    try:
        pins = os.listdir(root)
    except FileNotFoundError:
        return []
    if not pins:
        return []
    found = []
    for link in json.loads(_command(enter(ns, ["ip", "-j", "link"])) or "[]"):
        prog = (link.get("xdp") or {}).get("prog", {}).get("id")
        name = f"dispatch-{link['ifindex']}-{prog}"
        if name in pins:
            found.append(os.path.join(root, name))
    return found


def _remove_pin(path: str) -> None:
    if not os.path.realpath(path).startswith(BPFFS + "/"):
        raise TestbedError(f"{path} is not under {BPFFS}; not removing it")
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def remove_stale() -> list[str]:
    """Remove every testbed that belongs to a process which is gone; their prefixes."""
    removed = []
    for prefix in list_prefixes():
        state = read_state(prefix)
        if state and state["owner"] and not _owner_alive(state["owner"]) and remove(prefix):
            removed.append(prefix)
    return removed


def _guard(prefix: str, owner_pid: str) -> int:
    """The guard process: wait for the creator's last word, or its end."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if sys.stdin.buffer.read():
        return 0
    state = read_state(prefix)
    if state and state["owner"] and state["owner"]["pid"] == int(owner_pid):
        remove(prefix)
    return 0


# --------------------------------------------------------------------------------------------------
# Command line


def run_main(fn, *args) -> int:
    """Call fn and turn how it ended into an exit status; dies of the signal that ended it."""
    _signals.install()
    try:
        return fn(*args) or 0
    except TestbedError as e:
        print(f"testbed: {e}", file=sys.stderr)
        return 1
    except Interrupted as e:
        _down_at_exit()
        sys.stdout.flush()
        signal.signal(e.signum, signal.SIG_DFL)
        os.kill(os.getpid(), e.signum)
        return 128 + e.signum


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="testbed", description="Clients, ingress hosts and nodes in network namespaces."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--prefix", default=DEFAULT_PREFIX, help="which testbed (%(default)s)")

    up = commands.add_parser("up", parents=[named], help="build a testbed that stays")
    for field in dataclasses.fields(Topology):
        flag = "--" + field.name.replace("_", "-")
        if field.name == "layout":
            up.add_argument(flag, choices=("flat", "routed", "split"), default=field.default)
        elif isinstance(field.default, bool):
            up.add_argument(flag, action="store_true", help="a router in front of the clients")
        else:
            up.add_argument(flag, type=int, default=field.default, metavar="N",
                            help="default %(default)s")
    down = commands.add_parser("down", parents=[named], help="remove a testbed")
    down.add_argument("--stale", action="store_true",
                      help="instead: all whose creator ended without removing them")
    run = commands.add_parser("exec", parents=[named], help="run a command inside a host")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    commands.add_parser("status", help="list testbeds, their hosts and addresses")
    return parser


def _command_up(args) -> int:
    fields = {f.name: getattr(args, f.name) for f in dataclasses.fields(Topology)}
    began = time.monotonic()
    testbed = Testbed(Topology(**fields), prefix=args.prefix).up()
    testbed.release()
    print(f"testbed {testbed.prefix} is up after {time.monotonic() - began:.2f} s: "
          f"{' '.join(testbed.hosts)}")
    return 0


def _command_down(args) -> int:
    if os.geteuid() != 0:
        raise TestbedError("the testbed needs root")
    _signals.install()
    with _signals.hold():
        if args.stale:
            for prefix in remove_stale():
                print(f"testbed {prefix} removed")
        elif not remove(_check_prefix(args.prefix)):
            print(f"no testbed {args.prefix}", file=sys.stderr)
    return 0


def _command_exec(args) -> int:
    state = read_state(_check_prefix(args.prefix))
    if not state:
        raise TestbedError(f"no testbed {args.prefix}; `testbed up` builds one")
    ns = args.prefix + args.host
    if ns not in state["namespaces"]:
        known = ", ".join(n.removeprefix(args.prefix) for n in state["namespaces"])
        raise TestbedError(f"no host {args.host!r} in testbed {args.prefix}: {known}")
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    argv = argv or [os.environ.get("SHELL", "/bin/sh")]
    sys.stdout.flush()
    command = enter(ns, argv)
    os.execvp(command[0], command)


def _command_status(_args) -> int:
    for prefix in list_prefixes():
        state = read_state(prefix)
        if not state:
            continue
        owner = state["owner"]
        whose = "stays until `testbed down`"
        if owner:
            whose = f"belongs to process {owner['pid']}"
            whose += "" if _owner_alive(owner) else ", which is gone"
        plan = Plan(Topology(**state["topology"]))
        print(f"testbed {prefix}: {state['phase']}, {plan.topology.layout}, {whose}")
        print(f"  {'vip':<10} {' '.join(plan.vips4 + plan.vips6)}")
        for host in plan.hosts:
            legs = "; ".join(f"{leg.dev} {leg.ip4} {leg.ip6} mtu {leg.mtu}" for leg in host.legs)
            print(f"  {host.name:<10} {legs}")
    return 0


def command_line(argv: list[str]) -> int:
    """The command `testbed`: arguments -> exit status."""
    args = _parser().parse_args(argv)
    commands = {
        "up": _command_up,
        "down": _command_down,
        "exec": _command_exec,
        "status": _command_status,
    }
    return run_main(commands[args.command], args)


if __name__ == "__main__" and sys.argv[1:2] == ["guard"]:
    sys.exit(_guard(sys.argv[2], sys.argv[3]))
