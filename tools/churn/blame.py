# SPDX-License-Identifier: BSD-2-Clause
"""
Connections that ended badly and what was done to the nodes -> who broke each one. Pure.

A stream may end early because its node was killed, or because the deadline of its node's drain
passed; a new connection may fail because it went to a node that was killed and not yet found dead.
Whatever cannot be explained so is the balancer's.

A cut ends every stream of its node, and is mostly seen at once, by a reset. A stream stalls instead
where the packets that its node no longer gets meet the remains (TIME_WAIT) of an earlier connection
with the same addresses and ports on another node; and on a machine that has too much to do the
client learns of an end, as of a token, seconds late. So what counts is the time between the last
token and the end: somewhere in it the stream broke. Tokens of a stream that stalled may be newer
than its break: replies do not pass the balancer, and a node that hears no acknowledgement any more
sends on until its window is full.
"""
from __future__ import annotations

import dataclasses

# A stream ends when its node's reset arrives; the clocks are those of one machine.
EARLY_S = 0.2
LATE_S = 2.0
UNEXPLAINED_MAX = 200  # shown one by one
WINDOW = 10  # tokens, one a segment: TCP's initial window
STALLS = ("silence", "connect_timeout")


def stalled(event: dict) -> float:
    """When the last token came, as far as the client told: `period` is the time between tokens."""
    silent_since = event["t_end"] - event["silent_s"]
    return min(silent_since, event["t"] + (event["tokens"] + 1) * event["period"])


@dataclasses.dataclass
class Cut:
    """From `begin` to `end` a node's streams were ended by intent."""

    why: str
    node: str
    begin: float
    end: float

    def explains(self, event: dict) -> bool:
        """
        A stream of the node that broke in that time; or a connection that had no answer yet, which
        may have been sent there.
        """
        began_before = event["backend"] == self.node and event["t"] <= self.begin
        unheard = WINDOW * event["period"] if began_before and event["silent_s"] > LATE_S else 0
        return (event["backend"] in (self.node, None) and event["t_end"] >= self.begin - EARLY_S
                and stalled(event) - unheard <= self.end + LATE_S)


def blame(event: dict, cuts: list[Cut]) -> str | None:
    """Why it ended, or None: the balancer broke it."""
    return next((cut.why for cut in cuts if cut.explains(event)), None)


def lost_its_way(event: dict, idle_s: float) -> bool:
    """
    May frames that were lost have broken it? A reset and an early end have a sender, unless nothing
    of the stream came through for longer than the balancer is to remember it.
    """
    return event["cause"] in STALLS or event["silent_s"] > idle_s


def summary(events: list[dict], cuts: list[Cut], frames_lost: int = 0,
            idle_s: float = 3600) -> dict:
    """
    Counts of what was broken and by whom, with the causes the client saw. frames_lost: by the data
    path, which was too slow for them; idle_s: flow_idle.
    """
    by_intent: dict[str, int] = {}
    causes: dict[str, int] = {}
    by_loss = 0
    unexplained = []
    for event in events:
        why = blame(event, cuts)
        if why:
            by_intent[why] = by_intent.get(why, 0) + 1
            continue
        if frames_lost and lost_its_way(event, idle_s):
            by_loss += 1
            continue
        name = f"{event['cause']} in {event['stage']}"
        causes[name] = causes.get(name, 0) + 1
        unexplained.append(event)
    return {
        "broken": len(events),
        "broken_by_intent": by_intent,
        "broken_by_balancer": len(unexplained),
        "broken_by_loss": by_loss,
        "frames_lost": frames_lost,
        "causes": causes,
        "unexplained": unexplained[:UNEXPLAINED_MAX],
    }
