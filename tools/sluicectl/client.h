/* SPDX-License-Identifier: BSD-2-Clause */
/* A request to the agent's socket -> its JSON answer. */
#ifndef SLUICECTL_CLIENT_H
#define SLUICECTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "tools/sluicectl/commands.h"

/*
 * method "GET" or "POST"; body may be NULL. Returns CTL_OK with *ret_json (the caller's), or an
 * exit status after printing one line on standard error that says what went wrong.
 */
int client_call(const struct ctl *ctl, const char *method, const char *path, const json_t *body,
		json_t **ret_json);

/*
 * GET of path for somebody who goes on when the agent is started again: if none answers, that is said
 * once (after what), and one is waited for, CLIENT_AGENT_BACK_MS at most.
 */
#define CLIENT_AGENT_BACK_MS 120000
int client_get_again(const struct ctl *ctl, const char *path, const char *what, json_t **ret_json);

/* Whether an agent listens there, as far as this user can tell. Prints nothing. */
bool client_reaches(const struct ctl *ctl);

/* The same with a body of any bytes. */
int client_send(const struct ctl *ctl, const char *path, const char *body, size_t len,
		json_t **ret_json);

/* Path of a node's page, its name escaped: "/v1/backends/NAME" and suffix. */
void client_node_path(char *buf, size_t size, const char *node, const char *suffix);

#endif
