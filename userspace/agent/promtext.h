/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page of Prometheus text or OpenMetrics, in pieces of any size -> the samples someone wants.
 *
 * Only the names of lines are looked at until one is wanted, so that a large page costs little.
 * What cannot be read of a wanted name is reported as such, since a sum without it would be wrong;
 * other broken lines are nobody's business.
 *
 * Takes: exact names with ':'; names and labels as strings, {"a.b", c="d"}; escapes in label
 * values; blanks and tabs anywhere between tokens; a trailing comma; timestamps (checked, unused);
 * exemplars and comments (skipped); LF and CRLF; NaN and infinities.
 * Limits: line length, labels in a line. Memory: one line, and only while it is incomplete.
 *
 * Source: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0.
 */
#ifndef SLUICE_AGENT_PROMTEXT_H
#define SLUICE_AGENT_PROMTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROMTEXT_LINE_MAX   16384 /* bytes; a longer line is dropped and counted */
#define PROMTEXT_LABELS_MAX 64    /* in one line; more make it unreadable */

struct promtext_label {
	const char *name;  /* not terminated */
	const char *value; /* escapes already resolved; not terminated */
	size_t name_len;
	size_t value_len;
};

/* Strings passed in are valid during the call only. */
struct promtext_ops {
	/* Is this name wanted? Its id (>= 0), or -1. Called for every line with a name. */
	int (*want)(void *ctx, const char *name, size_t len);
	/* A sample; value may be NaN or infinite. A negative return ends the page. */
	int (*sample)(void *ctx, int id, const struct promtext_label *labels, size_t n_labels,
		      double value);
	/* A line of a wanted name that cannot be read, or is too long. */
	void (*unreadable)(void *ctx, int id);
};

struct promtext_stats {
	uint64_t bytes;
	uint64_t lines; /* not counting comments and empty lines */
	uint64_t samples;
	uint64_t bad_lines;  /* unreadable, of a wanted name; too long ones included */
	uint64_t long_lines; /* of any name */
};

struct promtext;

/* ops must outlive the parser. Returns 0 or -ENOMEM. */
int promtext_new(const struct promtext_ops *ops, void *ctx, struct promtext **ret_parser);
void promtext_free(struct promtext **parser);

/* Starts a page. */
void promtext_begin(struct promtext *parser);

/* Returns 0; -ENOMEM; what sample() returned. After a failure the page is lost: begin anew. */
int promtext_feed(struct promtext *parser, const char *data, size_t len);

/* True in the middle of a line: the page has no final newline (yet). */
bool promtext_in_line(const struct promtext *parser);

/* Takes a last line without newline as complete. Returns as promtext_feed(). */
int promtext_finish(struct promtext *parser);

void promtext_stats(const struct promtext *parser, struct promtext_stats *ret_stats);

#endif
