/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The members of a pool -> its table: weights are judged, the table is built, and the words that
 * changed are published. DESIGN: "the table follows what changes rarely, load acts on new flows".
 */
#ifndef SLUICE_AGENT_POOL_H
#define SLUICE_AGENT_POOL_H

#include "userspace/agent/config.h"
#include "userspace/agent/node.h"
#include "userspace/agent/notice.h"
#include "userspace/agent/weight.h"

struct agent;
struct discovery;

struct pool {
	struct agent *agent;
	const struct config_pool *cfg; /* of the configuration in force */
	char name[LB_NAME_MAX];
	uint32_t id;
	struct discovery *discovery;
	struct node **nodes;
	uint32_t n_nodes;
	struct weight_settings weight_settings;
	struct weight_memory memory;
	struct weight_verdict verdict;
	uint16_t *cur; /* as last built, [n_slots] */
	uint16_t *alt;
	uint32_t n_slots;
	bool dirty;	 /* judge before the loop waits again */
	bool rebuild;	 /* members or weights changed: build the table too */
	bool published;	 /* at least once */
	bool local;	 /* its table points to this host: nothing is left */
	bool settled;	 /* each node was judged once, or they had their time */
	bool ticked;	 /* its nodes are asked, and created_ms is when that began */
	int64_t created_ms;
	bool samples_new; /* load scores are to be published */
	int64_t next_ms; /* judge again then */
	int64_t scores_ms; /* when scores were last published */
	struct health_pool figures; /* medians, for outliers */
	int64_t figures_ms;
	uint64_t effective; /* sum over its nodes, thousandths */
	uint64_t n_builds;
	uint64_t n_build_failures;
	uint64_t n_words;    /* slots written so far */
	int64_t built_ms;    /* last time */
	int64_t change_us;     /* from judgement to maps written, of the latest change */
	int64_t change_max_us; /* the longest since the start */
	int64_t quiet_until_us; /* agent_clock_us(): changes until then wait and are taken together */
	uint64_t n_transitions[LB_STATE_MAINTENANCE + 1]; /* of its nodes, into each state */
	struct notices notices;
};

/* Returns 0 or -ENOMEM. The caller owns *ret_pool; nodes belong to the pool. */
int pool_new(struct agent *agent, const struct config_pool *cfg, uint32_t id, bool at_start,
	     struct pool **ret_pool);
void pool_free(struct pool **pool);

int pool_reconfigure(struct pool *pool, const struct config_pool *cfg);

/* Takes the node over. Returns 0 or -ENOMEM. */
int pool_add(struct pool *pool, struct node *node);
/* Takes the node out; it is the caller's again. */
void pool_remove(struct pool *pool, struct node *node);
struct node *pool_find(const struct pool *pool, const char *name);

/* Judge weights now; build and publish if they changed. */
void pool_judge(struct pool *pool, int64_t now_ms);

/*
 * Whether a change is to wait: one that comes alone acts at once, but while hundreds of nodes die
 * the pool's tables are to take a part of the thread's time and not all of it.
 */
bool pool_is_quiet(const struct pool *pool, int64_t now_us);

void pool_tick(struct pool *pool, int64_t now_ms);

/* Medians of the pool, computed at most every quarter of a second. */
const struct health_pool *pool_figures(struct pool *pool, int64_t now_ms);

/* Whether every flow needs an entry: the policy looks flows up, or load is counted from flows. */
bool pool_tracks(const struct config_pool *cfg);

#endif
