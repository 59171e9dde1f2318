// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/lib/flow_table.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "userspace/lib/rounds.h"

#define DEAD_MASK  0x3fffffffu
#define CACHE_LINE 64

/* --- words ------------------------------------------------------------------------------------ */

static uint32_t state_of(uint32_t word)
{
	return word & LB_CELL_STATE;
}

static uint32_t full_word(uint32_t tag, uint32_t now)
{
	return LB_CELL_FULL | (now & 0x3fff) << 2 | tag << 16;
}

static uint32_t dead_word(uint32_t now)
{
	return LB_CELL_DEAD | now << 2;
}

/* a < b modulo 2^30. */
static bool dead_before(uint32_t word, uint32_t tick)
{
	return ((word >> 2) - tick) & (DEAD_MASK + 1) >> 1;
}

static uint32_t *words_of(const struct flow_table *t, uint32_t bucket)
{
	return (uint32_t *)(t->buckets + (size_t)bucket * t->bucket_size);
}

static uint32_t *lock_of(const struct flow_table *t, uint32_t bucket)
{
	return words_of(t, bucket) + LB_BUCKET_CELLS;
}

static uint8_t *cell_of(const struct flow_table *t, uint32_t bucket, uint32_t cell)
{
	return t->buckets + (size_t)bucket * t->bucket_size + t->head_size + cell * t->cell_size;
}

static bool swap_word(uint32_t *word, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static void lock(uint32_t *word)
{
	while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(word, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
}

static void unlock(uint32_t *word)
{
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
}

/* --- places ----------------------------------------------------------------------------------- */

struct place {
	uint32_t a, b; /* buckets */
	uint32_t tag;
};

static uint64_t mix(uint64_t x, uint64_t y)
{
	unsigned __int128 p = (unsigned __int128)x * y;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Folded multiplication under a secret (the construction of wyhash), of exactly 20 bytes. */
static struct place place_of(const struct flow_table *t, const void *key)
{
	uint64_t w[2], h;
	uint32_t last;

	memcpy(w, key, sizeof(w));
	memcpy(&last, (const uint8_t *)key + sizeof(w), sizeof(last));
	h = mix(w[0] ^ t->secret, w[1] ^ 0x9e3779b97f4a7c15ULL);
	h = mix(h ^ last, t->secret ^ 0xbf58476d1ce4e5b9ULL);
	h = mix(h, 0x94d049bb133111ebULL);
	return (struct place){
		.a = (uint64_t)(uint32_t)h * t->n_buckets >> 32,
		.b = (h >> 32) * t->n_buckets >> 32,
		.tag = h >> 24 & 0xffff,
	};
}

static bool key_is(const uint8_t *cell, const void *key)
{
	return !memcmp(cell, key, FLOW_TABLE_KEY);
}

/* Where a key was found. */
struct found {
	uint32_t *word;
	uint32_t value; /* of the word then */
	uint8_t *cell;
};

static int find_in(const struct flow_table *t, uint32_t bucket, uint32_t tag, const void *key,
		   struct found *ret)
{
	uint32_t *words = words_of(t, bucket);

	for (int i = 0; i < LB_BUCKET_CELLS; i++) {
		uint32_t word = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
		uint8_t *cell = cell_of(t, bucket, i);

		if (state_of(word) != LB_CELL_FULL || word >> 16 != tag || !key_is(cell, key))
			continue;
		*ret = (struct found){.word = &words[i], .value = word, .cell = cell};
		return 0;
	}
	return -ENOENT;
}

static int find(const struct flow_table *t, const struct place *at, const void *key,
		struct found *ret)
{
	if (find_in(t, at->a, at->tag, key, ret) == 0)
		return 0;
	return find_in(t, at->b, at->tag, key, ret);
}

/* All of the first bucket, where most keys are; of the second the words. */
void flow_table_expect(const struct flow_table *t, const void *key)
{
	struct place at = place_of(t, key);
	const uint8_t *a = (const uint8_t *)words_of(t, at.a);

	for (uint32_t i = 0; i < t->bucket_size; i += CACHE_LINE)
		__builtin_prefetch(a + i);
	__builtin_prefetch(words_of(t, at.b));
}

void *flow_table_find(const struct flow_table *t, const void *key)
{
	struct place at = place_of(t, key);
	struct found found;

	return find(t, &at, key, &found) == 0 ? found.cell + FLOW_TABLE_KEY : NULL;
}

/* --- free cells ------------------------------------------------------------------------------- */

static bool is_free(struct flow_table *t, uint32_t word, uint32_t now)
{
	if (word == LB_CELL_EMPTY)
		return true;
	if (state_of(word) != LB_CELL_DEAD)
		return false;
	if (t->safe_at != now) {
		t->safe_tick = rounds_oldest(t->workers, now);
		t->safe_at = now;
	}
	return dead_before(word, t->safe_tick);
}

static uint32_t count_free(struct flow_table *t, uint32_t bucket, uint32_t now)
{
	const uint32_t *words = words_of(t, bucket);
	uint32_t n = 0;

	for (int i = 0; i < LB_BUCKET_CELLS; i++)
		n += is_free(t, __atomic_load_n(&words[i], __ATOMIC_RELAXED), now);
	return n;
}

/* A free cell of the bucket, now busy; -1: none. */
static int claim(struct flow_table *t, uint32_t bucket, uint32_t now)
{
	uint32_t *words = words_of(t, bucket);

	for (int i = 0; i < LB_BUCKET_CELLS; i++) {
		uint32_t word = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);

		if (is_free(t, word, now) && swap_word(&words[i], word, LB_CELL_BUSY))
			return i;
	}
	return -1;
}

/* --- adding and removing ---------------------------------------------------------------------- */

/* The emptier bucket of the two, which keeps both from filling up. */
static int add(struct flow_table *t, const struct place *at, const void *key, const void *value,
	       uint32_t now)
{
	uint32_t first = at->a, second = at->b, bucket;
	int cell;

	if (count_free(t, at->b, now) > count_free(t, at->a, now)) {
		first = at->b;
		second = at->a;
	}
	bucket = first;
	cell = claim(t, first, now);
	if (cell < 0) {
		bucket = second;
		cell = claim(t, second, now);
	}
	if (cell < 0)
		return -E2BIG;
	memcpy(cell_of(t, bucket, cell), key, FLOW_TABLE_KEY);
	memcpy(cell_of(t, bucket, cell) + FLOW_TABLE_KEY, value, t->cell_size - FLOW_TABLE_KEY);
	__atomic_store_n(&words_of(t, bucket)[cell], full_word(at->tag, now), __ATOMIC_RELEASE);
	return 0;
}

int flow_table_put(struct flow_table *t, const void *key, const void *value,
		   enum flow_table_put how, uint32_t now)
{
	struct place at = place_of(t, key);
	struct found found;
	int r = 0;

	lock(lock_of(t, at.a));
	if (find(t, &at, key, &found) < 0)
		r = add(t, &at, key, value, now);
	else if (how == FLOW_TABLE_NOEXIST)
		r = -EEXIST;
	else
		memcpy(found.cell + FLOW_TABLE_KEY, value, t->cell_size - FLOW_TABLE_KEY);
	unlock(lock_of(t, at.a));
	return r;
}

int flow_table_delete(struct flow_table *t, const void *key, uint32_t now)
{
	struct place at = place_of(t, key);
	struct found found;

	if (find(t, &at, key, &found) < 0)
		return -ENOENT;
	/* another may have been quicker */
	return swap_word(found.word, found.value, dead_word(now)) ? 0 : -ENOENT;
}

uint32_t flow_table_recover(struct flow_table *t)
{
	uint32_t n = 0;

	for (uint32_t bucket = 0; bucket < t->n_buckets; bucket++) {
		uint32_t *words = words_of(t, bucket);

		n += __atomic_exchange_n(lock_of(t, bucket), 0, __ATOMIC_ACQ_REL) != 0;
		for (int i = 0; i < LB_BUCKET_CELLS; i++)
			n += swap_word(&words[i], LB_CELL_BUSY, LB_CELL_EMPTY);
	}
	return n;
}

/* --- for the agent ---------------------------------------------------------------------------- */

/* A copy that is of one entry: its word was the same before and after. */
static bool copy_cell(const struct flow_table *t, struct flow_table_entry *e)
{
	const uint32_t *word = &words_of(t, e->bucket)[e->cell];
	const uint8_t *cell = cell_of(t, e->bucket, e->cell);

	memcpy(e->key, cell, FLOW_TABLE_KEY);
	memcpy(e->value, cell + FLOW_TABLE_KEY, t->cell_size - FLOW_TABLE_KEY);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(word, __ATOMIC_RELAXED) == e->word;
}

uint32_t flow_table_read(struct flow_table *t, uint32_t bucket, uint32_t now,
			 struct flow_table_entry ret_entries[LB_BUCKET_CELLS])
{
	uint32_t *words = words_of(t, bucket), n = 0;

	for (uint32_t i = 0; i < LB_BUCKET_CELLS; i++) {
		struct flow_table_entry *e = &ret_entries[n];

		e->bucket = bucket;
		e->cell = i;
		e->word = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE);
		if (state_of(e->word) == LB_CELL_FULL)
			n += copy_cell(t, e);
		else if (state_of(e->word) == LB_CELL_DEAD && is_free(t, e->word, now))
			(void)swap_word(&words[i], e->word, LB_CELL_EMPTY);
	}
	return n;
}

int flow_table_take(struct flow_table *t, struct flow_table_entry *e, uint32_t now)
{
	uint32_t dead = dead_word(now);

	if (!swap_word(&words_of(t, e->bucket)[e->cell], e->word, dead))
		return -ENOENT;
	e->word = dead;
	(void)copy_cell(t, e); /* dead cells stay as they are for a round */
	return 0;
}

int flow_table_put_back(struct flow_table *t, const struct flow_table_entry *e)
{
	struct place at = place_of(t, e->key);

	assert(state_of(e->word) == LB_CELL_DEAD);
	if (flow_table_find(t, e->key))
		return -EEXIST;
	return swap_word(&words_of(t, e->bucket)[e->cell], e->word,
			 full_word(at.tag, e->word >> 2))
		       ? 0
		       : -ENOENT;
}

/* --- sizes ------------------------------------------------------------------------------------ */

uint32_t flow_table_buckets(uint32_t n)
{
	uint64_t buckets = ((uint64_t)n * 5 / 3 + LB_BUCKET_CELLS - 1) / LB_BUCKET_CELLS;

	return buckets ? (buckets < UINT32_MAX ? buckets : UINT32_MAX) : 1;
}

uint32_t flow_table_room(uint32_t n_buckets)
{
	return (uint64_t)n_buckets * LB_BUCKET_CELLS * 3 / 5;
}

void flow_table_init(struct flow_table *t, enum flow_table_form form, void *buckets,
		     uint32_t n_buckets, uint64_t secret, const struct lb_worker *workers)
{
	bool replies = form == FLOW_TABLE_REPLIES;

	assert(n_buckets > 0);
	*t = (struct flow_table){
		.buckets = buckets,
		.n_buckets = n_buckets,
		.bucket_size = replies ? sizeof(struct lb_nat_reply_bucket)
				       : sizeof(struct lb_flow_bucket),
		.head_size = replies ? offsetof(struct lb_nat_reply_bucket, cell)
				     : offsetof(struct lb_flow_bucket, cell),
		.cell_size = replies ? sizeof(struct lb_nat_reply_cell)
				     : sizeof(struct lb_flow_cell),
		.secret = secret,
		.workers = workers,
	};
}
