/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 4096
#define CHUNK_MAX (256u << 10)

struct chunk {
	struct chunk *next;
	size_t size; /* of data */
	size_t used;
	_Alignas(max_align_t) unsigned char data[];
};

struct arena {
	struct chunk *chunks; /* the first is the one being filled */
	size_t left;
	size_t next_size;
	bool failed;
};

struct arena *arena_new(size_t max_bytes)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->left = max_bytes;
	a->next_size = CHUNK_MIN;
	return a;
}

void arena_free(struct arena **arena)
{
	if (!arena || !*arena)
		return;
	for (struct chunk *c = (*arena)->chunks; c;) {
		struct chunk *next = c->next;

		free(c);
		c = next;
	}
	free(*arena);
	*arena = NULL;
}

/* A new first chunk with room for size bytes. */
static struct chunk *chunk_add(struct arena *a, size_t size)
{
	size_t want = size > a->next_size ? size : a->next_size;
	struct chunk *c = calloc(1, sizeof(*c) + want);

	if (!c)
		return NULL;
	c->size = want;
	c->next = a->chunks;
	a->chunks = c;
	if (a->next_size < CHUNK_MAX)
		a->next_size *= 2;
	return c;
}

void *arena_alloc(struct arena *arena, size_t n, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	struct chunk *c;
	size_t bytes;
	void *p;

	assert(arena);
	assert(n > 0 && size > 0);

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > arena->left) {
		arena->failed = true;
		return NULL;
	}
	c = arena->chunks;
	if (!c || c->size - c->used < bytes)
		c = chunk_add(arena, bytes);
	if (!c) {
		arena->failed = true;
		return NULL;
	}
	p = c->data + c->used;
	c->used += bytes + (align - bytes % align) % align;
	if (c->used > c->size)
		c->used = c->size;
	arena->left -= bytes;
	return p;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
	char *p;

	assert(text);
	assert(len < SIZE_MAX);

	p = arena_alloc(arena, len + 1, 1);
	if (p)
		memcpy(p, text, len);
	return p;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	assert(text);
	return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	p = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1, 1);
	if (p)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	else
		arena->failed = true;
	va_end(again);
	return p;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(arena, fmt, ap);
	va_end(ap);
	return p;
}

bool arena_failed(const struct arena *arena)
{
	return arena->failed;
}
