# SPDX-License-Identifier: BSD-2-Clause
"""What the demo prints: headings, a line that shows it is alive, checks with expected and
measured."""
from __future__ import annotations

import sys
import threading
import time


class Screen:
    def __init__(self):
        self.began = time.monotonic()
        self.passed = 0
        self.checks = 0
        self.tty = sys.stdout.isatty()
        self._waiting: str | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._show_waiting, daemon=True)
        self._thread.start()

    def heading(self, text: str) -> None:
        self._print(f"\n{text}")

    def note(self, text: str) -> None:
        self._print(f"    {text}")

    def check(self, what: str, expected: str, measured: str, ok: bool) -> None:
        self.checks += 1
        self.passed += ok
        mark = "ok  " if ok else "FAIL"
        self._print(f"  {mark}  {what}\n          expected {expected}; measured {measured}")

    def waiting(self, text: str | None) -> None:
        """What is being waited for, shown with the time once a second (on a terminal), or once."""
        with self._lock:
            self._waiting = text
        if text and not self.tty:
            self._print(f"    … {text}")

    def _print(self, text: str) -> None:
        with self._lock:
            if self.tty:
                sys.stdout.write("\r\033[K")
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _show_waiting(self) -> None:
        while not self._stop.wait(0.5):
            with self._lock:
                if self.tty and self._waiting:
                    seconds = time.monotonic() - self.began
                    sys.stdout.write(f"\r\033[K    [{seconds:4.0f} s] {self._waiting} …")
                    sys.stdout.flush()

    def close(self) -> None:
        self.waiting(None)
        self._stop.set()
        self._thread.join()

    def verdict(self) -> int:
        self._print(f"\ntook {time.monotonic() - self.began:.0f} s")
        self._print(f"demo: {self.passed} of {self.checks} checks passed")
        return 0 if self.passed == self.checks and self.checks else 1
