// SPDX-License-Identifier: GPL-2.0-only
/*
 * For the agent's scans, which remove entries while packets end, refresh and replace them: what has
 * to be done to the entry itself. System calls only read an entry or take it out, and the copy that
 * they return is no longer true when a packet has found the entry before.
 *
 * Linux 5.14; 6.1 for maps that are not preallocated.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/scan.h"

/* "flows", "half_open" or "nat_flows": same sizes, same first words. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lb_flow_key);
	__type(value, struct lb_flow);
} entries SEC(".maps");

/* "nat_replies" */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lb_nat_key);
	__type(value, struct lb_nat_reply);
} replies SEC(".maps");

typedef __u32 __attribute__((may_alias)) word_t;

static __always_inline int uncount(struct lb_flow *flow, __u32 counted)
{
	return __sync_fetch_and_and((word_t *)flow, ~counted) & counted ? LB_SCAN_COUNTED
									: LB_SCAN_UNCOUNTED;
}

/* Of an exception: only the mark that it counts goes. */
SEC("syscall")
int sluice_scan_uncount(struct lb_scan_ask *ask)
{
	struct lb_flow_key key = ask->key;
	struct lb_flow *flow = bpf_map_lookup_elem(&entries, &key);

	if (!flow)
		return LB_SCAN_NONE;
	if (flow->seen != ask->seen)
		return LB_SCAN_SEEN;
	return uncount(flow, LB_WORD_OF(LB_FLOW_F_COUNTED));
}

static __always_inline int is_of(const struct lb_nat_reply *reply, const struct lb_flow_key *key)
{
	return reply->client_port == key->sport && reply->vip == key->vip &&
	       reply->client[0] == key->saddr[0] && reply->client[1] == key->saddr[1] &&
	       reply->client[2] == key->saddr[2] && reply->client[3] == key->saddr[3];
}

/* A flow of mode nat goes, and its reply: by whoever sets LB_NAT_F_GONE, as in bpf/core/nat.h. */
SEC("syscall")
int sluice_scan_remove(struct lb_scan_ask *ask)
{
	struct lb_flow_key key = ask->key;
	struct lb_flow *flow = bpf_map_lookup_elem(&entries, &key);
	struct lb_nat_key reply_key = ask->reply;
	const __u32 gone = LB_WORD_OF(LB_NAT_F_GONE);
	const struct lb_nat_reply *reply;
	int answer;

	if (!flow)
		return LB_SCAN_NONE;
	if (flow->seen != ask->seen)
		return LB_SCAN_SEEN;
	if ((__sync_fetch_and_or((word_t *)flow, gone) & gone) && !ask->left)
		return LB_SCAN_SEEN;
	answer = uncount(flow, LB_WORD_OF(LB_NAT_F_COUNTED));
	reply = bpf_map_lookup_elem(&replies, &reply_key);
	if (reply && is_of(reply, &key))
		bpf_map_delete_elem(&replies, &reply_key);
	bpf_map_delete_elem(&entries, &key);
	return answer;
}

char _license[] SEC("license") = "GPL";
