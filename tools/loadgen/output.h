/* SPDX-License-Identifier: BSD-2-Clause */
/* What happened -> lines of JSON in files, and a summary for people. */
#ifndef SLUICE_LOADGEN_OUTPUT_H
#define SLUICE_LOADGEN_OUTPUT_H

#include <stdio.h>

#include "tools/loadgen/options.h"
#include "tools/loadgen/stats.h"

/* Two clocks of one moment. */
struct output_time {
	uint64_t mono_us;
	uint64_t wall_us;
};

struct output {
	FILE *progress;
	FILE *events;
	FILE *series;
	FILE *report;
};

/* One connection that ended. */
struct output_end {
	struct output_time started;
	struct output_time ended;
	const struct sockaddr_storage *local;
	const char *backend; /* "" when no head named one */
	enum stats_stage stage;
	enum check_cause cause;
	int status; /* 0: none */
	uint32_t tokens;
	uint64_t silent_us; /* time since the last byte */
};

/* Logs and returns -errno when a file cannot be opened. */
int output_open(struct output *out, const struct options *o);
void output_close(struct output *out);

void output_end(struct output *out, const struct output_end *end);
void output_progress(struct output *out, const struct stats *s, struct output_time now);

/* The report as JSON where it was asked for. Logs and returns -errno. */
int output_report(struct output *out, const struct options *o, const struct stats *s,
		  double seconds, bool interrupted, struct output_time start);

void output_summary(const struct options *o, const struct stats *s, double seconds,
		    bool interrupted);

/* Address and port as one word. */
void output_address(const struct sockaddr_storage *ss, char *buf, size_t size);

#endif
