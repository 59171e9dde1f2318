# SPDX-License-Identifier: BSD-2-Clause
"""Pinned maps read as memory: bpftool takes half a minute for a million slots."""
from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct

BPF_OBJ_GET = 7
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
SLOTS = 65537


def open_pinned(path: str) -> int:
    """A descriptor of the pinned map, which the caller closes."""
    name = ctypes.create_string_buffer(path.encode())
    attr = ctypes.create_string_buffer(struct.pack("QIIi", ctypes.addressof(name), 0, 0, 0), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_BPF[platform.machine()], BPF_OBJ_GET, attr, len(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"cannot open {path}")
    return fd


def slots(pin_dir: str, pool: int = 0) -> list[tuple[int, int, int, int]]:
    """(cur, alt, prev, exc) of each slot of the pool with this id (maps/table.h)."""
    fd = open_pinned(os.path.join(pin_dir, "slots"))
    try:
        length = (pool + 1) * SLOTS * 8
        length += -length % mmap.PAGESIZE
        with mmap.mmap(fd, length, prot=mmap.PROT_READ) as memory:
            data = memory[pool * SLOTS * 8:(pool + 1) * SLOTS * 8]
    finally:
        os.close(fd)
    return list(struct.iter_unpack("=HHHH", data))
