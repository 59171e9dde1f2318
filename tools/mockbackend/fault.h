/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a node pretends to be: the settings behind /control, from JSON or a query string, and back.
 * Each page has a fault mode of its own. Settings change whole or not at all.
 */
#ifndef SLUICE_MOCKBACKEND_FAULT_H
#define SLUICE_MOCKBACKEND_FAULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_mode {
	FAULT_OK = 1,
	FAULT_HANG,      /* the request is taken and never answered */
	FAULT_GARBAGE,   /* 200 with bytes that are neither JSON nor metrics */
	FAULT_HUGE,      /* a true page followed by huge_mb of padding */
	FAULT_SLOW,      /* the true page, one byte each 100 ms */
	FAULT_TRUNCATED, /* half of the announced bytes, then the end of the connection */
	FAULT_EMPTY,     /* 200 without a body */
	FAULT_STATUS,    /* the page's `*_status` with a JSON error */
	FAULT_RESET,     /* TCP reset instead of an answer */
	FAULT_CLOSE,     /* end of the connection instead of an answer */
};

enum fault_page {
	FAULT_PAGE_HEALTH = 0,
	FAULT_PAGE_METRICS,
	FAULT_PAGE_API, /* completions, chat, models */
	FAULT_PAGE_N,
};

struct fault_settings {
	double tokens_per_s;
	double rate_factor;
	uint32_t slots;
	uint32_t queue_max;        /* UINT32_MAX: no bound */
	uint32_t queue_status;     /* answer when the queue is full: 429 or 503 */
	double gpu_memory_pct;     /* < 0: follows the KV cache */
	double kv_usage;           /* < 0: as held by running requests */
	uint64_t loading_until_us; /* 0: not loading; UINT64_MAX: until told otherwise */
	bool draining;             /* refuse new work and health; running streams go on */
	enum fault_mode page[FAULT_PAGE_N];
	uint32_t page_status[FAULT_PAGE_N];
	uint32_t health_delay_ms;
	uint32_t metrics_delay_ms;
	uint32_t huge_mb;
	uint32_t abrupt_after; /* reset each stream after so many tokens; 0: never */
};

/* One-time actions of a /control request. */
struct fault_actions {
	bool reset;                 /* back to the settings of the command line */
	uint32_t refuse_ms;         /* close the listening sockets for this long */
	enum fault_mode break_with; /* FAULT_RESET, FAULT_CLOSE: all live requests; 0: none */
};

/* Defaults of everything that the command line does not set. */
void fault_defaults(struct fault_settings *s);

/*
 * Apply a JSON object. *s and *ret_actions change only on success. base: what "reset" goes back to.
 * Returns 0, or -EINVAL with a message in err that names the key and what it accepts.
 */
int fault_apply(struct fault_settings *s, const struct fault_settings *base, const json_t *object,
		uint64_t now_us, struct fault_actions *ret_actions, char *err, size_t err_size);

/* A query value as the JSON it means: numbers, true, false, null, otherwise a string. */
json_t *fault_query_value(const char *text);

/* The settings as an object with the keys that fault_apply() takes. NULL: out of memory. */
json_t *fault_json(const struct fault_settings *s, uint64_t now_us);

#endif
