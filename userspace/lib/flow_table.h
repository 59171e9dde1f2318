/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hash table in shared memory (maps/dpdk.h): key of 20 bytes -> value, read without locks while
 * others write, by workers of one process and by the agent.
 *
 * A key has two buckets of LB_BUCKET_CELLS cells, a cell holds one key. Reading and removing take
 * no lock: compare words, then keys. Adding takes the lock of the key's first bucket, so a key is
 * there once; only workers add. A cell that is given up is dead until every worker has begun a new
 * round since (rounds.h), so a pointer found in a round stays good for that round.
 * A worker that is killed at a bad moment leaves locks and busy cells behind: the next one clears
 * them.
 *
 * Ticks are CLOCK_MONOTONIC_COARSE in units of maps/abi.h. Those passed to functions that remove
 * must be read when they are called, not when the round began.
 */
#ifndef SLUICE_LIB_FLOW_TABLE_H
#define SLUICE_LIB_FLOW_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/dpdk.h"

#define FLOW_TABLE_KEY 20 /* bytes: struct lb_flow_key, struct lb_nat_key */

enum flow_table_form {
	FLOW_TABLE_FLOWS = 1, /* struct lb_flow_bucket, struct lb_nat_flow_bucket */
	FLOW_TABLE_REPLIES,   /* struct lb_nat_reply_bucket */
};

/* A view: every thread has its own. */
struct flow_table {
	uint8_t *buckets;
	uint32_t n_buckets;
	uint32_t bucket_size;
	uint32_t head_size; /* of a bucket, in front of its cells */
	uint32_t cell_size;
	uint64_t secret; /* what keeps outsiders from filling one bucket */
	const struct lb_worker *workers;
	uint32_t safe_tick; /* cells that died before are free */
	uint32_t safe_at;   /* when that was worked out */
};

enum flow_table_put {
	FLOW_TABLE_ANY = 1,
	FLOW_TABLE_NOEXIST,
};

/* workers: LB_WORKERS_MAX of them. */
void flow_table_init(struct flow_table *t, enum flow_table_form form, void *buckets,
		     uint32_t n_buckets, uint64_t secret, const struct lb_worker *workers);

/* Buckets for n entries, so that a table with n is nearly never full for one of them. */
uint32_t flow_table_buckets(uint32_t n);

/* The n that so many buckets were made for, or a little more. */
uint32_t flow_table_room(uint32_t n_buckets);

/* The key will be looked for: what flow_table_find() reads is on its way from now on. */
void flow_table_expect(const struct flow_table *t, const void *key);

/* The value, good until the worker's round ends; NULL if there is none. */
void *flow_table_find(const struct flow_table *t, const void *key);

/*
 * Add, or with FLOW_TABLE_ANY replace. Returns 0; -EEXIST with FLOW_TABLE_NOEXIST; -E2BIG if both
 * buckets are full.
 */
int flow_table_put(struct flow_table *t, const void *key, const void *value,
		   enum flow_table_put how, uint32_t now);

/* Returns 0; -ENOENT. For workers and the agent. */
int flow_table_delete(struct flow_table *t, const void *key, uint32_t now);

/* Undo what a process left that was killed. No worker may run. Returns the cells cleared. */
uint32_t flow_table_recover(struct flow_table *t);

/* --- for the agent ---------------------------------------------------------------------------- */

/* What was read of a cell. */
struct flow_table_entry {
	uint32_t bucket;
	uint32_t cell;
	uint32_t word;
	uint8_t key[FLOW_TABLE_KEY] __attribute__((aligned(4)));
	uint8_t value[64 - FLOW_TABLE_KEY] __attribute__((aligned(4)));
};

/* Entries of a bucket, copied whole; frees dead cells whose time has come. Returns their number. */
uint32_t flow_table_read(struct flow_table *t, uint32_t bucket, uint32_t now,
			 struct flow_table_entry ret_entries[LB_BUCKET_CELLS]);

/*
 * Take an entry out that was read; *e becomes what it held then. Returns 0; -ENOENT if it is gone
 * or another.
 */
int flow_table_take(struct flow_table *t, struct flow_table_entry *e, uint32_t now);

/*
 * Put back what was just taken. Returns 0; -EEXIST if the key has come anew, -ENOENT if the cell
 * is in other use: then it stays out.
 */
int flow_table_put_back(struct flow_table *t, const struct flow_table_entry *e);

#endif
