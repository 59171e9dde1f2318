/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/due_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int due_queue_reserve(struct due_queue *queue, uint32_t n)
{
	uint32_t size = queue->size ? queue->size : 16;
	struct due **items;

	if (n <= queue->size)
		return 0;
	if (n > UINT32_MAX / 2)
		return -ENOMEM;
	while (size < n)
		size *= 2;
	items = reallocarray(queue->items, size, sizeof(*items));
	if (!items)
		return -ENOMEM;
	queue->items = items;
	queue->size = size;
	return 0;
}

static void put(struct due_queue *queue, uint32_t i, struct due *due)
{
	queue->items[i] = due;
	due->pos = i + 1;
}

static void sift_up(struct due_queue *queue, uint32_t i)
{
	struct due *due = queue->items[i];

	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (queue->items[parent]->at_ms <= due->at_ms)
			break;
		put(queue, i, queue->items[parent]);
		i = parent;
	}
	put(queue, i, due);
}

static void sift_down(struct due_queue *queue, uint32_t i)
{
	struct due *due = queue->items[i];
	uint32_t child;

	while ((child = 2 * i + 1) < queue->n) {
		if (child + 1 < queue->n &&
		    queue->items[child + 1]->at_ms < queue->items[child]->at_ms)
			child++;
		if (due->at_ms <= queue->items[child]->at_ms)
			break;
		put(queue, i, queue->items[child]);
		i = child;
	}
	put(queue, i, due);
}

void due_queue_set(struct due_queue *queue, struct due *due, int64_t at_ms)
{
	int64_t before = due->at_ms;

	due->at_ms = at_ms;
	if (!due->pos) {
		assert(queue->n < queue->size);
		put(queue, queue->n, due);
		sift_up(queue, queue->n++);
	} else if (at_ms < before) {
		sift_up(queue, due->pos - 1);
	} else {
		sift_down(queue, due->pos - 1);
	}
}

void due_queue_remove(struct due_queue *queue, struct due *due)
{
	uint32_t i = due->pos - 1;
	struct due *last;

	if (!due->pos)
		return;
	assert(i < queue->n && queue->items[i] == due);
	due->pos = 0;
	last = queue->items[--queue->n];
	if (last == due)
		return;
	put(queue, i, last);
	sift_up(queue, i);
	sift_down(queue, last->pos - 1);
}

struct due *due_queue_first(const struct due_queue *queue)
{
	return queue->n ? queue->items[0] : NULL;
}

void due_queue_free(struct due_queue *queue)
{
	free(queue->items);
	*queue = (struct due_queue){0};
}
