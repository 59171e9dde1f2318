# SPDX-License-Identifier: BSD-2-Clause
"""Helpers of namespace tests, demo and drills. Import with the repository in sys.path."""
import os
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
BUILD = os.path.join(ROOT, "build")

# Which build of the programs: "", "san" (addresses and undefined behaviour), "tsan" (threads).
PROGRAMS = os.environ.get("SLUICE_PROGRAMS", "")


def program(name: str, build: str = "") -> str:
    """The path of one of Sluice's programs, of that build or else of PROGRAMS, where it is
    built."""
    path = os.path.join(BUILD, build or PROGRAMS, name)
    return path if os.path.exists(path) else os.path.join(BUILD, name)


_TESTBED = os.path.join(ROOT, "tools", "testbed")
if _TESTBED not in sys.path:
    sys.path.insert(0, _TESTBED)
