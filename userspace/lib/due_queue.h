/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Things with a time -> which is due first. A binary heap of intrusive entries: setting, moving
 * and removing one costs O(log n) and cannot fail once there is room. Pure: no clock.
 */
#ifndef SLUICE_LIB_DUE_QUEUE_H
#define SLUICE_LIB_DUE_QUEUE_H

#include <stdint.h>

/* Embedded in the thing. Start from {0}; the fields are read-only for all but the queue. */
struct due {
	int64_t at_ms;
	uint32_t pos; /* 0: not in the queue; else its place, from 1 */
};

/* The time once more, so that a comparison touches the heap's own memory only. */
struct due_queue_item {
	int64_t at_ms;
	struct due *due;
};

/* Start from {0}; release with due_queue_free(). */
struct due_queue {
	struct due_queue_item *items; /* [0..n) is a heap by at_ms */
	uint32_t n;
	uint32_t size;
};

/* Room for n entries in all. Returns 0 or -ENOMEM. */
int due_queue_reserve(struct due_queue *queue, uint32_t n);

/* Put in or move. There must be room. */
void due_queue_set(struct due_queue *queue, struct due *due, int64_t at_ms);

/* No effect on one that is not in. */
void due_queue_remove(struct due_queue *queue, struct due *due);

/* NULL if the queue is empty. */
struct due *due_queue_first(const struct due_queue *queue);

/* The entries are the caller's. */
void due_queue_free(struct due_queue *queue);

#endif
