/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of publish share: the agent's own memory beside the maps. */
#ifndef SLUICE_AGENT_PUBLISH_PRIV_H
#define SLUICE_AGENT_PUBLISH_PRIV_H

#include "userspace/agent/publish.h"

#define PUBLISH_KEYS 4096 /* chains of the backend names; a power of two */

/* Times of slots: 32 bits in units of 64 ms reach for eight years. */
#define PUBLISH_SINCE_MS 64

struct publish {
	struct tables *t;
	publish_grace_fn grace;
	void *userdata;
	uint64_t start_ms; /* times below are relative to it */

	uint32_t *since[LB_POOLS_MAX]; /* [n_slots]: when a slot entered transition, or its end */
	uint16_t *alt[LB_POOLS_MAX];   /* [n_slots]: what alt is, but for LB_ALT_ENDING */
	uint32_t in_transition[LB_POOLS_MAX];
	uint32_t sweep_pool; /* where publish_end_transitions() goes on */
	uint32_t sweep_slot;
	uint32_t asked; /* number of the question under way (publish_quiet.c) */
	uint32_t known; /* … of the latest that was answered */
	uint64_t asked_ms; /* when it was put, or earlier */
	uint32_t died[LB_BACKENDS_MAX]; /* the question whose answer tells that all know of it */
	uint64_t unlearned; /* flows of slots in transition that could not be learned, so far */
	uint64_t unlearned_ms; /* when one was last seen; 0: never */

	uint32_t refs[LB_BACKENDS_MAX]; /* places in slots that name the backend */
	uint16_t key_head[PUBLISH_KEYS];
	uint16_t key_next[LB_BACKENDS_MAX];
	uint16_t next_backend; /* where the search for a free id starts */
	uint32_t next_vip;
};

typedef uint64_t __attribute__((may_alias)) publish_word;

static inline uint64_t publish_read(const void *word)
{
	return __atomic_load_n((const publish_word *)word, __ATOMIC_ACQUIRE);
}

/* Store if it differs, so that an unchanged cache line stays shared by the readers. */
static inline bool publish_write(void *word, uint64_t value)
{
	if (publish_read(word) == value)
		return false;
	__atomic_store_n((publish_word *)word, value, __ATOMIC_RELEASE);
	return true;
}

static inline bool publish_swap(void *word, uint64_t *expected, uint64_t value)
{
	return __atomic_compare_exchange_n((publish_word *)word, expected, value, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* publish.c: names, addresses and words of the maps */
void publish_set_name(char to[LB_NAME_MAX], const char *name); /* cut off, never torn */
int publish_check_name(const char *name); /* 0 or -ENAMETOOLONG */
void publish_addr_words(const struct address *a, __be32 ret_addr[4]); /* IPv4 as ::ffff:a.b.c.d */
uint64_t publish_word_at(const void *p, size_t offset);

/* publish_slots.c: memory for the pool's times; counts what the slots hold. 0 or -ENOMEM. */
int publish_slots_adopt(struct publish *p, uint32_t pool, uint64_t now_ms);
void publish_slots_clear(struct publish *p, uint32_t pool);

/* publish_index.c: cells left by an agent that died in the middle of a change. */
void publish_index_adopt(struct publish *p);

/* publish_quiet.c: what no packet under way has read in its former state any more. */
void publish_look(struct publish *p, uint64_t now_ms); /* now_ms: this moment, not the loop's */
void publish_wait(struct publish *p); /* for all that was written before */
void publish_note_death(struct publish *p, uint16_t id); /* it died, or a slot dropped it since */
void publish_await_death(struct publish *p, uint16_t id); /* nearly never has to wait */
bool publish_is_paused(const struct publish *p, uint64_t now_ms);

/* publish_turns.c */
bool publish_lists_name(const struct publish *p, uint32_t pool, uint16_t backend);

#endif
