# SPDX-License-Identifier: BSD-2-Clause
"""Namespaces, the processes inside them, commands, bpffs: the kernel as the testbed uses it."""
from __future__ import annotations

import ctypes
import os
import select
import shlex
import shutil
import signal
import struct
import subprocess
import threading
import time

from .signals import END_SIGNALS, TestbedError
from .state import Lock

NETNS_DIR = "/run/netns"
BPFFS = "/sys/fs/bpf"
TERM_GRACE_S = 1.0
COMMAND_TIMEOUT_S = 30
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def setns_thread(ns_path: str, fn, args, kwargs):
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


def command(argv: list[str], text_in: str | None = None, lock: Lock | None = None) -> str:
    """
    Run a command that changes or reads the kernel's state; what it printed. It runs to its end:
    Ctrl-C is for us, and half of an `ip -batch` or a missed `ip netns del` helps nobody. Signals
    are blocked, not only sent past its group, because it is in ours for a moment after the fork.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        done = subprocess.run(
            argv,
            input=text_in or "",
            text=True,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            process_group=0,
            pass_fds=(lock.fd,) if lock else (),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if done.returncode:
        raise TestbedError(
            f"{shlex.join(argv)}: exit status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def netns_path(ns: str) -> str:
    return os.path.join(NETNS_DIR, ns)


def enter(ns: str, argv: list[str]) -> list[str]:
    """
    The command line that runs argv in a namespace. Not `ip netns exec` nor `ip -n`: those change
    the mount namespace too, and the programs pinned under /sys/fs/bpf would be out of sight.
    """
    return ["nsenter", f"--net={netns_path(ns)}", "--", *argv]


def netns_fds(names: list[str]) -> dict[str, int]:
    """Open descriptors of those names that are namespaces, which keeps their inode numbers ours."""
    nsfs = os.stat("/proc/self/ns/net").st_dev
    fds = {}
    for name in names:
        try:
            fd = os.open(netns_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(fd).st_dev == nsfs:
            fds[name] = fd
        else:
            os.close(fd)
    return fds


def processes_in(inodes: set[int]) -> list[int]:
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
    for pid in processes_in(inodes):
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


def end_processes(inodes: set[int]) -> None:
    """End every process inside the namespaces: TERM, a grace time, KILL; until none is left."""
    for attempt in range(20):
        pidfds = _open_members(inodes)
        if not pidfds:
            return
        try:
            if attempt == 0:
                _signal_all(pidfds, signal.SIGCONT)
                _signal_all(pidfds, signal.SIGTERM)
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
    command(["mount", "-t", "bpf", "bpf", BPFFS])


def ensure_machine() -> None:
    """What testbeds share: the directory of namespaces (first use mounts it), and bpffs."""
    if os.geteuid() != 0:
        raise TestbedError("the testbed needs root (network namespaces, BPF)")
    for tool in ("ip", "nsenter", "ethtool"):
        if not shutil.which(tool):
            raise TestbedError(f"{tool} is missing (Debian: iproute2, util-linux, ethtool)")
    with Lock("machine"):
        ensure_bpffs()


def write_sysctls(values: dict[str, object]) -> None:
    for key, value in values.items():
        path = "/proc/sys/" + key.replace(".", "/")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{value}\n")


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


def pin_pass_program(path: str) -> None:
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
