/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of links, neighbours and the targets behind them; shared by nexthop.c (time, life),
 * nexthop_talk.c (the kernel) and nexthop_state.c (this), and nobody else's business.
 *
 * A target is an address that ids want; a neighbour is what its route leads to first: itself or a
 * gateway. Targets that a change may touch are dirty, and looked up again in bounded batches.
 */
#ifndef SLUICE_AGENT_NEXTHOP_STATE_H
#define SLUICE_AGENT_NEXTHOP_STATE_H

#include "userspace/agent/nexthop.h"
#include "userspace/agent/nexthop_priv.h"

#define NEXTHOP_BUCKETS  1024
#define NEXTHOP_BUF_SIZE 32768 /* the largest part of a dump */

struct neigh {
	struct neigh *next; /* in its bucket */
	uint32_t ifindex;
	struct address addr;
	struct target *users;
	bool asked; /* the kernel's answer or an event was seen */
	bool valid; /* else mac is the last one known, if has_mac */
	bool has_mac;
	uint8_t mac[6];
	uint64_t kick_ms; /* when to ask again while it is not valid */
	uint32_t kick_wait_ms;
};

struct target {
	struct address addr;
	uint32_t *ids;
	uint32_t n_ids;
	struct nexthop_result result;
	struct nexthop_route route;
	struct neigh *neigh;
	struct target *user_prev, *user_next; /* of neigh */
	struct target *dirty_next;
	bool dirty;
};

struct nexthop_table {
	nexthop_changed_fn changed;
	void *userdata;
	struct mnl_socket *requests;
	struct mnl_socket *events;
	int epoll_fd;
	uint32_t seq;
	struct target *by_id[NEXTHOP_IDS_MAX];
	struct target **targets; /* sorted by address */
	uint32_t n_targets;
	struct target *dirty_head, *dirty_tail;
	struct neigh *neighs[NEXTHOP_BUCKETS];
	struct nexthop_link *links; /* in no order: there are few */
	uint32_t n_links;
	bool resync; /* events were lost */
	bool broken; /* the events' socket failed */
	uint64_t reopen_ms;
	uint64_t recheck_ms;
	uint32_t recheck_at; /* next of targets[] */
	char buf[NEXTHOP_BUF_SIZE] __attribute__((aligned(8)));
};

/* --- links, neighbours, targets (nexthop_state.c) --------------------------------------------- */

/* Returns whether anything that matters here has changed. */
bool nexthop_set_link(struct nexthop_table *t, const struct nexthop_link *news);

struct neigh *nexthop_find_neigh(const struct nexthop_table *t, uint32_t ifindex,
				 const struct address *addr);
void nexthop_set_neigh(struct nexthop_table *t, struct neigh *n, bool valid, const uint8_t mac[6]);

/* The target's packets go to that neighbour from now on, or to none. 0, -ENOMEM. */
int nexthop_join_neigh(struct nexthop_table *t, struct target *target, uint32_t ifindex,
		       const struct address *addr);
void nexthop_leave_neigh(struct nexthop_table *t, struct target *target);

/* Index of the first target whose address is not below. */
uint32_t nexthop_lower_bound(const struct nexthop_table *t, const struct address *addr);
struct target *nexthop_find_target(const struct nexthop_table *t, const struct address *addr);

/* To be looked up again: this one, all, those by a device, those in a prefix. */
void nexthop_mark_dirty(struct nexthop_table *t, struct target *target);
void nexthop_mark_all(struct nexthop_table *t);
void nexthop_mark_device(struct nexthop_table *t, uint32_t ifindex);
void nexthop_mark_prefix(struct nexthop_table *t, const struct nexthop_prefix *p);
struct target *nexthop_take_dirty(struct nexthop_table *t); /* NULL: none is left */
void nexthop_unlink_dirty(struct nexthop_table *t, struct target *target);

/* What follows for the target by now; tells whoever asked if it changed. */
void nexthop_update_result(struct nexthop_table *t, struct target *target);

/* --- the kernel (nexthop_talk.c); 0 or -errno ------------------------------------------------- */

/* All links anew. */
int nexthop_read_links(struct nexthop_table *t);

/* Some of the dirty targets: their routes, neighbours and results. */
int nexthop_look_up_dirty(struct nexthop_table *t);

/* Ask for neighbours that are due. *ret_next_ms: when the next one will be. */
int nexthop_kick_due(struct nexthop_table *t, uint64_t now_ms, uint64_t *ret_next_ms);

#endif
