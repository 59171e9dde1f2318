/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/maglev.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

/* Time in which members take turns: a slot of the table lasts one unit, fractions have 24 bits. */
#define TURN_SHIFT 24

/*
 * A turn looks at no more slots than this and else passes. Late turns that search on and on for one
 * of the last slots are what makes the removal of one member move slots of others: with this bound
 * 0.45 % of 65537 instead of 0.57 % at 100 members, paid for with shares up to 0.9 % off.
 */
#define PROBES_MAX 256

/*
 * With this many slots left, the free slot of a turn is looked for among them and no longer along
 * the walk. The outcome is the same; the last 256 slots of 65537 would cost half of the time.
 */
#define TAIL_SLOTS 256

/* A member's way through its permutation of the slots: pos, pos + skip, … modulo n_slots. */
struct walk {
	uint32_t pos;
	uint32_t skip;
	uint64_t unit; /* 2^64 / (n_slots * skip), in the field of integers modulo n_slots */
};

struct work {
	uint32_t n_slots;
	uint32_t n_members; /* with a weight */
	uint32_t n_units;   /* of time: enough for n_slots turns, and some that pass */
	uint32_t n_turns;
	struct maglev_member *members; /* with a weight, by identity */
	struct walk *walks;            /* [n_members] */
	uint32_t *product;             /* [n_members] of skips, for their inverses */
	uint32_t *bucket;              /* [n_units + 1] first turn of a time unit */
	uint16_t *turn;                /* [n_turns] whose turn it is */
	uint8_t *taken;                /* [n_slots] 1: has an owner */
	uint16_t *owner;               /* [n_slots] indices into members */
	uint16_t *second;              /* [n_slots] likewise */
};

static uint64_t mix(uint64_t x)
{
	/* splitmix64's finaliser */
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t maglev_identity(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return mix(h);
}

static bool is_prime(uint32_t n)
{
	if (n < 2 || (n > 2 && n % 2 == 0))
		return false;
	for (uint32_t d = 3; d * d <= n; d += 2)
		if (n % d == 0)
			return false;
	return true;
}

static int check(const struct maglev_member *members, uint32_t n, uint32_t n_slots)
{
	uint32_t n_weighted = 0;

	if (n_slots < 3 || n_slots > MAGLEV_SLOTS_MAX || !is_prime(n_slots) || n > UINT16_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		if (members[i].id == 0 || members[i].weight > MAGLEV_WEIGHT_MAX)
			return -EINVAL;
		n_weighted += members[i].weight > 0;
	}
	return n_weighted ? 0 : -ENODATA;
}

static int by_identity(const void *pa, const void *pb)
{
	const struct maglev_member *a = pa, *b = pb;

	if (a->identity != b->identity)
		return a->identity < b->identity ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

static void work_release(struct work *w)
{
	free(w->members);
	free(w->walks);
	free(w->product);
	free(w->bucket);
	free(w->turn);
	free(w->taken);
	free(w->owner);
	free(w->second);
}

static int work_init(struct work *w, const struct maglev_member *members, uint32_t n,
		     uint32_t n_slots)
{
	w->n_slots = n_slots;
	w->n_units = n_slots + n_slots / 16 + n;
	w->members = malloc(n * sizeof(*w->members));
	w->walks = malloc(n * sizeof(*w->walks));
	w->product = malloc(n * sizeof(*w->product));
	w->bucket = calloc(w->n_units + 1, sizeof(*w->bucket));
	w->turn = malloc((w->n_units + 2 * (size_t)n) * sizeof(*w->turn));
	w->taken = malloc(n_slots);
	w->owner = malloc(n_slots * sizeof(*w->owner));
	w->second = malloc(n_slots * sizeof(*w->second));
	if (!w->members || !w->walks || !w->product || !w->bucket || !w->turn || !w->taken ||
	    !w->owner || !w->second)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		if (members[i].weight)
			w->members[w->n_members++] = members[i];
	qsort(w->members, w->n_members, sizeof(*w->members), by_identity);
	return 0;
}

/* Of one member: turn k comes at k * period + phase. */
struct pace {
	uint64_t first;  /* turn 0 */
	uint64_t second; /* turn 1, then every period */
	uint64_t period;
};

/*
 * A member's turns depend on its own identity and weight only (the pool's weight is but the unit),
 * so that they stay in order when others come and go. A member whose share is less than two slots
 * has its first turn in the first half of the time: no weight is too small for one slot.
 */
static struct pace pace_of(const struct maglev_member *m, uint64_t total, uint32_t n_slots)
{
	const uint64_t half = (uint64_t)n_slots << (TURN_SHIFT - 1);
	const uint64_t phase = mix(m->identity + 0x9e3779b97f4a7c15u) >> 40; /* 24 bits */
	struct pace p;

	p.period = (total << TURN_SHIFT) / m->weight;
	p.first = ((p.period < half ? p.period : half) >> 8) * phase >> 16;
	/* half <= 2^40: no overflow; a longer period has no second turn and may saturate */
	p.second = p.period >= 2 * half ? UINT64_MAX : p.period + ((p.period >> 8) * phase >> 16);
	return p;
}

/* w->turn[0 … n_turns): members in the order of their turns, at least n_slots of them. */
static void turns_order(struct work *w)
{
	const uint64_t end = (uint64_t)w->n_units << TURN_SHIFT;
	uint32_t *bucket = w->bucket + 1;
	uint64_t total = 0;

	for (uint32_t i = 0; i < w->n_members; i++)
		total += w->members[i].weight;
	for (uint32_t i = 0; i < w->n_members; i++) {
		const struct pace p = pace_of(&w->members[i], total, w->n_slots);

		bucket[p.first >> TURN_SHIFT]++;
		for (uint64_t t = p.second; t < end; t += p.period)
			bucket[t >> TURN_SHIFT]++;
	}
	for (uint32_t u = 1; u < w->n_units; u++)
		bucket[u] += bucket[u - 1];
	w->n_turns = bucket[w->n_units - 1];
	assert(w->n_turns >= w->n_slots);

	/* from the bucket before, each turn has the place after those placed already */
	bucket = w->bucket;
	for (uint32_t i = 0; i < w->n_members; i++) {
		const struct pace p = pace_of(&w->members[i], total, w->n_slots);

		w->turn[bucket[p.first >> TURN_SHIFT]++] = i;
		for (uint64_t t = p.second; t < end; t += p.period)
			w->turn[bucket[t >> TURN_SHIFT]++] = i;
	}
}

/* x with a * x = 1 modulo the prime p; 0 < a < p. */
static uint32_t inverse(uint32_t a, uint32_t p)
{
	int64_t x = 1, next_x = 0;
	uint32_t r = a, next_r = p;

	while (next_r) {
		uint32_t q = r / next_r, rest = r % next_r;
		int64_t t = x - q * next_x;

		x = next_x;
		next_x = t;
		r = next_r;
		next_r = rest;
	}
	return x < 0 ? x + p : x;
}

static void walks_start(struct work *w)
{
	const uint32_t p = w->n_slots;
	const uint64_t slot = UINT64_MAX / p + 1; /* a slot's part of 2^64, rounded up */
	uint64_t product = 1;

	for (uint32_t i = 0; i < w->n_members; i++) {
		uint64_t h = mix(w->members[i].identity);

		w->walks[i].pos = (h >> 32) % p;
		w->walks[i].skip = (uint32_t)h % (p - 1) + 1;
		w->product[i] = product = product * w->walks[i].skip % p;
	}
	/* all inverses for the price of one: that of the product, less one factor after the other
	 */
	product = inverse(product, p);
	for (uint32_t i = w->n_members; i-- > 0;) {
		uint64_t before = i > 0 ? w->product[i - 1] : 1;

		w->walks[i].unit = product * before % p * slot;
		product = product * w->walks[i].skip % p;
	}
}

/* Modulo n_slots, of numbers below it. Without a branch: where it wraps cannot be predicted. */
static inline uint32_t add(uint32_t a, uint32_t b, uint32_t n_slots)
{
	uint32_t sum = a + b, wrapped = sum - n_slots;

	return wrapped < sum ? wrapped : sum;
}

/* condition: 0 or 1. Written out because the compiler would branch. */
static inline uint32_t choose(uint32_t condition, uint32_t then, uint32_t otherwise)
{
	return otherwise ^ ((then ^ otherwise) & -condition);
}

/*
 * What the inner loops work on, in locals: stores to bytes may alias anything, so the compiler
 * would read each field of struct work again after each of them.
 */
struct table {
	uint8_t *restrict taken;
	uint16_t *restrict owner;
	struct walk *restrict walks;
	const uint16_t *restrict turn;
	uint32_t n_slots;
	uint32_t n_turns;
};

static inline void take(const struct table *t, uint16_t member, uint32_t slot)
{
	t->taken[slot] = 1;
	t->owner[slot] = member;
	t->walks[member].pos = slot;
}

/* There are more turns than slots; should too many of them pass, they begin anew. */
static inline uint32_t turn_after(const struct table *t, uint32_t i)
{
	return i + 1 < t->n_turns ? i + 1 : 0;
}

/* While more slots are free than not: most turns find one at once. Returns the next turn. */
static uint32_t fill_first_half(const struct table table)
{
	const uint32_t n_turns = table.n_slots / 2;

	for (uint32_t i = 0; i < n_turns; i++) {
		const uint16_t m = table.turn[i];
		uint32_t pos = table.walks[m].pos;

		while (table.taken[pos])
			pos = add(pos, table.walks[m].skip, table.n_slots);
		take(&table, m, pos);
	}
	return n_turns;
}

/*
 * The first free slot of the walk within PROBES_MAX; false if there is none.
 * Four slots are looked at in one go: a branch for each would be mispredicted once a turn, which
 * costs more than the looking.
 */
static inline bool probe(const struct walk *walk, const uint8_t *taken, uint32_t n_slots,
			 uint32_t *ret_slot)
{
	const uint32_t skip2 = add(walk->skip, walk->skip, n_slots);
	const uint32_t skip4 = add(skip2, skip2, n_slots);
	uint32_t p0 = walk->pos, p1 = add(p0, walk->skip, n_slots);

	for (uint32_t probes = 0; probes < PROBES_MAX; probes += 4) {
		const uint32_t p2 = add(p0, skip2, n_slots), p3 = add(p1, skip2, n_slots);
		const uint32_t t0 = taken[p0], t1 = taken[p1], t2 = taken[p2], t3 = taken[p3];

		if (!(t0 & t1 & t2 & t3)) {
			*ret_slot = choose(t0 & t1, choose(t2, p3, p2), choose(t0, p1, p0));
			return true;
		}
		p0 = add(p0, skip4, n_slots);
		p1 = add(p1, skip4, n_slots);
	}
	*ret_slot = p0;
	return false;
}

/* From turn i until TAIL_SLOTS are left of the second half. Returns the next turn. */
static uint32_t fill_second_half(const struct table table, uint32_t i)
{
	for (uint32_t left = table.n_slots - i; left > TAIL_SLOTS; i = turn_after(&table, i)) {
		const uint16_t m = table.turn[i];
		uint32_t slot;

		if (probe(&table.walks[m], table.taken, table.n_slots, &slot)) {
			take(&table, m, slot);
			left--;
		} else {
			table.walks[m].pos = slot;
		}
	}
	return i;
}

/*
 * Which of the free slots comes first in the walk: the least (slot - pos) / skip modulo n_slots.
 * As a fraction of n_slots this is a 64-bit number, and multiplying by `unit` wraps it for free.
 * The error (2^34 at most) is far below the distance of two such fractions (2^47 at least).
 */
static uint32_t first_free(const struct walk *walk, const uint32_t *slots, uint32_t n,
			   uint64_t *ret_distance)
{
	uint64_t least = UINT64_MAX;
	uint32_t first = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t distance = ((uint64_t)slots[i] - walk->pos) * walk->unit;

		first = distance < least ? i : first;
		least = distance < least ? distance : least;
	}
	*ret_distance = least;
	return first;
}

/* From turn i on, the last slots. */
static void fill_tail(const struct table table, uint32_t i)
{
	const uint64_t slot = UINT64_MAX / table.n_slots + 1;
	const uint64_t reach = table.n_slots > PROBES_MAX ? PROBES_MAX * slot : UINT64_MAX;
	uint32_t slots[TAIL_SLOTS], n = 0;

	for (uint32_t s = 0; s < table.n_slots; s++)
		if (!table.taken[s])
			slots[n++] = s;
	for (; n > 0; i = turn_after(&table, i)) {
		const uint16_t m = table.turn[i];
		struct walk *walk = &table.walks[m];
		uint64_t distance;
		uint32_t k = first_free(walk, slots, n, &distance);

		if (distance < reach) {
			take(&table, m, slots[k]);
			slots[k] = slots[--n];
		} else {
			walk->pos = (walk->pos + (uint64_t)walk->skip * PROBES_MAX) % table.n_slots;
		}
	}
}

static void fill(struct work *w)
{
	const struct table table = {.taken = w->taken,
				    .owner = w->owner,
				    .walks = w->walks,
				    .turn = w->turn,
				    .n_slots = w->n_slots,
				    .n_turns = w->n_turns};
	uint32_t i;

	walks_start(w);
	memset(w->taken, 0, w->n_slots);
	i = fill_first_half(table);
	i = fill_second_half(table, i);
	fill_tail(table, i);
}

/*
 * Second choices: the owner of slot s * stride + offset. That is the table which walks with other
 * starts and skips (all divided by stride) would have filled, at the price of one look-up a slot.
 * Where it has the same owner, the owner of the next slot of that table that has another: its
 * neighbours are scattered by weight, so the second choices of a member's slots follow the
 * weights of the others.
 */
static void choose_second(struct work *w)
{
	const uint32_t n = w->n_slots;
	const uint32_t stride =
		n * 0x9e3779b9ull >> 32; /* golden section: near no small fraction */
	const uint32_t back = n - stride;
	uint32_t pos = n / 3; /* of slot 0, and of the one after the last */
	uint16_t next = w->owner[pos], other = next;

	for (uint32_t s = 1, p = add(pos, stride, n); s < n && other == next; s++) {
		other = w->owner[p];
		p = add(p, stride, n);
	}
	/* next: owner in that table of the slot after s; other: the first after it that differs */
	for (uint32_t s = n; s-- > 0;) {
		uint16_t own;

		pos = add(pos, back, n);
		own = w->owner[pos];
		other = own != next ? next : other;
		next = own;
		w->second[s] = own != w->owner[s] ? own : other;
	}
}

int maglev_build(const struct maglev_member *members, uint32_t n_members, uint32_t n_slots,
		 uint16_t *ret_cur, uint16_t *ret_alt)
{
	_cleanup_(work_release) struct work w = {0};
	int r;

	assert(members || n_members == 0);
	assert(ret_cur);
	assert(ret_alt);

	r = check(members, n_members, n_slots);
	if (r < 0)
		return r;
	r = work_init(&w, members, n_members, n_slots);
	if (r < 0)
		return r;

	turns_order(&w);
	fill(&w);
	choose_second(&w);
	for (uint32_t s = 0; s < n_slots; s++) {
		ret_cur[s] = w.members[w.owner[s]].id;
		ret_alt[s] = w.n_members > 1 ? w.members[w.second[s]].id : 0;
	}
	return 0;
}
