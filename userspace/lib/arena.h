/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that is released all at once: many small objects with one common lifetime.
 *
 * A failed allocation returns NULL and is remembered, so that a caller may build a whole tree,
 * leaving out what it could not get, and ask once at the end.
 */
#ifndef SLUICE_LIB_ARENA_H
#define SLUICE_LIB_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct arena;

/* max_bytes: all allocations together; beyond it they fail. NULL if there is no memory. */
struct arena *arena_new(size_t max_bytes);

/* Accepts NULL and a NULL inside; clears. */
void arena_free(struct arena **arena);

/* Zeroed, aligned for any type. NULL if there is no memory or n * size is too large. n > 0. */
void *arena_alloc(struct arena *arena, size_t n, size_t size);

/* A copy of len bytes of text and a NUL; NULL if there is no memory. */
char *arena_strndup(struct arena *arena, const char *text, size_t len);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* Whether any allocation failed so far. */
bool arena_failed(const struct arena *arena);

#endif
