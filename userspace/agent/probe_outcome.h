/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a request or a connect ended -> what that says of the node, in one word and in one line.
 * Pure. For probe.c and its tests.
 */
#ifndef SLUICE_AGENT_PROBE_OUTCOME_H
#define SLUICE_AGENT_PROBE_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/curl_loop.h"
#include "userspace/agent/probe.h"

/* A loop that wakes this late was held up itself: what timed out meanwhile says nothing. */
#define PROBE_STALL_MS 250

/* What is known when a request over HTTP ended. */
struct probe_facts {
	CURLcode code;
	int os_errno; /* 0: none */
	bool local;   /* no socket */
	bool silent;  /* peer acknowledged nothing */
	bool connected;
	bool stalled; /* this loop was held up during the request */
	bool status_expected;
	uint16_t http_status;    /* 0: none */
	enum probe_outcome stop; /* why a callback ended it with CURLE_WRITE_ERROR; 0: none did */
	uint64_t header_bytes;
	uint64_t body_bytes;
	size_t body_max;
	int64_t connect_timeout_ms;
	int64_t timeout_ms;
	const char *error; /* libcurl's words, or of who set stop; "" if none */
};

enum probe_outcome probe_outcome_http(const struct probe_facts *facts);

/* One printable line, terminated; "" for PROBE_PASS. */
void probe_outcome_explain(enum probe_outcome outcome, const struct probe_facts *facts,
			   char ret_cause[PROBE_CAUSE_MAX]);

#endif
