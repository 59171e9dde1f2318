/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core's host calls (bpf/core/env.h) answered from plain memory: for tests and fuzzers built
 * with address and undefined-behaviour sanitizers. The frame is the end of its own heap block, so
 * a read past it is caught; bytes before it, and those a shorter tail gives up, are poisoned.
 */
#ifndef TESTS_PACKET_ENV_NATIVE_H
#define TESTS_PACKET_ENV_NATIVE_H

#include <errno.h>
#include <linux/types.h>
#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/nat.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "maps/vip.h"

#define LB_ENV_HOST "native"

/* Tables of flows small enough to search from front to back: exact, and full when they are full. */
struct native_flow {
	int used;
	struct lb_flow_key key;
	struct lb_flow flow;
};

struct native_flows {
	struct native_flow *entries;
	uint32_t room;
};

#define NATIVE_RECENT_CELLS 64 /* instead of LB_RECENT_CELLS: they are cleared before each case */

#ifndef NATIVE_NAT_ROOM
#define NATIVE_NAT_ROOM 4 /* NAT_ROOM of cases.h */
#endif

struct native_tables {
	struct lb_control *control;
	struct lb_vip_cell *vip_index;
	struct lb_vip *vips;
	struct lb_pool *pools;
	struct lb_turns *turns;
	struct lb_members *members;
	struct lb_slot *slots;
	uint32_t n_slots;
	struct lb_backend *backends;
	struct lb_load *loads;
	struct lb_limit *limit;
	struct lb_count *vip_counts;
	struct lb_count *backend_counts;
	__u64 *counters;
	struct lb_recent *recent;
	struct native_flows flows, half_open;
	struct native_nat_flow {
		int used;
		struct lb_flow_key key;
		struct lb_nat_flow flow;
	} nat_flows[NATIVE_NAT_ROOM];
	struct native_nat_reply {
		int used;
		struct lb_nat_key key;
		struct lb_nat_reply reply;
	} nat_replies[NATIVE_NAT_ROOM];
	__u32 ticks;
	__u32 mtu; /* of every device */
};

struct lb_env {
	void *data;
	void *end;
	uint8_t *block; /* of which the frame is the end */
	struct native_tables *t;
	__u32 ifindex;
};

/* Headers after Ethernet's 14 bytes are then aligned to 4 bytes, as they are with NET_IP_ALIGN. */
#define NATIVE_HEADROOM 130

#define LB_UNALIGNED __attribute__((packed, may_alias))

#include "bpf/core/env.h"

#define NATIVE_TABLE(call, type, field, n)                                                         \
	static inline type *call(struct lb_env *env, __u32 index)                                  \
	{                                                                                          \
		return index < (n) ? &env->t->field[index] : NULL;                                 \
	}

NATIVE_TABLE(lb_env_vip_cell, struct lb_vip_cell, vip_index, LB_VIP_BUCKETS)
NATIVE_TABLE(lb_env_vip, struct lb_vip, vips, LB_VIPS_MAX)
NATIVE_TABLE(lb_env_slot, struct lb_slot, slots, env->t->n_slots)
NATIVE_TABLE(lb_env_pool, struct lb_pool, pools, LB_POOLS_MAX)
NATIVE_TABLE(lb_env_turns, struct lb_turns, turns, 2 * LB_POOLS_MAX)
NATIVE_TABLE(lb_env_members, struct lb_members, members, 2 * LB_POOLS_MAX)
NATIVE_TABLE(lb_env_backend, struct lb_backend, backends, LB_BACKENDS_MAX)
NATIVE_TABLE(lb_env_load, struct lb_load, loads, LB_BACKENDS_MAX)
NATIVE_TABLE(lb_env_vip_count, struct lb_count, vip_counts, LB_VIPS_MAX)
NATIVE_TABLE(lb_env_backend_count, struct lb_count, backend_counts, LB_BACKENDS_MAX)
NATIVE_TABLE(lb_env_counter, __u64, counters, LB_REASONS_MAX)

static inline struct lb_recent *lb_env_recent(struct lb_env *env, __u32 index)
{
	return index < LB_RECENT_CELLS ? &env->t->recent[index % NATIVE_RECENT_CELLS] : NULL;
}

static inline void *lb_env_front(struct lb_env *env, __u32 len)
{
	return (uint8_t *)env->end - (uint8_t *)env->data < (ptrdiff_t)len ? NULL : env->data;
}

static inline struct lb_control *lb_env_control(struct lb_env *env)
{
	return env->t->control;
}

static inline struct lb_limit *lb_env_limit(struct lb_env *env)
{
	return env->t->limit;
}

static inline struct native_flows *native_flows_of(struct native_tables *t,
						   enum lb_flow_table table)
{
	return table == LB_FLOWS ? &t->flows : &t->half_open;
}

static inline struct native_flow *native_flow_find(struct native_flows *flows,
						   const struct lb_flow_key *key)
{
	for (uint32_t i = 0; i < flows->room; i++) {
		struct native_flow *e = &flows->entries[i];

		if (e->used && !memcmp(&e->key, key, sizeof(*key)))
			return e;
	}
	return NULL;
}

static inline int native_flow_put(struct native_flows *flows, const struct lb_flow_key *key,
				  const struct lb_flow *flow)
{
	struct native_flow *e = native_flow_find(flows, key);

	for (uint32_t i = 0; !e && i < flows->room; i++)
		if (!flows->entries[i].used)
			e = &flows->entries[i];
	if (!e)
		return -E2BIG;
	*e = (struct native_flow){.used = 1, .key = *key, .flow = *flow};
	return 0;
}

static inline struct lb_flow *lb_env_flow(struct lb_env *env, enum lb_flow_table table,
					  const struct lb_flow_key *key)
{
	struct native_flow *e = native_flow_find(native_flows_of(env->t, table), key);

	return e ? &e->flow : NULL;
}

static inline int lb_env_flow_add(struct lb_env *env, enum lb_flow_table table,
				  const struct lb_flow_key *key, const struct lb_flow *flow)
{
	struct native_flows *flows = native_flows_of(env->t, table);

	return native_flow_find(flows, key) ? -EEXIST : native_flow_put(flows, key, flow);
}

static inline void lb_env_flow_delete(struct lb_env *env, enum lb_flow_table table,
				      const struct lb_flow_key *key)
{
	struct native_flow *e = native_flow_find(native_flows_of(env->t, table), key);

	if (e)
		e->used = 0;
}

/* Entry of a table of `room` whose key is `key`, or (key NULL) a free one; NULL: none. */
#define NATIVE_NAT_FIND(name, entry, array, type)                                                  \
	static inline struct entry *name(struct native_tables *t, const type *key)                 \
	{                                                                                          \
		for (uint32_t i = 0; i < NATIVE_NAT_ROOM; i++) {                                   \
			struct entry *e = &t->array[i];                                            \
                                                                                                   \
			if (key ? e->used && !memcmp(&e->key, key, sizeof(*key)) : !e->used)       \
				return e;                                                          \
		}                                                                                  \
		return NULL;                                                                       \
	}

NATIVE_NAT_FIND(native_nat_flow_find, native_nat_flow, nat_flows, struct lb_flow_key)
NATIVE_NAT_FIND(native_nat_reply_find, native_nat_reply, nat_replies, struct lb_nat_key)

static inline struct lb_nat_flow *lb_env_nat_flow(struct lb_env *env,
						  const struct lb_flow_key *key)
{
	struct native_nat_flow *e = native_nat_flow_find(env->t, key);

	return e ? &e->flow : NULL;
}

static inline int lb_env_nat_flow_add(struct lb_env *env, const struct lb_flow_key *key,
				      const struct lb_nat_flow *flow)
{
	struct native_nat_flow *e;

	if (native_nat_flow_find(env->t, key))
		return -EEXIST;
	e = native_nat_flow_find(env->t, NULL);
	if (!e)
		return -E2BIG;
	*e = (struct native_nat_flow){.used = 1, .key = *key, .flow = *flow};
	return 0;
}

static inline void lb_env_nat_flow_delete(struct lb_env *env, const struct lb_flow_key *key)
{
	struct native_nat_flow *e = native_nat_flow_find(env->t, key);

	if (e)
		e->used = 0;
}

static inline struct lb_nat_reply *lb_env_nat_reply(struct lb_env *env,
						    const struct lb_nat_key *key)
{
	struct native_nat_reply *e = native_nat_reply_find(env->t, key);

	return e ? &e->reply : NULL;
}

static inline int lb_env_nat_reply_add(struct lb_env *env, const struct lb_nat_key *key,
				       const struct lb_nat_reply *reply)
{
	struct native_nat_reply *e;

	if (native_nat_reply_find(env->t, key))
		return -EEXIST;
	e = native_nat_reply_find(env->t, NULL);
	if (!e)
		return -E2BIG;
	*e = (struct native_nat_reply){.used = 1, .key = *key, .reply = *reply};
	return 0;
}

static inline void lb_env_nat_reply_delete(struct lb_env *env, const struct lb_nat_key *key)
{
	struct native_nat_reply *e = native_nat_reply_find(env->t, key);

	if (e)
		e->used = 0;
}

static inline __u32 lb_env_ticks(struct lb_env *env)
{
	return env->t->ticks;
}

#define lb_env_loop(env, n, step, state)                                                           \
	do {                                                                                       \
		for (__u32 loop_i = 0; loop_i < (n) && !step(loop_i, state); loop_i++)             \
			;                                                                          \
	} while (0)

static inline __u32 lb_env_ifindex(struct lb_env *env)
{
	return env->ifindex;
}

static inline __u32 lb_env_mtu(struct lb_env *env, __u32 ifindex)
{
	(void)ifindex;
	return env->t->mtu;
}

static inline int lb_env_head(struct lb_env *env, int delta)
{
	uint8_t *to = (uint8_t *)env->data + delta;

	if (to < env->block || to + 14 > (uint8_t *)env->end)
		return -1;
	if (delta < 0)
		ASAN_UNPOISON_MEMORY_REGION(to, -delta);
	else
		ASAN_POISON_MEMORY_REGION(env->data, delta);
	env->data = to;
	return 0;
}

/* Only ever shorter: the core asks for nothing else so far, and the block ends with the frame. */
static inline int lb_env_tail(struct lb_env *env, int delta)
{
	uint8_t *to = (uint8_t *)env->end + delta;

	if (delta > 0 || to < (uint8_t *)env->data + 14)
		return -1;
	ASAN_POISON_MEMORY_REGION(to, -delta);
	env->end = to;
	return 0;
}

/* Copies the frame into a block of its own; release with native_frame_free(). */
static inline void native_frame_put(struct lb_env *env, const uint8_t *bytes, uint32_t len,
				    uint32_t headroom)
{
	uint32_t skip = NATIVE_HEADROOM - headroom; /* keeps the alignment */
	uint8_t *block = malloc(NATIVE_HEADROOM + len);

	memcpy(block + NATIVE_HEADROOM, bytes, len);
	env->block = block + skip;
	env->data = block + NATIVE_HEADROOM;
	env->end = (uint8_t *)env->data + len;
	ASAN_POISON_MEMORY_REGION(block, NATIVE_HEADROOM);
}

static inline void native_frame_free(struct lb_env *env, uint32_t headroom)
{
	free(env->block - (NATIVE_HEADROOM - headroom));
}

#endif
