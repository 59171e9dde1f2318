/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool's discovery: what a source names -> members of the pool, as configuration of nodes.
 *
 * The source, a name in DNS or a file, is asked again by TTL or when it changes. An answer that
 * failed, is empty, or names too many nodes changes nothing. Members that an answer no longer
 * names serve until nodes that it names are ready to take their place; then they leave the pool,
 * and retire.h keeps their flows, for discovery.drain_deadline at most. One that is named again
 * meanwhile continues. An agent that starts takes what it finds pinned for members until it hears
 * from the source.
 *
 * Nodes of the file (config_pool.nodes) are none of its business: where both name an endpoint, the
 * file's counts.
 */
#ifndef SLUICE_AGENT_DISCOVERY_H
#define SLUICE_AGENT_DISCOVERY_H

#include <jansson.h>
#include <stdbool.h>

#include "userspace/agent/config.h"

struct agent;
struct pool;
struct discovery;

/*
 * at_start: the agent starts, and the pool is new to it: nodes that are pinned for it become
 * members. Returns 0; -ENOMEM.
 */
int discovery_new(struct agent *agent, struct pool *pool, bool at_start, struct discovery **ret);
void discovery_free(struct discovery **discovery);

/*
 * Take over pool->cfg: asks the source, if it is another one, and fits the members to it. A file is
 * read at once. Then discovery_nodes() has to be applied.
 */
void discovery_configure(struct discovery *d, int64_t now_ms);

/*
 * Members as the configuration in force has them. Valid until discovery_settle() that follows a
 * later call of it. Returns 0; -ENOMEM.
 */
int discovery_nodes(struct discovery *d, const struct config_node **ret_nodes, uint32_t *ret_n);

/* Every node of the pool has the configuration that the last discovery_nodes() returned. */
void discovery_settle(struct discovery *d);

/* Ask when it is time; let go of those that may leave. */
void discovery_tick(struct discovery *d, int64_t now_ms);

/* The source has not answered yet, and there is no member. */
bool discovery_awaited(const struct discovery *d);

struct discovery_stats {
	enum config_discovery_type type;
	uint32_t nodes;   /* members */
	uint32_t leaving; /* of those: the source names them no longer */
	uint64_t n_answers; /* good ones */
	uint64_t n_failures;
	int64_t answered_ms; /* the last good one; -1: none */
	bool failing;        /* the last one was not good */
};
void discovery_stats(const struct discovery *d, struct discovery_stats *ret_stats);

/* NULL if the pool has no discovery, and no member left of one. */
json_t *discovery_report(const struct discovery *d, int64_t now_ms);

#endif
