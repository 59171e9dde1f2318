/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names, labels and numbers -> lines of the Prometheus text format, in a buffer that grows and is
 * used again.
 *
 * A family is begun with its name; # HELP and # TYPE are written with its first sample, and not at
 * all if it has none. Labels of an object (pool="a",node="b") are set once and stand in front of
 * those of the sample.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
 */
#ifndef SLUICE_AGENT_EXPORT_TEXT_H
#define SLUICE_AGENT_EXPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define EXPORT_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum export_type { EXPORT_COUNTER = 1, EXPORT_GAUGE };

/* Start from {0}. */
struct export_text {
	char *data;
	size_t len;
	size_t size;
	bool failed; /* out of memory: what is there is not whole */

	const char *name; /* of the family; the caller's, until the next */
	const char *help;
	enum export_type type;
	bool headed;

	char *labels; /* of the object, without braces; "" for none */
	size_t labels_len;
	size_t labels_size;
};

void export_text_free(struct export_text *t);

/* Forget what was written. */
void export_text_clear(struct export_text *t);

/* name and help must live until the next family. */
void export_text_family(struct export_text *t, const char *name, enum export_type type,
			const char *help);

/* Labels of the object: name, value, …, NULL. */
void export_text_labels(struct export_text *t, ...) __attribute__((sentinel));

/* One sample; NAN is none. Up to three more labels of its own: name, value, …, NULL. */
void export_text_sample(struct export_text *t, double value, ...) __attribute__((sentinel));

#endif
