# SPDX-License-Identifier: BSD-2-Clause
"""How this program is ended: signals -> one exception, at a moment that suits; and errors."""
from __future__ import annotations

import contextlib
import signal
import threading

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TestbedError(Exception):
    """Something about the testbed cannot be done; the message says what and why."""

    __test__ = False


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, signum: int):
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


class Signals:
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
        for signum in END_SIGNALS:
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


signals = Signals()
