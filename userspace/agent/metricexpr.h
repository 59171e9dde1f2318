/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metric expressions: text from the configuration -> compiled form; samples -> a number.
 *
 *	sum(vllm:num_requests_waiting) + sum(vllm:num_requests_swapped)?
 *	first(max(vllm:kv_cache_usage_perc), max(vllm:gpu_cache_usage_perc))
 *	sum(sglang:num_queue_reqs{tp_rank="0"|"", pp_rank="0"|""})
 *	max(DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE))
 *	gpu_memory_usage / 100
 *	sum(engines[*].stats.queued)
 *
 *	expr      = term { ("+" | "-") term }
 *	term      = factor { ("*" | "/") factor }
 *	factor    = ( number | "(" expr ")" | function | selector ) [ "?" ]
 *	function  = ("sum" | "max" | "min" | "avg" | "count") "(" expr ")"
 *	          | "first" "(" expr { "," expr } ")"
 *	selector  = name [ "{" [ filter { "," filter } [","] ] "}" ]         Prometheus text
 *	          | step { "." step }                                        JSON
 *	filter    = label ("=" | "!=") string { "|" string }
 *	step      = ( name | string ) { "[" ( index | "*" ) "]" } , or a leading "[…]"
 *	string    = '"' with \" \\ \n '"'
 *
 * - A selector stands for all samples of exactly that name that pass its filters. A label that a
 *   sample does not have reads as "". `a="x"|"y"` accepts either, `a!="x"|"y"` neither. A name
 *   with other characters is written as a string.
 * - In JSON a selector is a path to a number; an index counts from 0, or from the end if
 *   negative; [*] stands for every element. Numbers written as strings are refused.
 * - Arithmetic on several samples pairs those with the same labels (in JSON: the same [*]
 *   positions); a sample without a partner drops out.
 * - sum, max, min, avg, count make one number of many. A series that comes twice counts twice: so
 *   the joined pages of two servers are summed up right. An expression that ends with many is
 *   aggregated as its field says (see load_field_agg()).
 * - A value is absent if nothing matched; arithmetic with an absent value is absent. `x?` as a
 *   term of + or right of - is left out instead. `?` after a whole expression says that a page
 *   without it is in order, so that it is not reported.
 * - first() is the first of its arguments that has a value.
 * - NaN and infinities are no values: max, min and avg pass over them, a sum with one of them (or
 *   with a line that cannot be read) is not given at all, since it would be too low.
 */
#ifndef SLUICE_AGENT_METRICEXPR_H
#define SLUICE_AGENT_METRICEXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/promtext.h"

enum metric_format {
	METRIC_FORMAT_NONE = 1, /* nothing to scrape: load is the flows counted here */
	METRIC_FORMAT_PROM,
	METRIC_FORMAT_JSON,
};

enum metric_agg {
	METRIC_AGG_SUM = 1,
	METRIC_AGG_MAX,
	METRIC_AGG_MIN,
	METRIC_AGG_AVG,
	METRIC_AGG_COUNT,
};

enum metric_status {
	METRIC_OK = 1,
	METRIC_UNUSED, /* no expression */
	METRIC_ABSENT, /* nothing in the page matched */
	/* In this order of gravity: */
	METRIC_NOT_FINITE, /* NaN or infinite */
	METRIC_DIV_ZERO,
	METRIC_UNREADABLE,   /* a matching line or JSON value is not a number */
	METRIC_TOO_MANY,     /* more than METRIC_SERIES_MAX samples in arithmetic on many */
	METRIC_OUT_OF_RANGE, /* a number, but not one this field can have (metrics.c) */
};

#define METRIC_EXPR_MAX_LEN   1024 /* bytes of text */
#define METRIC_EXPR_MAX_DEPTH 16   /* of parentheses and functions */
#define METRIC_EXPR_MAX_NODES 64
#define METRIC_SERIES_MAX     1024 /* samples kept per selector; aggregates keep none */
#define METRIC_SET_MAX        16   /* expressions in a set */

struct metric_error {
	size_t pos;     /* byte offset in the text, from 0 */
	char text[192]; /* "expected …, found …"; no newline, without the position */
};

struct metric_expr;

/*
 * text -> compiled expression. agg: how a result of many samples becomes one number.
 * Returns 0; -EINVAL with *ret_error filled in (if not NULL); -ENOMEM. Pure.
 */
int metric_expr_compile(const char *text, enum metric_format format, enum metric_agg agg,
			struct metric_expr **ret_expr, struct metric_error *ret_error);
void metric_expr_free(struct metric_expr **expr);

/* The text it was compiled from. */
const char *metric_expr_text(const struct metric_expr *expr);

/* Whether the whole expression ends in `?`. */
bool metric_expr_optional(const struct metric_expr *expr);

/* Only syntax, for a configuration checker. As metric_expr_compile(). */
int metric_expr_check(const char *text, enum metric_format format, struct metric_error *ret_error);

/*
 * A set: up to METRIC_SET_MAX expressions for one page, each with the caller's number (its slot).
 * Built once, then read-only; shared by all nodes of a pool, counted references.
 */
struct metric_set;

int metric_set_new(enum metric_format format, struct metric_set **ret_set);
struct metric_set *metric_set_ref(struct metric_set *set);
void metric_set_unref(struct metric_set **set);

/* Adds *expr under slot (< METRIC_SET_MAX, free) and takes it over (*expr becomes NULL). Returns 0,
 * or -ENOMEM, -EEXIST, -EINVAL (another format); *expr then stays the caller's. */
int metric_set_add(struct metric_set *set, unsigned int slot, struct metric_expr **expr);

enum metric_format metric_set_format(const struct metric_set *set);

/* NULL if the slot is free. */
const struct metric_expr *metric_set_expr(const struct metric_set *set, unsigned int slot);

/*
 * One evaluation of a set: samples go in, a number for each expression comes out.
 */
struct metric_run;

int metric_run_new(struct metric_set *set, struct metric_run **ret_run);
void metric_run_free(struct metric_run **run);
void metric_run_reset(struct metric_run *run);

/* Whether any selector has this name: an id for the next calls, or -1. Prometheus text. */
int metric_run_want(const struct metric_run *run, const char *name, size_t len);

/* A sample of the name `id`. Returns 0 or -ENOMEM. */
int metric_run_sample(struct metric_run *run, int id, const struct promtext_label *labels,
		      size_t n_labels, double value);

/* A line of the name `id` that could not be read: its labels are not known either. */
void metric_run_unreadable(struct metric_run *run, int id);

/* A whole JSON document (json_t of jansson). Returns 0 or -ENOMEM. */
struct json_t;
int metric_run_json(struct metric_run *run, const struct json_t *root);

/* The value of the expression in slot. *ret_value is set only with METRIC_OK, and is finite. */
enum metric_status metric_run_value(struct metric_run *run, unsigned int slot, double *ret_value);

/* Name of the first selector of the slot's expression that matched nothing, or that matched what
 * could not be read; NULL if there is none. Valid as long as the set. */
const char *metric_run_culprit(const struct metric_run *run, unsigned int slot);

#endif
