/* SPDX-License-Identifier: BSD-2-Clause */
/* Members and turns of a pool -> the idle bank, then the flip; loads of backends. */
#include "userspace/agent/publish_priv.h"

#include <assert.h>
#include <string.h>

/* A reader that still has the old word may read the idle bank while it is written: it finds old
 * and new members there, all of them ids that it checks. */
static void write_list(uint32_t *word, uint16_t *bank0, uint16_t *bank1, const uint16_t *list,
		       uint32_t n)
{
	uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	uint16_t *used = now & LB_BANK_BIT ? bank1 : bank0;
	uint16_t *idle = now & LB_BANK_BIT ? bank0 : bank1;

	if ((now & ~LB_BANK_BIT) == n && (!n || !memcmp(used, list, n * sizeof(*list))))
		return;
	for (uint32_t i = 0; i < n; i++)
		__atomic_store_n(&idle[i], list[i], __ATOMIC_RELAXED);
	__atomic_store_n(word, n | (~now & LB_BANK_BIT), __ATOMIC_RELEASE);
}

void publish_turns(struct publish *p, uint32_t pool, const uint16_t *turns, uint32_t n)
{
	assert(pool < LB_POOLS_MAX);
	assert(n <= LB_TURNS_MAX);
	write_list(&p->t->pools[pool].n_turns, p->t->turns[2 * pool].backend,
		   p->t->turns[2 * pool + 1].backend, turns, n);
}

void publish_members(struct publish *p, uint32_t pool, const uint16_t *backends, uint32_t n)
{
	assert(pool < LB_POOLS_MAX);
	assert(n <= LB_MEMBERS_MAX);
	write_list(&p->t->pools[pool].n_members, p->t->members[2 * pool].backend,
		   p->t->members[2 * pool + 1].backend, backends, n);
}

static bool list_names(uint32_t word, const uint16_t *bank0, const uint16_t *bank1,
		       uint16_t backend)
{
	const uint16_t *used = word & LB_BANK_BIT ? bank1 : bank0;

	for (uint32_t i = 0; i < (word & ~LB_BANK_BIT); i++) {
		if (used[i] == backend)
			return true;
	}
	return false;
}

bool publish_lists_name(const struct publish *p, uint32_t pool, uint16_t backend)
{
	const struct tables *t = p->t;

	return list_names(t->pools[pool].n_turns, t->turns[2 * pool].backend,
			  t->turns[2 * pool + 1].backend, backend) ||
	       list_names(t->pools[pool].n_members, t->members[2 * pool].backend,
			  t->members[2 * pool + 1].backend, backend);
}

static struct lb_load *load_of(const struct publish *p, uint16_t id)
{
	assert(id != LB_BACKEND_NONE && id < LB_BACKENDS_MAX);
	return &p->t->loads[id];
}

/* The packet path adds at the same time; below 0 would read as four billion. */
static void subtract(uint32_t *word, uint32_t n)
{
	uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(word, &old, old > n ? old - n : 0, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

uint32_t publish_load_inc(const struct publish *p, uint16_t id)
{
	return __atomic_load_n(&load_of(p, id)->inc, __ATOMIC_RELAXED);
}

void publish_load_scraped(struct publish *p, uint16_t id, uint32_t base, uint32_t inc_at_start)
{
	publish_load_base(p, id, base);
	subtract(&load_of(p, id)->inc, inc_at_start);
}

void publish_load_base(struct publish *p, uint16_t id, uint32_t base)
{
	__atomic_store_n(&load_of(p, id)->base, base, __ATOMIC_RELAXED);
}

void publish_load_weight(struct publish *p, uint16_t id, uint32_t weight, uint32_t flags)
{
	struct lb_load *l = load_of(p, id);

	if (l->weight != weight)
		__atomic_store_n(&l->weight, weight, __ATOMIC_RELAXED);
	if (l->flags != flags)
		__atomic_store_n(&l->flags, flags, __ATOMIC_RELAXED);
}

void publish_load_flows_sub(struct tables *t, uint16_t id, uint32_t n)
{
	assert(id < LB_BACKENDS_MAX);
	subtract(&t->loads[id].flows, n);
}
