# SPDX-License-Identifier: BSD-2-Clause
"""The official OpenAI SDK for Node.js as a client: installed below build/, run on a host."""
from __future__ import annotations

import json
import os
import shutil
import subprocess

from sluice_testbed import Host, TestbedError

from tests.lib import BUILD

SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "openai")
TARGET = os.path.join(BUILD, "openai")
INSTALL_S = 90


def _installed() -> bool:
    """Whether what package.json asks for is there."""
    try:
        with open(os.path.join(SOURCE, "package.json"), encoding="utf-8") as f:
            wanted = json.load(f)["dependencies"]["openai"]
        path = os.path.join(TARGET, "node_modules", "openai", "package.json")
        with open(path, encoding="utf-8") as f:
            return json.load(f)["version"] == wanted
    except (OSError, ValueError, KeyError):
        return False


def install(t) -> None:
    """Have the SDK in build/openai; skip the test where that cannot be."""
    t.need("node", "npm")
    os.makedirs(TARGET, exist_ok=True)
    for name in ("package.json", "package-lock.json", "retry.js"):
        shutil.copy(os.path.join(SOURCE, name), TARGET)
    if _installed():
        return
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1",
            "--fetch-timeout=30000"]
    try:
        done = subprocess.run(argv, cwd=TARGET, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=INSTALL_S)
        said = done.stderr.strip()
    except subprocess.TimeoutExpired:
        said = f"no end in {INSTALL_S} s"
    if not _installed():
        last = said.splitlines()[-1] if said else "it said nothing"
        t.skip(f"npm cannot install the OpenAI SDK: {last}")


class Client:
    """One completion, retried by the SDK as it sees fit."""

    def __init__(self, host: Host, base_url: str, max_retries: int, stream: bool = False):
        argv = ["node", os.path.join(TARGET, "retry.js"), base_url, str(max_retries)]
        self.process = host.popen(argv + (["stream"] if stream else []), name="openai")

    def wait(self, timeout_s: float = 60) -> dict:
        """What came of it: ok, content or error, ms, attempts."""
        status = self.process.wait(timeout_s)
        if status:
            raise TestbedError(f"retry.js: exit status {status}:\n{self.process.tail()}")
        return json.loads(self.process.output().splitlines()[-1])
