# SPDX-License-Identifier: BSD-2-Clause
"""Testbed -> configuration of an agent: one pool of all nodes behind the VIPs of both families."""
from __future__ import annotations

from sluice_testbed import Testbed

from tests.lib.mock import PORT

HASH_KEY = "8d0c1b7a6e94f3525f1e8c0d9b3a4726"  # any but the public one, which is warned of
# Quicker than the defaults, so that tests of transitions take seconds.
QUICK_CHECK = {"interval": "200ms", "timeout": "1s"}
QUICK_LOAD = {"interval": "200ms", "timeout": "500ms"}
QUICK_THRESHOLDS = {"warm_up": "0s"}


def nodes(testbed: Testbed, weights: dict[str, int] | None = None, family: int = 4) -> list[dict]:
    """The entries of `nodes:` for every node, at their IPv4 or IPv6 addresses."""
    return [
        {
            "name": node.name,
            "address": node.ip4 if family == 4 else node.ip6,
            "weight": (weights or {}).get(node.name, 1),
        }
        for node in testbed.nodes
    ]


def vips(testbed: Testbed, pool: str, port: int = PORT, families=(4, 6)) -> list[dict]:
    """Every VIP of the testbed in these families, all leading to one pool: vip4-1, vip6-1, ..."""
    addresses = {4: testbed.plan.vips4, 6: testbed.plan.vips6}
    return [
        {"name": f"vip{family}-{i}", "address": address, "port": port, "pool": pool}
        for family in families
        for i, address in enumerate(addresses[family], 1)
    ]


def one_pool(
    testbed: Testbed,
    weights: dict[str, int] | None = None,
    family: int = 4,
    port: int = PORT,
    pool: dict | None = None,
    **top,
) -> dict:
    """
    The configuration as a dict, to be changed at will before it goes to Agent(). pool: keys of the
    pool (mode, policy, check, thresholds, ...); top: keys of the file. family: of the nodes'
    addresses; mode nat does not cross families, so it gets the VIPs of that one alone.
    """
    settings = {
        "name": "pool",
        "preset": "json",
        "mode": "ipip",
        "check": dict(QUICK_CHECK),
        "load": dict(QUICK_LOAD),
        "thresholds": dict(QUICK_THRESHOLDS),
        "nodes": nodes(testbed, weights, family),
    }
    settings.update(pool or {})
    families = (family,) if settings["mode"] == "nat" else (4, 6)
    return {"hash_key": HASH_KEY, "pools": [settings],
            "vips": vips(testbed, settings["name"], port, families), **top}
