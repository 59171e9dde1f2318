/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a discovery is made of: shared by discovery.c (the source and its answers) and
 * discovery_members.c (who is a member, and what it is configured as).
 */
#ifndef SLUICE_AGENT_DISCOVERY_INTERNAL_H
#define SLUICE_AGENT_DISCOVERY_INTERNAL_H

#include "userspace/agent/discovery.h"
#include "userspace/agent/discovery_answer.h"

struct member {
	char name[CONFIG_NAME_MAX + 1];
	struct discovery_target target; /* its port is never 0 */
	bool gone;			/* the last answer does not name it */
};

/* Configuration of all members, as handed out once. */
struct block {
	struct block *former;
	uint32_t n;
	char (*names)[CONFIG_NAME_MAX + 1];
	struct config_node nodes[];
};

struct discovery {
	struct agent *agent;
	struct pool *pool;
	bool at_start; /* until nodes of an answer are in the pool */
	struct member *members;
	uint32_t n;
	struct block *block; /* the newest */

	/* The source that is asked. */
	enum config_discovery_type type;
	struct config_dns dns; /* but for its strings, which go with the configuration */
	char *source;
	char *server;
	sa_family_t family;
	struct file_watch *watch;
	struct discovery_dns *question;
	int64_t due_ms; /* ask again; INT64_MAX: not by time */
	uint32_t n_failed_in_turn;

	bool answered;
	struct discovery_answer answer; /* the last good one of this source */
	int64_t answered_ms;
	uint64_t n_answers;
	uint64_t n_failures;
	char error[DISCOVERY_ERROR_MAX + 64]; /* of the last answer; "" if it was good */
};

/* A target's endpoint: the pool's port where the answer gives none. */
struct endpoint discovery_endpoint(const struct config_pool *cfg,
				   const struct discovery_target *target);

/*
 * Nodes that an earlier agent had in this pool become members; those of the configuration yield
 * later. Returns 0; -ENOMEM.
 */
int discovery_adopt(struct discovery *d);

/* Fit the members to the last answer and to the configuration in force. */
void discovery_fit(struct discovery *d);

/* Members that the last answer does not name. */
uint32_t discovery_count_gone(const struct discovery *d);
/* Whether those that stay can do without them. */
bool discovery_others_ready(const struct discovery *d);
/* They are members no longer: from now on they are retire.h's, with the time their flows have. */
void discovery_drop_gone(struct discovery *d);

void discovery_members_free(struct discovery *d);

#endif
