/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a set of metric expressions and a run over it are made of: shared by metricset.c (the names
 * that are looked for), metricrun.c (samples -> tallies) and metriceval.c (tallies -> values).
 *
 * Every selector of a set is a leaf with a tally: what its samples add up to so far. An aggregate
 * straight over a selector needs no more. Only selectors inside arithmetic on many samples keep
 * these, as (label set's hash, value) pairs.
 */
#ifndef SLUICE_AGENT_METRICRUN_INTERNAL_H
#define SLUICE_AGENT_METRICRUN_INTERNAL_H

#include "userspace/agent/metricexpr.h"
#include "userspace/agent/metricexpr_tree.h"

#define NAME_SLOTS 1024 /* power of two, well above METRIC_SET_MAX * METRIC_SELECTORS_MAX */
#define NO_LEAF    UINT16_MAX

struct leaf {
	const struct metric_expr *expr;
	const struct metric_selector *selector;
	uint16_t next; /* leaf with the same name, or NO_LEAF */
};

struct name {
	const char *name;
	size_t len;
	uint64_t hash;
	uint16_t leaf; /* the first with this name */
};

struct metric_set {
	unsigned int n_refs;
	enum metric_format format;
	struct metric_expr *exprs[METRIC_SET_MAX];
	uint16_t first_leaf[METRIC_SET_MAX];
	struct leaf *leaves;
	uint16_t n_leaves;
	struct name *names;
	uint16_t n_names;
	uint16_t name_at[NAME_SLOTS]; /* open addressing; index in names + 1, 0 is free */
	uint64_t lengths;             /* bit (length mod 64) of every name: most are no match */
};

/* What samples add up to. */
struct tally {
	uint32_t n; /* finite ones */
	uint32_t n_trouble;
	enum metric_status trouble; /* the gravest one's kind */
	double sum;
	double max;
	double min;
};

struct series {
	uint64_t key;
	double value; /* NaN: not usable */
};

struct leaf_state {
	struct tally tally;
	struct series *series;
	uint32_t n_series;
	uint32_t cap_series;
	bool sorted;
};

struct metric_run {
	struct metric_set *set;
	struct leaf_state *states;
};

/* FNV-1a over more bytes. */
static inline uint64_t metric_hash_bytes(uint64_t h, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3ull;
	return h;
}

/* Spreads what FNV leaves in the high bits (splitmix64's finaliser). */
static inline uint64_t metric_hash_mix(uint64_t h)
{
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
	return h ^ (h >> 31);
}

/* A sample that is of no use. The gravest kind is kept: their values are in that order. */
void metric_tally_trouble(struct tally *t, enum metric_status trouble);
/* One that is of use, unless it is not finite. */
void metric_tally_add(struct tally *t, double v);

#endif
