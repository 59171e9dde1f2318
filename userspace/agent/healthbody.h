/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The answer to a health request -> what it says about the node, with the cause in words.
 *
 * Only answers come here: a refused connection, a time-out or a broken transfer says its own.
 * Judged per answer, without memory but for whether the node ever passed; rise, fall and states
 * are made of it elsewhere.
 */
#ifndef SLUICE_AGENT_HEALTHBODY_H
#define SLUICE_AGENT_HEALTHBODY_H

#include <stddef.h>
#include <stdint.h>

enum health_verdict {
	HEALTH_VERDICT_PASS = 1,
	HEALTH_VERDICT_BUSY,     /* alive, says it has no room (429, "no slot available") */
	HEALTH_VERDICT_LOADING,  /* alive, not ready yet */
	HEALTH_VERDICT_DRAINING, /* alive, wants no new work; live streams go on */
	HEALTH_VERDICT_FAIL,
};

/* Whether the node passed any check since the agent first saw it: some servers answer the same
 * while they start and while they shut down, and only this tells which it is. */
enum health_history {
	HEALTH_NEVER_READY = 1,
	HEALTH_WAS_READY,
};

/* What the body of a 2xx answer must be. */
enum health_body {
	HEALTH_BODY_ANY = 1,  /* the status is enough; empty is fine */
	HEALTH_BODY_CONTAINS, /* must contain `expect` */
	HEALTH_BODY_JSON, /* must be a JSON object; its status_field, if it has one, is judged */
};

#define HEALTH_RULES_STATUS_MAX 4
#define HEALTH_BODY_MAX_BYTES   (64u << 10) /* more than this is never needed; callers cap here */

/* A status that means something else than "2xx passes, the rest fails" on some server. */
struct health_status_rule {
	uint16_t status; /* 0 ends the list */
	/* PASS, BUSY, FAIL; LOADING: not ready, so loading if it never was, else draining */
	enum health_verdict verdict;
	const char *cause;
};

struct health_rules {
	enum health_body body;
	const char *expect;       /* HEALTH_BODY_CONTAINS */
	const char *status_field; /* HEALTH_BODY_JSON: its key, usually "status" */
	struct health_status_rule status[HEALTH_RULES_STATUS_MAX];
};

/*
 * status: 100..599. body: len bytes, not terminated; may be cut at HEALTH_BODY_MAX_BYTES.
 * ret_cause: what a person needs to know, one line, printable, terminated, e.g.
 * `503 Loading model`; size >= 1. Returns the verdict. Pure.
 */
enum health_verdict health_body_judge(const struct health_rules *rules, unsigned int status,
				      const char *body, size_t len, enum health_history history,
				      char *ret_cause, size_t size);

/* "pass", "busy", "loading", "draining", "fail". */
const char *health_verdict_name(enum health_verdict verdict);

#endif
