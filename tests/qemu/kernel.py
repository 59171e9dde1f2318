# SPDX-License-Identifier: BSD-2-Clause
"""Debian's 6.1 kernel, unpacked below build/ and not installed: its image and its modules."""
from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The flavour for virtual machines first: the same source with fewer drivers, a third of the size.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-amd64")
PACKAGE = re.compile(r"\blinux-image-6\.1\.[0-9][\w.+-]*-amd64\b")


class Unavailable(Exception):
    """The kernel cannot be had here; the message says why."""


@dataclass(frozen=True)
class Kernel:
    release: str
    image: Path
    modules: Path  # the directory of its modules

    def module(self, name: str) -> Path:
        for path in self.modules.rglob(f"{name}.ko"):
            return path
        raise Unavailable(f"kernel {self.release} has no module {name}")


def unpacked(work: Path) -> Kernel | None:
    """What fetch() left there."""
    where = work / "kernel"
    for image in sorted(where.glob("boot/vmlinuz-6.1.*")):
        release = image.name.removeprefix("vmlinuz-")
        modules = where / "lib/modules" / release / "kernel"
        if modules.is_dir():
            return Kernel(release, image, modules)
    return None


def package_name() -> str:
    """The package that Debian's meta package stands for today."""
    for meta in META_PACKAGES:
        shown = subprocess.run(["apt-cache", "show", "--no-all-versions", meta],
                               capture_output=True, text=True, check=False, timeout=60)
        depends = re.findall(r"^Depends: (.*)$", shown.stdout, re.M)
        found = PACKAGE.search(" ".join(depends))
        if found:
            return found[0]
    raise Unavailable("apt knows no linux-image-6.1 (Debian 12; after apt-get update)")


def download(name: str, where: Path) -> Path:
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30"]
    if os.geteuid() == 0:  # apt would hand the download to a user who may not write here
        options += ["-o", "APT::Sandbox::User=root"]
    got = subprocess.run(["apt-get", "download", "-q", *options, name], cwd=where, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                         timeout=300)
    found = sorted(where.glob(f"{name}_*.deb"))
    if got.returncode or not found:
        said = got.stdout.strip().splitlines()
        raise Unavailable(f"{name} cannot be downloaded: {said[-1] if said else 'no reason'}")
    return found[-1]


def download_newest(where: Path) -> Path:
    """As apt's lists have it; if they are too old for that, as they are after an update."""
    try:
        return download(package_name(), where)
    except Unavailable:
        if os.geteuid() != 0:
            raise
    subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False, timeout=120)
    return download(package_name(), where)


def fetch(work: Path) -> Kernel:
    """From Debian's archive into work/kernel."""
    where = work / "kernel"
    if platform.machine() != "x86_64":
        raise Unavailable(f"no kernel is known for {platform.machine()}")
    for tool in ("apt-cache", "apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is missing: not a Debian system")
    work.mkdir(parents=True, exist_ok=True)
    package = download_newest(work)
    fresh = work / "kernel.new"
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", package, fresh], check=True, timeout=120)
    package.unlink()
    shutil.rmtree(where, ignore_errors=True)
    fresh.rename(where)
    kernel = unpacked(work)
    if not kernel:
        raise Unavailable(f"{package.name} holds no 6.1 kernel")
    return kernel
