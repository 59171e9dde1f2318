# SPDX-License-Identifier: BSD-2-Clause
"""A pinned map of the packet path in this process's memory, to be read and written."""
from __future__ import annotations

import ctypes
import mmap
import os
import struct

from sluice_testbed.system import _bpf

_BPF_OBJ_GET = 7
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                       ctypes.c_long]


def open_pinned(path: str) -> int:
    """A descriptor of the object pinned there; the caller closes it."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_BPF_OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0))


def map_pinned(path: str, size: int, form: str) -> memoryview:
    """The first `size` bytes of an array map that may be mapped, as elements of struct format
    `form`."""
    fd = open_pinned(path)
    try:
        # Not mmap.mmap(): it refuses what looks like an empty file.
        at = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    finally:
        os.close(fd)
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), f"cannot map {path}")
    return memoryview((ctypes.c_char * size).from_address(at)).cast("B").cast(form)
