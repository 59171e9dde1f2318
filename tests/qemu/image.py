# SPDX-License-Identifier: BSD-2-Clause
"""Files of this machine, with the libraries they need -> an initial RAM file system."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path


class Image:
    """A directory that becomes the guest's root. Paths are the same in the guest as here."""

    def __init__(self, stage: Path):
        self.stage = stage
        self.done: set[Path] = set()
        shutil.rmtree(stage, ignore_errors=True)
        for name in ("bin", "dev", "proc", "sys", "tmp", "run", "etc", "root"):
            (stage / name).mkdir(parents=True)

    def _place(self, source: Path, at: Path) -> None:
        target = self.stage / at.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system
            shutil.copy2(source, target)

    def add(self, path: Path, at: Path | None = None) -> None:
        """A file; of a program or library also the libraries it is linked with."""
        self._place(path, at or path)
        for library in self._libraries(path):
            self._place(library, library)

    def _libraries(self, path: Path) -> list[Path]:
        real = path.resolve()
        if real in self.done:
            return []
        self.done.add(real)
        with open(real, "rb") as f:
            if f.read(4) != b"\x7fELF":
                return []
        listed = subprocess.run(["ldd", real], capture_output=True, text=True, check=False)
        return [Path(p) for p in re.findall(r"(/\S+) \(0x", listed.stdout)]

    def add_program(self, name: str) -> None:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ["PATH"])
        if not found:
            raise FileNotFoundError(name)
        self.add(Path(found))

    def add_tree(self, top: Path, skip: frozenset[str] = frozenset()) -> None:
        """All files below top; directories named in skip are left out."""
        for folder, folders, files in os.walk(top):
            folders[:] = [f for f in folders if f not in skip]
            for name in files:
                path = Path(folder, name)
                if not path.is_file():
                    continue
                if ".so" in name:
                    self.add(path)
                else:
                    self._place(path, path)

    def write(self, path: Path) -> None:
        """The archive. Not compressed: an emulated processor unpacks slowly."""
        names = subprocess.run(["find", ".", "-print0"], cwd=self.stage, check=True,
                               stdout=subprocess.PIPE).stdout
        with open(path, "wb") as f:
            subprocess.run(["cpio", "--null", "--create", "--format=newc", "--quiet",
                            "--owner=0:0"], cwd=self.stage, input=names, stdout=f, check=True)
