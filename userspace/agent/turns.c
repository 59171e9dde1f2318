/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/turns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "userspace/lib/cleanup.h"

#define NOBODY UINT32_MAX

/* A member and its turn that is served next. */
struct entry {
	uint32_t share; /* turns of it */
	uint32_t served;
	uint32_t next; /* in the list of those whose windows begin with the same turn */
};

struct schedule {
	struct entry *entries;
	uint64_t *ready; /* a heap: where the window ends << 32 | index of the entry */
	uint32_t *begins; /* first of the list of each turn */
	uint32_t n_ready;
	uint32_t n_turns;
};

/* --- shares ----------------------------------------------------------------------------------- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static uint64_t weight_of(const struct turns_member *member, enum turns_kind kind)
{
	return kind == TURNS_PLAIN ? !!member->weight : member->weight;
}

/*
 * Turns of each member: weights over their common divisor, or scaled so that the sum is about
 * LB_TURNS_MAX, never below one. counted: members with a weight, at least one. Returns the sum.
 */
static uint32_t share_turns(const struct turns_member *members, uint32_t n, uint32_t counted,
			    enum turns_kind kind, struct entry *ret_entries)
{
	uint64_t sum = 0, divisor = 0;
	uint32_t turns = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += weight_of(&members[i], kind);
		divisor = gcd(weight_of(&members[i], kind), divisor);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t w = weight_of(&members[i], kind);
		uint64_t share = w / divisor;

		/* room for the ones that are rounded up to a turn */
		if (w && sum / divisor > LB_TURNS_MAX)
			share = 1 + w * (LB_TURNS_MAX - counted) / sum;
		ret_entries[i].share = (uint32_t)share;
		turns += (uint32_t)share;
	}
	return turns;
}

/* --- order ------------------------------------------------------------------------------------ */

static void push(struct schedule *s, uint64_t key)
{
	uint32_t i = s->n_ready++;

	for (; i && s->ready[(i - 1) / 2] > key; i = (i - 1) / 2)
		s->ready[i] = s->ready[(i - 1) / 2];
	s->ready[i] = key;
}

static uint64_t pop(struct schedule *s)
{
	uint64_t least = s->ready[0], last = s->ready[--s->n_ready];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < s->n_ready) {
		if (child + 1 < s->n_ready && s->ready[child + 1] < s->ready[child])
			child++;
		if (s->ready[child] >= last)
			break;
		s->ready[i] = s->ready[child];
		i = child;
	}
	s->ready[i] = last;
	return least;
}

/* now: the first turn that is not given away. Windows of one member overlap by a turn at most. */
static void line_up(struct schedule *s, uint32_t i, uint32_t now)
{
	struct entry *e = &s->entries[i];
	uint32_t begin = (uint32_t)((uint64_t)e->served * s->n_turns / e->share);

	begin = begin < now ? now : begin;
	e->next = s->begins[begin];
	s->begins[begin] = i;
}

static void make_ready(struct schedule *s, uint32_t turn)
{
	for (uint32_t i = s->begins[turn]; i != NOBODY; i = s->entries[i].next) {
		const struct entry *e = &s->entries[i];
		uint64_t end = ((uint64_t)(e->served + 1) * s->n_turns + e->share - 1) / e->share;

		push(s, end << 32 | i);
	}
}

static void order(struct schedule *s, const struct turns_member *members, uint32_t n,
		  uint16_t *ret_turns)
{
	for (uint32_t turn = 0; turn < s->n_turns; turn++)
		s->begins[turn] = NOBODY;
	for (uint32_t i = n; i-- > 0;)
		if (s->entries[i].share)
			line_up(s, i, 0);
	for (uint32_t turn = 0; turn < s->n_turns; turn++) {
		uint32_t i;

		make_ready(s, turn);
		assert(s->n_ready);
		i = (uint32_t)pop(s);
		ret_turns[turn] = members[i].backend;
		if (++s->entries[i].served < s->entries[i].share)
			line_up(s, i, turn + 1);
	}
}

int turns_build(const struct turns_member *members, uint32_t n, enum turns_kind kind,
		uint16_t ret_turns[LB_TURNS_MAX])
{
	_cleanup_free_ struct entry *entries = calloc(n + 1, sizeof(*entries));
	_cleanup_free_ uint64_t *ready = NULL;
	_cleanup_free_ uint32_t *begins = NULL;
	struct schedule s = {.entries = entries};
	uint32_t counted = 0;

	for (uint32_t i = 0; i < n; i++)
		counted += !!members[i].weight;
	if (counted > LB_TURNS_MAX)
		return -E2BIG;
	if (!counted)
		return 0;
	s.ready = ready = calloc(counted, sizeof(*ready));
	s.begins = begins = calloc(LB_TURNS_MAX, sizeof(*begins));
	if (!entries || !ready || !begins)
		return -ENOMEM;
	s.n_turns = share_turns(members, n, counted, kind, entries);
	assert(s.n_turns >= counted && s.n_turns <= LB_TURNS_MAX);
	order(&s, members, n, ret_turns);
	return (int)s.n_turns;
}
