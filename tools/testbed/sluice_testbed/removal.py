# SPDX-License-Identifier: BSD-2-Clause
"""
State file -> nothing left. Works from the file alone, whoever made the testbed and however that
ended.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
import sys

from .signals import END_SIGNALS, TestbedError
from .state import (
    STATE_DIR,
    STATE_VERSION,
    Lock,
    list_prefixes,
    owner_alive,
    read_state,
    state_path,
)
from .system import BPFFS, command, end_processes, enter, netns_fds, netns_path


def remove(prefix: str) -> bool:
    """Remove a testbed, whoever made it and however that ended. False: there is none."""
    if not os.path.exists(state_path(prefix)):
        return False
    with Lock(prefix):
        state = read_state(prefix)
        if not state:
            return False
        if state.get("version") != STATE_VERSION:
            raise TestbedError(f"{state_path(prefix)}: version {state.get('version')}, "
                               f"this program knows {STATE_VERSION}")
        _remove_recorded(state)
        os.unlink(state_path(prefix))
    return True


def _remove_recorded(state: dict) -> None:
    fds = netns_fds(state["namespaces"])
    inodes = {os.fstat(fd).st_ino for fd in fds.values()}
    try:
        end_processes(inodes)
        dispatchers = [path for ns in fds for path in _dispatcher_pins(ns)]
        for path in [*state["pins"], *dispatchers]:
            _remove_pin(path)
        if os.path.dirname(state["run_dir"]) == STATE_DIR:
            shutil.rmtree(state["run_dir"], ignore_errors=True)
        _remove_if_empty(state["log_dir"])
        present = [ns for ns in state["namespaces"] if os.path.lexists(netns_path(ns))]
        for ns in present:
            _delete_netns(ns)
        end_processes(inodes)
    finally:
        for fd in fds.values():
            os.close(fd)


def _remove_if_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass


def _delete_netns(ns: str) -> None:
    try:
        command(["ip", "netns", "del", ns])
    except TestbedError:
        if os.path.lexists(netns_path(ns)):
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
    for link in json.loads(command(enter(ns, ["ip", "-j", "link"])) or "[]"):
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
        if state and state["owner"] and not owner_alive(state["owner"]) and remove(prefix):
            removed.append(prefix)
    return removed


def guard(prefix: str, owner_pid: int) -> int:
    """The guard process: wait for the creator's word on standard input, or for its end."""
    for signum in END_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if sys.stdin.buffer.read():
        return 0
    state = read_state(prefix)
    if state and state["owner"] and state["owner"]["pid"] == owner_pid:
        remove(prefix)
    with Lock(prefix):  # nothing but its file may be left, of a creator that had not begun
        pass
    return 0
