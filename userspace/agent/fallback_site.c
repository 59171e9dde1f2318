// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/fallback_site.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void ref(uint32_t *refs)
{
	__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

/* Whether it was the last one. */
static bool unref(uint32_t *refs)
{
	return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0;
}

/* --- blobs, counters -------------------------------------------------------------------------- */

struct fallback_blob *fallback_blob_new(const void *data, size_t len)
{
	struct fallback_blob *blob = malloc(sizeof(*blob) + len + 1);

	if (!blob)
		return NULL;
	blob->refs = 1;
	blob->len = len;
	if (len)
		memcpy(blob->data, data, len);
	blob->data[len] = '\0';
	return blob;
}

struct fallback_blob *fallback_blob_ref(struct fallback_blob *blob)
{
	if (blob)
		ref(&blob->refs);
	return blob;
}

void fallback_blob_unref(struct fallback_blob **blob)
{
	if (*blob && unref(&(*blob)->refs))
		free(*blob);
	*blob = NULL;
}

struct fallback_counters *fallback_counters_new(void)
{
	struct fallback_counters *counters = calloc(1, sizeof(*counters));

	if (counters)
		counters->refs = 1;
	return counters;
}

static struct fallback_counters *counters_ref(struct fallback_counters *counters)
{
	ref(&counters->refs);
	return counters;
}

void fallback_counters_unref(struct fallback_counters **counters)
{
	if (*counters && unref(&(*counters)->refs))
		free(*counters);
	*counters = NULL;
}

/* --- sites ------------------------------------------------------------------------------------ */

static void site_free(struct fallback_site *site)
{
	for (uint32_t i = 0; i < site->n_cached; i++) {
		free((char *)site->cached[i].path);
		fallback_blob_unref(&site->cached[i].body);
	}
	free(site->cached);
	free(site->body_type);
	fallback_blob_unref(&site->body);
	fallback_counters_unref(&site->counters);
	free(site);
}

static int copy_cached(struct fallback_site *site, const struct fallback_cached *cached, uint32_t n)
{
	site->cached = calloc(n + 1, sizeof(*site->cached));
	if (!site->cached)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		site->cached[i] = cached[i];
		site->cached[i].path = strdup(cached[i].path);
		fallback_blob_ref(cached[i].body);
		site->n_cached++;
		if (!site->cached[i].path)
			return -ENOMEM;
	}
	return 0;
}

int fallback_site_new(const struct endpoint *endpoint, const struct config_fallback *cfg,
		      struct fallback_blob *body, struct fallback_counters *counters,
		      const struct fallback_cached *cached, uint32_t n_cached,
		      struct fallback_site **ret_site)
{
	struct fallback_site *site = calloc(1, sizeof(*site));
	int r;

	if (!site)
		return -ENOMEM;
	site->refs = 1;
	site->endpoint = *endpoint;
	site->status = cfg->status;
	site->retry_min_ms = cfg->retry_min_ms;
	site->retry_max_ms = cfg->retry_max_ms;
	site->body = fallback_blob_ref(body);
	site->counters = counters_ref(counters);
	site->body_type = strdup(cfg->body_type);
	r = copy_cached(site, cached, n_cached);
	if (r < 0 || !site->body_type) {
		site_free(site);
		return -ENOMEM;
	}
	*ret_site = site;
	return 0;
}

static struct fallback_site *site_ref(struct fallback_site *site)
{
	ref(&site->refs);
	return site;
}

void fallback_site_unref(struct fallback_site **site)
{
	if (*site && unref(&(*site)->refs))
		site_free(*site);
	*site = NULL;
}

/* --- the board -------------------------------------------------------------------------------- */

/* Sites by endpoint. */
struct table {
	uint32_t refs;
	uint32_t n;
	struct fallback_site *sites[];
};

struct fallback_board {
	pthread_mutex_t lock; /* held for a pointer and a counter */
	struct table *table;  /* NULL: empty */
};

static void table_unref(struct table *t)
{
	if (!t || !unref(&t->refs))
		return;
	for (uint32_t i = 0; i < t->n; i++)
		fallback_site_unref(&t->sites[i]);
	free(t);
}

struct fallback_board *fallback_board_new(void)
{
	struct fallback_board *board = calloc(1, sizeof(*board));

	if (board)
		pthread_mutex_init(&board->lock, NULL);
	return board;
}

void fallback_board_free(struct fallback_board **board)
{
	if (!*board)
		return;
	table_unref((*board)->table);
	pthread_mutex_destroy(&(*board)->lock);
	free(*board);
	*board = NULL;
}

static int by_endpoint(const void *a, const void *b)
{
	const struct fallback_site *const *x = a, *const *y = b;

	return endpoint_compare(&(*x)->endpoint, &(*y)->endpoint);
}

int fallback_board_set(struct fallback_board *board, struct fallback_site *const *sites, uint32_t n)
{
	struct table *t = calloc(1, sizeof(*t) + n * sizeof(t->sites[0])), *old;

	if (!t)
		return -ENOMEM;
	t->refs = 1;
	t->n = n;
	for (uint32_t i = 0; i < n; i++)
		t->sites[i] = site_ref(sites[i]);
	qsort(t->sites, n, sizeof(t->sites[0]), by_endpoint);
	pthread_mutex_lock(&board->lock);
	old = board->table;
	board->table = t;
	pthread_mutex_unlock(&board->lock);
	table_unref(old);
	return 0;
}

static int endpoint_to_site(const void *key, const void *item)
{
	const struct fallback_site *const *site = item;

	return endpoint_compare(key, &(*site)->endpoint);
}

struct fallback_site *fallback_board_find(struct fallback_board *board, const struct endpoint *ep)
{
	struct fallback_site *site = NULL;
	struct fallback_site **found;
	struct table *t;

	pthread_mutex_lock(&board->lock);
	t = board->table;
	if (t)
		ref(&t->refs);
	pthread_mutex_unlock(&board->lock);
	if (!t)
		return NULL;
	found = bsearch(ep, t->sites, t->n, sizeof(t->sites[0]), endpoint_to_site);
	if (found)
		site = site_ref(*found);
	table_unref(t);
	return site;
}
