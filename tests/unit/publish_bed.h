/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of publish.c share: maps in memory, a pool, an agent that may die. */
#ifndef SLUICE_TESTS_PUBLISH_BED_H
#define SLUICE_TESTS_PUBLISH_BED_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "userspace/agent/publish.h"
#include "userspace/lib/cleanup.h"

#define N_SLOTS 251
#define NOW     1000000
#define IDLE_MS 60000

struct fixture {
	struct tables t;
	struct publish *p;
	uint32_t pool;
	unsigned int graces;
	uint64_t looked_ms; /* end_until() has come to there */
};

static inline void count_grace(void *userdata)
{
	((struct fixture *)userdata)->graces++;
}

static inline struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	return ep;
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(tables_alloc(4, 2, &f->t), 0);
	assert_int_equal(publish_new(&f->t, count_grace, f, NOW, &f->p), 0);
	assert_int_equal(publish_pool_get(f->p, "chat", N_SLOTS, &f->pool), 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	publish_free(&f->p);
	tables_close(&f->t);
	free(f);
	return 0;
}

/* The agent dies and another one adopts the tables. */
static inline void restart(struct fixture *f, uint64_t now_ms)
{
	publish_free(&f->p);
	assert_int_equal(publish_new(&f->t, count_grace, f, now_ms, &f->p), 0);
	f->looked_ms = now_ms;
}

static inline uint16_t node(struct fixture *f, const char *name, const char *ep)
{
	struct endpoint e = endpoint(ep);
	bool adopted;
	uint16_t id;

	assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
	return id;
}

static inline uint16_t live_node(struct fixture *f, const char *name, const char *ep)
{
	uint16_t id = node(f, name, ep);

	publish_backend_set_alive(f->p, id);
	return id;
}

/* Publish the same cur in all slots. */
static inline uint32_t publish_all(struct fixture *f, uint16_t cur, uint16_t alt, uint64_t now_ms)
{
	uint16_t curs[N_SLOTS], alts[N_SLOTS];
	uint32_t written = 999;

	for (int i = 0; i < N_SLOTS; i++) {
		curs[i] = cur;
		alts[i] = alt;
	}
	assert_int_equal(publish_slots(f->p, f->pool, N_SLOTS, curs, alts, now_ms, &written), 0);
	return written;
}

/* The agent looks for transitions to end every so often. Returns how many it ended. */
#define LOOK_MS	  100
#define LATEST_MS 600 /* one is so much longer than it is told, at the most */
static inline uint32_t end_until(struct fixture *f, uint64_t idle_ms, uint64_t now_ms)
{
	uint32_t ended = 0;

	if (!f->looked_ms)
		f->looked_ms = NOW;
	for (; f->looked_ms < now_ms; f->looked_ms += LOOK_MS)
		ended += publish_end_transitions(f->p, idle_ms, f->looked_ms, UINT32_MAX);
	return ended + publish_end_transitions(f->p, idle_ms, now_ms, UINT32_MAX);
}

static inline void assert_slot(const struct fixture *f, uint16_t cur, uint16_t alt, uint16_t prev)
{
	const struct lb_slot *s = &f->t.slots[f->pool * LB_SLOTS_MAX + 17];

	assert_int_equal(s->cur, cur);
	assert_int_equal(s->alt, alt);
	assert_int_equal(s->prev, prev);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
