/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counters, and the words the agent and the packet path share.
 *
 * Counters are plain arrays with one region per CPU (index cpu * N + id) instead of per-CPU maps:
 * array look-ups are inlined on every kernel, poll-mode workers can map the same memory, and a
 * reader sums without a system call. Each region is written by its CPU only.
 */
#ifndef LB_MAPS_STATS_H
#define LB_MAPS_STATS_H

#include "maps/abi.h"

struct lb_count {
	__u64 packets;
	__u64 bytes; /* IP bytes as received: without link header, without outer header */
	__u64 flows; /* SYNs that chose a backend */
	__u32 entries;  /* of a VIP, modulo 2^32: SYNs that got an entry */
	__u32 promoted; /* … and whose client then spoke on, other than by a reset */
};
LB_STATIC_SIZE(struct lb_count, 32);

/*
 * Why a packet ended as it did; one counter each, append only.
 * X(enumerator, name in metrics and sluicectl, "what it means")
 */
#define LB_REASONS(X)                                                                              \
	X(OK, "ok", "forwarded to a backend")                                                      \
	X(NOT_VIP, "not_vip", "not for a VIP, passed to the kernel")                               \
	X(LOCAL, "local", "no backend left, passed to this host")                                  \
	X(TRUNCATED, "truncated", "headers longer than the frame")                                 \
	X(BAD_IHL, "bad_ihl", "IPv4 header length under five words")                               \
	X(BAD_LENGTH, "bad_length", "IP total length contradicts the frame")                       \
	X(BAD_TCP, "bad_tcp", "TCP data offset under five words or beyond the packet")             \
	X(BAD_FLAGS, "bad_flags", "impossible combination of TCP flags")                           \
	X(FRAGMENT, "fragment", "IP fragment for a VIP")                                           \
	X(EXT_HEADERS, "ext_headers", "more IPv6 extension headers than are followed")             \
	X(VLAN_DEPTH, "vlan_depth", "more than two VLAN tags")                                     \
	X(NOT_TCP, "not_tcp", "for a VIP's address, but no service of it; passed to the kernel")   \
	X(NO_BACKEND, "no_backend", "the slot names no backend")                                   \
	X(NO_NEXTHOP, "no_nexthop", "next hop of the backend is not resolved")                     \
	X(TOO_BIG, "too_big", "too big for the device it leaves by, and nobody to be told: no DF")  \
	X(HEADROOM, "headroom", "no room in front of the frame for the outer header")              \
	X(RESET_SENT, "reset_sent", "flow of a dead node answered with a TCP reset")               \
	X(REPLY_LIMIT, "reply_limit", "reset, echo or ICMP not answered: over the limit a second")                  \
	X(PING, "ping", "ICMP echo for a VIP answered")                                            \
	X(TOO_BIG_SENT, "too_big_sent", "too big for the device it leaves by: answered which size is not")  \
	X(ICMP_OTHER, "icmp_other", "ICMP for a VIP that belongs to no flow, dropped")             \
	X(TTL, "ttl", "TTL or hop limit expired")                                                  \
	X(NAT_UNKNOWN, "nat_unknown", "nat: packet of an unknown flow answered with a reset")      \
	X(NAT_FULL, "nat_full", "nat: no room or no source port for a new flow")                   \
	X(NAT_REPLY, "nat_reply", "nat: reply of a node sent to its client")                       \
	X(INTERNAL, "internal", "a table entry out of range: an error of ours")                    \
	X(NO_AGENT, "no_agent", "no backend left and no agent to answer: answered with a TCP reset")  \
	X(SYN_LATER, "syn_later", "SYN without an entry as its slot's transition ends: to be sent again")

/* What happened beside the verdict; same array of counters, after the reasons. */
#define LB_EVENTS(X)                                                                               \
	X(FLOW_ADDED, "flow_added", "flow entry added")                                            \
	X(FLOW_LEARNED, "flow_learned", "flow of a slot in transition learned")                    \
	X(FLOW_PROMOTED, "flow_promoted", "half-open flow became a flow entry")                    \
	X(FLOW_VOID, "flow_void", "flow entry of a dead node met")                                 \
	X(OVERFLOW_FLOWS, "overflow_flows", "no room in the flow table")                           \
	X(OVERFLOW_HALF_OPEN, "overflow_half_open", "no room in the half-open table")              \
	X(OVERFLOW_RATE, "overflow_rate", "over the limit of new entries a second")                \
	X(ALT_CHOSEN, "alt_chosen", "new flow went to the second choice")                          \
	X(ICMP_FLOW, "icmp_flow", "ICMP error sent to the backend of its flow")                    \
	X(NAT_PORTS, "nat_ports", "nat: no free source port")                                      \
	X(OVERFLOW_LEARN, "overflow_learn", "flow of a slot in transition not learned")

enum lb_reason {
#define X(e, name, text) LB_R_##e,
	LB_REASONS(X)
#undef X
	LB_R_N,
};

enum lb_event {
	LB_EV_FIRST = 64 - 1,
#define X(e, name, text) LB_EV_##e,
	LB_EVENTS(X)
#undef X
	LB_EV_N,
};
_Static_assert(LB_R_N <= 64 && LB_EV_N <= LB_REASONS_MAX, "counters do not fit");

/* Key of the flow hash (bpf/core/hash.h), expanded from 16 secret bytes by lb_hash_expand(). */
struct lb_hash_key {
	__u32 nh[10];
	__u64 finish;
};
LB_STATIC_SIZE(struct lb_hash_key, 48);

/* An agent that was silent for so long answers nothing any more (lb_control.heartbeat_ns). */
#define LB_AGENT_SILENT_MS 10000

struct lb_control {
	__u32 abi; /* LB_ABI_VERSION; written last, 0: half made */
	__u32 epoch; /* 1 … 65535: scan epoch, stored in lb_slot.exc */
	struct lb_hash_key hash;
	__u32 new_entries_per_s; /* per CPU: new exceptions a second; by SYNs, and as many learned */
	__u32 replies_per_s;	 /* per CPU: crafted resets, echo and ICMP answers a second */
	__u32 n_cpus;		 /* regions in the counter maps */
	__u16 nat_port_low;	 /* source ports of mode nat; low 0: no VIP has that mode */
	__u16 nat_port_high;	 /* both ends belong to it, host order */
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC, by the agent, ten times a second; 0: never yet */
	__u64 pad2[6];
};
LB_STATIC_SIZE(struct lb_control, 128);

/* Token buckets of one CPU (map "limits"). */
struct lb_limit {
	__u32 entries_tick;
	__u32 entries_left;
	__u32 replies_tick;
	__u32 replies_left;
	__u32 learn_tick; /* its own, so that a flood of SYNs does not keep live flows unlearned */
	__u32 learn_left;
	__u32 pad[10];
};
LB_STATIC_SIZE(struct lb_limit, 64);

#endif
