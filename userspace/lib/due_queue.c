/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/due_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int due_queue_reserve(struct due_queue *queue, uint32_t n)
{
	uint32_t size = queue->size ? queue->size : 16;
	struct due_queue_item *items;

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

static void put(struct due_queue *queue, uint32_t i, struct due_queue_item item)
{
	queue->items[i] = item;
	item.due->pos = i + 1;
}

static void sift_up(struct due_queue *queue, uint32_t i, struct due_queue_item item)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (queue->items[parent].at_ms <= item.at_ms)
			break;
		put(queue, i, queue->items[parent]);
		i = parent;
	}
	put(queue, i, item);
}

static void sift_down(struct due_queue *queue, uint32_t i, struct due_queue_item item)
{
	const struct due_queue_item *items = queue->items;
	uint32_t child;

	while ((child = 2 * i + 1) < queue->n) {
		if (child + 1 < queue->n && items[child + 1].at_ms < items[child].at_ms)
			child++;
		if (item.at_ms <= items[child].at_ms)
			break;
		put(queue, i, items[child]);
		i = child;
	}
	put(queue, i, item);
}

/* Into place i, which is free, and from there to where it belongs. */
static void settle(struct due_queue *queue, uint32_t i, struct due_queue_item item)
{
	if (i > 0 && item.at_ms < queue->items[(i - 1) / 2].at_ms)
		sift_up(queue, i, item);
	else
		sift_down(queue, i, item);
}

void due_queue_set(struct due_queue *queue, struct due *due, int64_t at_ms)
{
	struct due_queue_item item = {.at_ms = at_ms, .due = due};

	due->at_ms = at_ms;
	if (due->pos) {
		settle(queue, due->pos - 1, item);
		return;
	}
	assert(queue->n < queue->size);
	sift_up(queue, queue->n++, item);
}

void due_queue_remove(struct due_queue *queue, struct due *due)
{
	uint32_t i = due->pos - 1;
	struct due_queue_item last;

	if (!due->pos)
		return;
	assert(i < queue->n && queue->items[i].due == due);
	due->pos = 0;
	last = queue->items[--queue->n];
	if (i < queue->n)
		settle(queue, i, last);
}

struct due *due_queue_first(const struct due_queue *queue)
{
	return queue->n ? queue->items[0].due : NULL;
}

void due_queue_free(struct due_queue *queue)
{
	free(queue->items);
	*queue = (struct due_queue){0};
}
