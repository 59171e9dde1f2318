/* SPDX-License-Identifier: BSD-2-Clause */
/* Ends of connections -> counts by backend and by cause, latencies, the JSON report. No I/O. */
#ifndef SLUICE_LOADGEN_STATS_H
#define SLUICE_LOADGEN_STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/loadgen/check.h"
#include "tools/loadgen/http.h"

#define STATS_BACKENDS_MAX 1024
#define STATS_LATENCY_N    256
#define STATS_NO_BACKEND   UINT32_MAX
#define STATS_HTTP_MAX     600

/* How far a connection had come. */
enum stats_stage {
	STAGE_CONNECT = 1, /* no answer to SYN yet */
	STAGE_HEAD,        /* connected; no head of an answer yet */
	STAGE_BODY,        /* the head came with status 200: from here an end is a break */
	STAGE_CLOSING,     /* the answer is complete */
};

struct stats_backend {
	char name[HTTP_BACKEND_MAX + 1];
	uint64_t started; /* heads with status 200 */
	uint64_t completed;
	uint64_t broken;
	uint64_t active;
	uint64_t tokens;
	uint64_t bytes;
};

/* Bounds grow by an eighth: the error of a percentile is below 13 %. */
struct stats_latency {
	uint64_t n;
	uint64_t max_us;
	uint64_t count[STATS_LATENCY_N];
};

struct stats {
	uint64_t started;    /* connections opened, or tried */
	uint64_t completed;  /* verified */
	uint64_t failed;     /* ended before the head of a good answer */
	uint64_t broken;     /* ended wrongly after it */
	uint64_t unfinished; /* closed by us at the end */
	uint64_t behind;     /* starts that the rate asked for and the concurrency forbade */
	uint64_t active;
	uint64_t active_max;
	uint64_t bytes; /* of bodies */
	uint64_t tokens;
	uint64_t peer_same;      /* the server saw our address and port */
	uint64_t peer_different; /* it saw another: translated on the way */
	uint64_t causes[CAUSE_N];
	uint64_t http[STATS_HTTP_MAX]; /* answers by status */
	struct stats_latency connect;
	struct stats_latency first_byte;
	struct stats_latency whole;
	struct stats_backend backends[STATS_BACKENDS_MAX];
	uint32_t n_backends;
};

/* The index of this backend; STATS_NO_BACKEND for "" and when there are too many. */
uint32_t stats_backend_id(struct stats *s, const char *name);

/* "" for STATS_NO_BACKEND. */
const char *stats_backend_name(const struct stats *s, uint32_t id);

/* One connection ended. id may be STATS_NO_BACKEND. */
void stats_end(struct stats *s, enum stats_stage stage, enum check_cause cause, uint32_t id);

void stats_latency_add(struct stats_latency *l, uint64_t us);

/* Milliseconds below which so many percent of the values lie. */
double stats_latency_ms(const struct stats_latency *l, double percent);

const char *stats_stage_name(enum stats_stage stage);

/* Caller owns the result; NULL: out of memory. */
json_t *stats_report(const struct stats *s);

/* The counters alone, for a line each second. */
json_t *stats_progress(const struct stats *s);

#endif
