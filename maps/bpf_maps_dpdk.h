/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps of poll-mode workers (maps/dpdk.h), made and pinned beside the others. No BPF program uses
 * them; with dataplane xdp they have one bucket each.
 */
#ifndef LB_MAPS_BPF_MAPS_DPDK_H
#define LB_MAPS_BPF_MAPS_DPDK_H

#include "maps/bpf_maps.h"
#include "maps/dpdk.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_flow_bucket);
} dpdk_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_flow_bucket);
} dpdk_half_open SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_nat_flow_bucket);
} dpdk_nat_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_nat_reply_bucket);
} dpdk_nat_reply SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_WORKERS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct lb_worker);
} dpdk_workers SEC(".maps");

#endif
