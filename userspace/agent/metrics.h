/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server's answer to a scrape -> struct load_sample.
 *
 * A reader takes one page after the other, in pieces of any size, and evaluates the expressions
 * of its struct metric_set (metricexpr.h) while the bytes come in. It is meant to live as long as
 * its node: between pages it keeps its (small, bounded) buffers, so that a scrape allocates
 * nothing in the steady state.
 *
 * Absent, unusable and zero differ: a field whose bit is not in `has` was not given by the page,
 * and its value must not be read. metrics_reader_status() tells why a field is missing. How old
 * a sample may be is the caller's business.
 */
#ifndef SLUICE_AGENT_METRICS_H
#define SLUICE_AGENT_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/metricexpr.h"

/* The order is that of the values in struct load_sample. */
enum load_field {
	LOAD_QUEUE = 0, /* requests waiting, not yet running; >= 0; default aggregate: sum */
	LOAD_RUNNING,   /* requests running; >= 0; sum */
	LOAD_KV,        /* KV cache in use, 0..1; max: the fullest engine decides */
	LOAD_GPU_MEM,   /* GPU memory in use, 0..1; max: the fullest GPU decides */
	LOAD_PROGRESS,  /* counter that grows while the engine works; sum */
	LOAD_ABORTS,    /* counter of requests cut short by the server or its client; sum */
	LOAD_SLOTS,     /* requests the server runs at once at most; > 0; sum */
	LOAD_FIELD_N,
};

#define LOAD_HAS(field) (1u << (field))

/*
 * Only finite numbers within these ranges get in; anything else leaves the field out with status
 * METRIC_OUT_OF_RANGE. A fraction up to LOAD_FRACTION_SLACK above 1 (rounding, block counts that
 * include a null block) reads as 1; above that it is refused, not guessed at: a percentage is
 * turned into a fraction in the expression (`gpu_memory_usage / 100`).
 */
#define LOAD_REQUESTS_MAX   1e9
#define LOAD_COUNTER_MAX    1e18
#define LOAD_FRACTION_SLACK 0.05

struct load_sample {
	uint32_t has; /* LOAD_HAS() bits; a value without its bit is 0 and means nothing */
	union {
		double value[LOAD_FIELD_N];
		struct {
			double queue;
			double running;
			double kv;
			double gpu_mem;
			double progress;
			double aborts;
			double slots;
		};
	};
};

/* The field's name as configuration and log lines spell it: "queue", "gpu_memory", … Never NULL. */
const char *load_field_name(enum load_field field);

/* Name of len bytes -> field. Returns 0, or -ENOENT. */
int load_field_find(const char *name, size_t len, enum load_field *ret_field);

/* What a bare selector of this field is aggregated by if its expression does not say. */
enum metric_agg load_field_agg(enum load_field field);

/* Copies the fields present in `from` over those of `into` (an add-on such as dcgm). */
void load_sample_merge(struct load_sample *into, const struct load_sample *from);

#define METRICS_PAGE_MAX_BYTES (8u << 20) /* default cap of a page of Prometheus text */
/* Default cap of a JSON page, which is held and parsed whole: the worst one takes about 25 ms. */
#define METRICS_JSON_MAX_BYTES (256u << 10)

/* How the caller knows that the page ended. A page known to be cut off is never ended: begin the
 * next one instead, since part of a sum is a lie. */
enum metrics_end {
	/* The transfer was framed by Content-Length, chunks or HTTP/2: nothing is missing, and a
	 * last line without newline counts. */
	METRICS_END_FRAMED = 1,
	/* The connection was closed: a last line without newline may have been cut, so the page is
	 * refused (-EBADMSG). */
	METRICS_END_CLOSED,
};

struct metrics_reader;

/*
 * set: what to evaluate; the reader holds a reference. max_bytes: cap of a page, 0 for the default
 * of the set's format. Returns 0 or -ENOMEM.
 */
int metrics_reader_new(struct metric_set *set, size_t max_bytes,
		       struct metrics_reader **ret_reader);
void metrics_reader_free(struct metrics_reader **reader);

/* Forgets the page being read, if any, and starts the next. */
void metrics_reader_begin(struct metrics_reader *reader);

/*
 * Takes the next bytes of the page. Returns 0; -EFBIG when the page passes its cap, and for
 * everything fed after that (stop the transfer); -ENOMEM.
 */
int metrics_reader_feed(struct metrics_reader *reader, const char *data, size_t len);

/*
 * The page is over: evaluates. Returns 0 with whatever fields the page gave (an empty page gives
 * none and is no error); -EFBIG or -ENOMEM as above; -EBADMSG if the page cannot be read at all
 * (JSON that does not parse, an open last line with METRICS_END_CLOSED). *ret_sample is untouched
 * on failure. metrics_reader_error() then has the cause in words.
 */
int metrics_reader_end(struct metrics_reader *reader, enum metrics_end end,
		       struct load_sample *ret_sample);

/* Why the last page was refused, in words; "" if it was not. Valid until the next begin. */
const char *metrics_reader_error(const struct metrics_reader *reader);

/* Outcome of one field in the page ended last: METRIC_OK, or why it is missing; METRIC_UNUSED if
 * the set has no expression for it. */
enum metric_status metrics_reader_status(const struct metrics_reader *reader,
					 enum load_field field);

/* One line for people: the field, its expression and what went wrong with it in the last page,
 * with the metric's name. Always terminates buf; returns buf. */
const char *metrics_reader_explain(const struct metrics_reader *reader, enum load_field field,
				   char *buf, size_t size);

/* Counts of the page ended last, for the agent's own metrics. */
struct metrics_page_stats {
	uint64_t bytes;
	uint64_t lines;      /* Prometheus text only, as are the next three */
	uint64_t samples;    /* whose name the set asks for and that could be read */
	uint64_t bad_lines;  /* whose name the set asks for and that could not be read */
	uint64_t long_lines; /* dropped for their length */
};
void metrics_reader_stats(const struct metrics_reader *reader,
			  struct metrics_page_stats *ret_stats);

/*
 * Finds expressions that never matched, so that each is reported once. One per node and source,
 * zeroed at first. Call after every successful metrics_reader_end(); returns LOAD_HAS() bits of the
 * fields to report now: those that matched nothing in METRICS_UNMATCHED_PAGES pages running from
 * the first, that were not reported before, and that are not marked as optional by a final `?`.
 */
#define METRICS_UNMATCHED_PAGES 10
struct metrics_watch {
	uint32_t pages;
	uint32_t matched;
	uint32_t reported;
};
uint32_t metrics_watch_update(struct metrics_watch *watch, const struct metrics_reader *reader);

#endif
