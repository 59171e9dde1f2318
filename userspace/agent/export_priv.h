/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The families of metrics, as tables: export.c walks them, and for each its objects.
 * A family has one value for an object (NAN: none), or writes its samples itself, with labels.
 */
#ifndef SLUICE_AGENT_EXPORT_PRIV_H
#define SLUICE_AGENT_EXPORT_PRIV_H

#include <math.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/export_text.h"
#include "userspace/lib/cleanup.h"

/* What a value is computed from. */
struct export_now {
	const struct agent *agent;
	int64_t now_ms;
};

enum export_scope {
	EXPORT_AGENT = 1, /* one object: the agent */
	EXPORT_VIP,       /* labels: vip */
	EXPORT_POOL,      /* labels: pool */
	EXPORT_NODE,      /* labels: pool, node */
	EXPORT_SCOPE_N,
};

/* Exactly one of the functions, that of the scope. */
struct export_family {
	const char *name;
	const char *help;
	enum export_type type;
	union {
		double (*agent)(const struct export_now *now);
		double (*vip)(const struct export_now *now, const struct vip *vip);
		double (*pool)(const struct export_now *now, const struct pool *pool);
		double (*node)(const struct export_now *now, const struct node *node);
	} value;
	union {
		void (*agent)(const struct export_now *now, struct export_text *t);
		void (*vip)(const struct export_now *now, struct export_text *t,
			    const struct vip *vip);
		void (*pool)(const struct export_now *now, struct export_text *t,
			     const struct pool *pool);
		void (*node)(const struct export_now *now, struct export_text *t,
			     const struct node *node);
	} samples;
};

struct export_table {
	const struct export_family *families;
	size_t n;
};

const struct export_table *export_agent_table(void);
const struct export_table *export_vip_table(void);
const struct export_table *export_pool_table(void);
const struct export_table *export_node_table(void);

/* Seconds since then; NAN if then is negative: never. Not below 0. */
static inline double export_age_s(const struct export_now *now, int64_t then_ms)
{
	if (then_ms < 0)
		return NAN;
	return now->now_ms > then_ms ? (double)(now->now_ms - then_ms) / 1000 : 0;
}

#endif
