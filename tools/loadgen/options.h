/* SPDX-License-Identifier: BSD-2-Clause */
/* Command line -> one plan: what to open, how many, how fast, how long, what to check. */
#ifndef SLUICE_LOADGEN_OPTIONS_H
#define SLUICE_LOADGEN_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tools/loadgen/check.h"

#define OPTIONS_TARGETS_MAX 16
#define OPTIONS_SOURCES_MAX 256
#define OPTIONS_REQUEST_MAX 2048

enum options_mode {
	MODE_SPREAD = 1, /* one short request on each connection */
	MODE_STEADY,     /* the same, at a rate, told one by one */
	MODE_STREAM,     /* long streams, held at a number */
};

struct options_target {
	const char *url;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char request[OPTIONS_REQUEST_MAX];
	uint32_t request_len;
};

struct options {
	enum options_mode mode;
	struct options_target targets[OPTIONS_TARGETS_MAX];
	uint32_t n_targets;
	struct sockaddr_storage sources[OPTIONS_SOURCES_MAX]; /* port 0 */
	uint32_t n_sources;
	uint64_t count;       /* connections in all */
	uint32_t concurrency; /* connections at once */
	double rate;          /* connections a second; 0: as fast as concurrency allows */
	double duration_s;    /* no new connection after this */
	double grace_s;       /* then wait so long for those that are open */
	double connect_s;     /* time to connect */
	double silence_s;     /* time without a byte */
	uint32_t tokens;      /* 0: GET the page */
	enum check_order order;
	uint64_t allow;       /* failures that still count as success */
	const char *json;     /* file of the report; "-": standard output */
	const char *progress; /* file of a line each second */
	const char *events;   /* file of a line for each failure */
	const char *series;   /* file of a line for each connection */
	bool quiet;
	bool help;
};

extern const char options_help[];

/* Logs what is wrong and returns -EINVAL; looks names up. */
int options_read(struct options *o, int argc, char **argv);

#endif
