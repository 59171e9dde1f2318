# SPDX-License-Identifier: BSD-2-Clause
"""Helpers of namespace tests, demo and drills. Import with the repository in sys.path."""
import os
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
BUILD = os.path.join(ROOT, "build")

_TESTBED = os.path.join(ROOT, "tools", "testbed")
if _TESTBED not in sys.path:
    sys.path.insert(0, _TESTBED)
