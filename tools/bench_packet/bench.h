/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_packet: the packet path's nanoseconds, measured inside the kernel.
 * tables.c: the balancer with the tables it is measured with. main.c: variants, rounds, figures.
 */
#ifndef TOOLS_BENCH_PACKET_BENCH_H
#define TOOLS_BENCH_PACKET_BENCH_H

#include <stdint.h>

#include "tools/lib/bench_frame.h"

#define MANY_FLOWS (1u << 20)

#define BENCH_POLICIES 6 /* enum lb_policy, from 1 */
#define BENCH_SIZES    3

extern const uint32_t bench_sizes[BENCH_SIZES]; /* members of a pool */

/* VIPs of the measured balancer: one for each way a packet can go. */
enum bench_vip {
	VIP_IPIP4, /* ipip, IPv4 in IPv4, policy hash */
	VIP_IPIP6, /* ipip, IPv6 in IPv6 */
	VIP_L2DSR4,
	VIP_L2DSR6,
	VIP_GUE4,
	VIP_P2C,   /* ipip4, p2c; alt is always the busier */
	VIP_ENTRY, /* ipip4, every flow has an entry: "exceptions" */
	VIP_NEW,   /* the first of a VIP for each policy and size of pool: bench_vip_new() */
	VIP_N = VIP_NEW + BENCH_POLICIES * BENCH_SIZES,
	VIP_NONE = VIP_N, /* an address that is no VIP */
};

enum bench_packet_kind {
	PACKET_ACK,
	PACKET_SYN,
};

/* Frame number i of the flows to vip, as the loop restores it. */
void bench_frame_of(enum bench_vip vip, enum bench_packet_kind kind, uint32_t i,
		    uint8_t frame[BENCH_FRAME_LEN]);
int bench_vip_family(enum bench_vip vip);

/* size: index into bench_sizes. */
enum bench_vip bench_vip_new(uint32_t policy, uint32_t size);

struct bench_balancer;

/*
 * Loads the balancer and writes its tables; entries for MANY_FLOWS flows of VIP_ENTRY.
 * Returns 0, -errno. Freed by bench_balancer_close(), which accepts NULL.
 */
int bench_balancer_open(struct bench_balancer **ret_balancer);
void bench_balancer_close(struct bench_balancer *b);
int bench_balancer_fd(const struct bench_balancer *b);

/*
 * Before new flows: forgets half-open flows, the notes of SYNs, and the load that new flows added.
 * Slots are marked as having exceptions, as they are once a pool is in use (a SYN then looks for an
 * earlier entry), but for policy hash, which makes none. Returns 0, -errno.
 */
int bench_balancer_renew(struct bench_balancer *b, uint32_t policy);

/* What became of new flows since the start, on all CPUs. */
struct bench_counts {
	uint64_t flows;   /* the VIP counted */
	uint64_t entries; /* made */
	uint64_t refused; /* entries, for whatever reason */
};

void bench_balancer_counts(const struct bench_balancer *b, enum bench_vip vip,
			   struct bench_counts *ret_counts);

/* Bytes the kernel accounts to the maps at the sizes of the object file, and to an entry. */
struct bench_memory {
	uint64_t defaults; /* all maps but those of mode nat */
	double flow;
	double half_open;
	double nat; /* both entries of a flow */
};

int bench_memory(struct bench_memory *ret_memory);

/* Packets the VIP counted since the start, on all CPUs. */
uint64_t bench_balancer_packets(const struct bench_balancer *b, enum bench_vip vip);

#endif
