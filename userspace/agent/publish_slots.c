/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots: (cur, alt) wanted -> the words that differ, by compare-and-swap (DESIGN section 2). */
#include "userspace/agent/publish_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

union slot_word {
	struct lb_slot s;
	uint64_t word;
};

/* Later by up to a unit: a transition never ends too early. */
static uint32_t time_of(const struct publish *p, uint64_t now_ms)
{
	return (now_ms - p->start_ms) / PUBLISH_SINCE_MS + 1;
}

/* Its flows can still be served: known to be alive, or this host. */
static bool usable(const struct publish *p, uint16_t id)
{
	return id != LB_BACKEND_NONE && publish_backend_is_alive(p, id);
}

static struct lb_slot *slots_of(const struct publish *p, uint32_t pool)
{
	return p->t->slots + (size_t)pool * LB_SLOTS_MAX;
}

static void count_ref(struct publish *p, uint16_t id, int n)
{
	if (id != LB_BACKEND_NONE && id < LB_BACKENDS_MAX)
		p->refs[id] += n;
}

static void count_refs(struct publish *p, struct lb_slot s, int n)
{
	count_ref(p, s.cur, n);
	count_ref(p, s.alt, n);
	count_ref(p, s.prev, n);
}

static bool is_ending(struct lb_slot s)
{
	return s.prev && s.alt == LB_ALT_ENDING;
}

/* A slot's next word, but for a transition that is ending. Pure but for who is alive. */
static struct lb_slot changed_slot(const struct publish *p, struct lb_slot old, uint16_t cur,
				uint16_t alt)
{
	struct lb_slot s = {
		.cur = cur,
		.alt = alt == cur ? LB_BACKEND_NONE : alt,
		.prev = usable(p, old.prev) ? old.prev : LB_BACKEND_NONE,
		.exc = old.exc,
	};

	if (old.cur == cur)
		return s;
	if (!s.prev && usable(p, old.cur))
		s.prev = old.cur;
	if (s.prev == cur)
		s.prev = LB_BACKEND_NONE;
	return s;
}

static struct lb_slot next_slot(const struct publish *p, struct lb_slot old, uint16_t cur,
				uint16_t alt)
{
	struct lb_slot s = changed_slot(p, old, cur, alt);

	if (is_ending(old) && s.prev == old.prev)
		s.alt = LB_ALT_ENDING;
	return s;
}

static void note_change(struct publish *p, uint32_t pool, uint32_t i, struct lb_slot old,
			struct lb_slot new, uint64_t now_ms)
{
	count_refs(p, old, -1);
	count_refs(p, new, 1);
	if (old.prev == new.prev)
		return;
	if (!old.prev)
		p->in_transition[pool]++;
	if (!new.prev)
		p->in_transition[pool]--;
	else
		p->since[pool][i] = time_of(p, now_ms);
}

/* Packets may have read of it until now, though it died before. */
static void note_dropped(struct publish *p, uint16_t old, uint16_t new)
{
	if (old != new && old != LB_BACKEND_NONE && old < LB_BACKENDS_MAX && !usable(p, old))
		publish_note_death(p, old);
}

int publish_slots(struct publish *p, uint32_t pool, uint32_t n_slots, const uint16_t *cur,
		  const uint16_t *alt, uint64_t now_ms, uint32_t *ret_written)
{
	struct lb_slot *slots = slots_of(p, pool);
	uint32_t written = 0;

	assert(pool < p->t->n_pools);
	if (!p->since[pool] || n_slots != p->t->pool_info[pool].n_slots)
		return -EINVAL;
	for (uint32_t i = 0; i < n_slots; i++) {
		union slot_word old = {.word = publish_read(&slots[i])}, new;

		p->alt[pool][i] = alt && alt[i] != cur[i] ? alt[i] : LB_BACKEND_NONE;
		/* the packet path may store exc in between: try again with the new one */
		do {
			new.s = next_slot(p, old.s, cur[i], alt ? alt[i] : LB_BACKEND_NONE);
		} while (new.word != old.word && !publish_swap(&slots[i], &old.word, new.word));
		if (new.word == old.word)
			continue;
		note_change(p, pool, i, old.s, new.s, now_ms);
		note_dropped(p, old.s.cur, new.s.cur);
		note_dropped(p, old.s.alt, new.s.alt);
		note_dropped(p, old.s.prev, new.s.prev);
		written++;
	}
	*ret_written = written;
	return 0;
}

/* prev and alt of a slot in transition. */
static void set_rest(struct publish *p, uint32_t pool, uint32_t i, uint16_t prev, uint16_t alt)
{
	struct lb_slot *slot = &slots_of(p, pool)[i];
	union slot_word old = {.word = publish_read(slot)}, new;

	do {
		new = old;
		new.s.prev = prev;
		new.s.alt = alt;
	} while (!publish_swap(slot, &old.word, new.word));
	note_change(p, pool, i, old.s, new.s, 0);
}

/* Transitions that began then or earlier are to end; 0: none is. */
struct transition_limits {
	uint32_t nodes;
	uint32_t local;	 /* from this host */
	uint32_t ending; /* … that began to end */
	uint32_t now;
};

/*
 * The end has two steps, so that no flow is on its way to prev without an entry when it comes:
 * first no more SYNs go there without one (LB_ALT_ENDING), and when those that did have sent on,
 * and are learned, flows without an entry belong to cur. Returns whether it ended.
 */
static bool end_transition(struct publish *p, uint32_t pool, uint32_t i, struct lb_slot s,
			   struct transition_limits limits)
{
	uint32_t limit = s.prev == LB_BACKEND_LOCAL ? limits.local : limits.nodes;
	uint32_t *since = &p->since[pool][i];

	if (is_ending(s) && !limit) { /* it must go on, after all */
		set_rest(p, pool, i, s.prev, p->alt[pool][i]);
		return false;
	}
	if (*since > (is_ending(s) ? limits.ending : limit))
		return false;
	if (is_ending(s)) {
		set_rest(p, pool, i, LB_BACKEND_NONE, p->alt[pool][i]);
		return true;
	}
	set_rest(p, pool, i, s.prev, LB_ALT_ENDING);
	*since = limits.now;
	return false;
}

/* A live flow without an entry may be anywhere until flow_idle after one could not be learned. */
static bool some_unlearned(struct publish *p, uint64_t idle_ms, uint64_t now_ms)
{
	uint64_t unlearned = tables_reason(p->t, LB_EV_OVERFLOW_LEARN);

	if (unlearned != p->unlearned) {
		p->unlearned = unlearned;
		p->unlearned_ms = now_ms;
	}
	return p->unlearned_ms && now_ms - p->unlearned_ms <= idle_ms;
}

static uint32_t limit_of(const struct publish *p, uint64_t idle_ms, uint64_t now_ms)
{
	uint64_t run_ms = now_ms - p->start_ms;

	return run_ms < idle_ms ? 0 : (run_ms - idle_ms) / PUBLISH_SINCE_MS;
}

/* Slots [from, to) of one pool. */
static uint32_t end_in_pool(struct publish *p, uint32_t pool, uint32_t from, uint32_t to,
			    struct transition_limits limits)
{
	const struct lb_slot *slots = slots_of(p, pool);
	uint32_t ended = 0;

	for (uint32_t i = from; i < to; i++)
		ended += slots[i].prev && end_transition(p, pool, i, slots[i], limits);
	return ended;
}

static struct transition_limits limits_of(struct publish *p, uint64_t idle_ms, uint64_t now_ms)
{
	uint64_t local_ms = idle_ms < PUBLISH_LOCAL_IDLE_MS ? idle_ms : PUBLISH_LOCAL_IDLE_MS;
	uint64_t ending_ms = local_ms / 2 < LB_HALF_OPEN_MS ? local_ms / 2 : LB_HALF_OPEN_MS;

	return (struct transition_limits){
		.nodes = some_unlearned(p, idle_ms, now_ms)
				 ? 0
				 : limit_of(p, idle_ms - ending_ms, now_ms),
		.local = limit_of(p, local_ms - ending_ms, now_ms),
		.ending = limit_of(p, ending_ms, now_ms),
		.now = time_of(p, now_ms),
	};
}

uint32_t publish_end_transitions(struct publish *p, uint64_t flow_idle_ms, uint64_t now_ms,
				 uint32_t budget)
{
	struct transition_limits limits = limits_of(p, flow_idle_ms, now_ms);
	uint32_t ended = 0;

	publish_look(p, now_ms);
	if (publish_is_paused(p, now_ms))
		return 0;
	/* once around at the most: budget may exceed what there is */
	for (uint32_t turns = 0; budget && turns <= p->t->n_pools; turns++) {
		uint32_t pool = p->sweep_pool, n = p->t->pool_info[pool].n_slots, to;

		if (p->since[pool] && p->in_transition[pool] && p->sweep_slot < n) {
			to = n - p->sweep_slot < budget ? n : p->sweep_slot + budget;
			budget -= to - p->sweep_slot;
			ended += end_in_pool(p, pool, p->sweep_slot, to, limits);
			p->sweep_slot = to;
			if (to < n)
				break;
		}
		p->sweep_slot = 0;
		p->sweep_pool = (pool + 1) % p->t->n_pools;
	}
	return ended;
}

uint32_t publish_in_transition(const struct publish *p, uint32_t pool)
{
	assert(pool < LB_POOLS_MAX);
	return p->in_transition[pool];
}

int publish_slots_adopt(struct publish *p, uint32_t pool, uint64_t now_ms)
{
	uint32_t n = p->t->pool_info[pool].n_slots;
	const struct lb_slot *slots = slots_of(p, pool);

	if (!p->since[pool])
		p->since[pool] = calloc(n, sizeof(*p->since[pool]));
	if (!p->alt[pool])
		p->alt[pool] = calloc(n, sizeof(*p->alt[pool]));
	if (!p->since[pool] || !p->alt[pool])
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		count_refs(p, slots[i], 1);
		if (!slots[i].prev) {
			p->alt[pool][i] = slots[i].alt;
			continue;
		}
		p->since[pool][i] = time_of(p, now_ms);
		p->in_transition[pool]++;
		if (is_ending(slots[i])) /* as any that is found, from the beginning */
			set_rest(p, pool, i, slots[i].prev, LB_BACKEND_NONE);
		p->alt[pool][i] = slots[i].alt;
	}
	return 0;
}

void publish_slots_clear(struct publish *p, uint32_t pool)
{
	struct lb_slot *slots = slots_of(p, pool);

	for (uint32_t i = 0; i < LB_SLOTS_MAX; i++) {
		union slot_word old = {.word = publish_read(&slots[i])};

		if (!old.word)
			continue;
		while (!publish_swap(&slots[i], &old.word, 0))
			;
		count_refs(p, old.s, -1);
	}
	free(p->since[pool]);
	free(p->alt[pool]);
	p->since[pool] = NULL;
	p->alt[pool] = NULL;
	p->in_transition[pool] = 0;
}
