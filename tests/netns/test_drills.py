# SPDX-License-Identifier: BSD-2-Clause
"""The quick ones of the fault drills (make drills), and what drills have shown to be wrong."""
from tests.lib.case import case
from tools.drills.host import log_reader_stuck  # noqa: F401 (a case)
from tools.drills.nodes import all_dead_and_back, bad_pages, process_killed  # noqa: F401 (cases)


@case("a page of metrics that resets connections does not take its node down", timeout_s=60)
def reset_page(t):
    bad_pages(t, ("reset",))
