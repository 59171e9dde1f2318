/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fallback responder answers for each VIP, as its threads read it while the loop changes
 * it: sites, blobs and tables are immutable and counted; a board holds the table in force, and
 * changing it is one pointer swapped under a mutex. A reader keeps what it took until it puts it
 * back, however often the board has changed meanwhile.
 */
#ifndef SLUICE_AGENT_FALLBACK_SITE_H
#define SLUICE_AGENT_FALLBACK_SITE_H

#include <stdint.h>

#include "userspace/agent/config.h"
#include "userspace/lib/address.h"

#define FALLBACK_BODY_MAX (1u << 20) /* of a cached answer, of a body_file */
#define FALLBACK_TYPE_MAX 128	     /* Content-Type with its NUL; longer ones are cut off */

/* Counted bytes, shared by sites and by answers under way. */
struct fallback_blob {
	uint32_t refs;
	size_t len;
	char data[];
};

/* One reference is the caller's. NULL: out of memory. */
struct fallback_blob *fallback_blob_new(const void *data, size_t len);
struct fallback_blob *fallback_blob_ref(struct fallback_blob *blob); /* accepts NULL */
void fallback_blob_unref(struct fallback_blob **blob);		     /* accepts NULL inside; clears */

/* Counted too, since they outlive configurations: of one VIP. Read and add with __atomic. */
struct fallback_counters {
	uint32_t refs;
	uint64_t degraded;
	uint64_t cached;
};

struct fallback_counters *fallback_counters_new(void);
void fallback_counters_unref(struct fallback_counters **counters);

/* A good answer of a node to GET path. */
struct fallback_cached {
	const char *path; /* with its query if it has one; owned by the site once it is in one */
	struct fallback_blob *body;
	char type[FALLBACK_TYPE_MAX];
	int64_t fetched_ms;
	int64_t max_age_ms;
};

struct fallback_site {
	uint32_t refs;
	struct endpoint endpoint;
	uint16_t status;
	char *body_type;
	struct fallback_blob *body; /* NULL: the OpenAI-style error */
	int64_t retry_min_ms;
	int64_t retry_max_ms;
	struct fallback_cached *cached;
	uint32_t n_cached;
	struct fallback_counters *counters;
};

/*
 * cfg and cached are copied; body (may be NULL), the bodies in cached and counters are referenced.
 * Returns 0 or -ENOMEM; one reference of *ret_site is the caller's.
 */
int fallback_site_new(const struct endpoint *endpoint, const struct config_fallback *cfg,
		      struct fallback_blob *body, struct fallback_counters *counters,
		      const struct fallback_cached *cached, uint32_t n_cached,
		      struct fallback_site **ret_site);
void fallback_site_unref(struct fallback_site **site); /* accepts NULL inside; clears */

struct fallback_board;

/* Starts empty. NULL: out of memory. */
struct fallback_board *fallback_board_new(void);
void fallback_board_free(struct fallback_board **board); /* accepts NULL inside; clears */

/* Replace all sites; each is referenced. Returns 0, or -ENOMEM and the board is as it was. */
int fallback_board_set(struct fallback_board *board, struct fallback_site *const *sites,
		       uint32_t n);

/* The site of a local address and port; NULL if no VIP has it (any more). The caller puts it back
 * with fallback_site_unref(). From any thread. */
struct fallback_site *fallback_board_find(struct fallback_board *board, const struct endpoint *ep);

#endif
