/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * YAML text -> a tree of nodes that know their place in the file.
 *
 * One document of UTF-8. Aliases point to the node they name (no copies, no cycles), merge keys
 * (`<<: *name`) are applied, duplicate keys and tags refused. Scalars stay text: what they mean is
 * for whoever knows what was asked for, so `no`, `1e3` and `"8000"` hold no surprises.
 */
#ifndef SLUICE_AGENT_CONFIG_YAML_H
#define SLUICE_AGENT_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/lib/arena.h"

#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 500000
#define YAML_KEYS_MAX  200 /* of one mapping */

enum yaml_kind { YAML_SCALAR = 1, YAML_MAP, YAML_LIST };

struct yaml_pair {
	const struct yaml_node *key; /* a scalar */
	const struct yaml_node *value;
};

struct yaml_node {
	enum yaml_kind kind;
	uint32_t line; /* from 1 */
	uint32_t column;
	bool is_null;     /* a scalar without quotes that is empty, ~ or null */
	const char *text; /* scalar */
	uint32_t n;       /* items or pairs */
	const struct yaml_node **items;
	struct yaml_pair *pairs;
};

struct yaml_error {
	uint32_t line; /* 0: the whole file */
	uint32_t column;
	char text[320];
};

/*
 * Build the tree in arena. Returns 0; -EINVAL with *ret_error if the text is not such a document;
 * -ENOMEM, without an error, if there was no memory. Outputs are untouched otherwise.
 */
int yaml_parse(struct arena *arena, const char *buf, size_t len, const struct yaml_node **ret_root,
	       struct yaml_error *ret_error);

/* The value of a key of a mapping; NULL if it has none, or if node is NULL or no mapping. */
const struct yaml_node *yaml_get(const struct yaml_node *node, const char *key);

/* The same content; places do not count. NULL equals NULL. */
bool yaml_equal(const struct yaml_node *a, const struct yaml_node *b);

/* "a mapping", "a list", "a value": for messages. */
const char *yaml_kind_name(const struct yaml_node *node);

#endif
