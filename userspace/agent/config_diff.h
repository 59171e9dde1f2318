/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two configurations -> what going from one to the other changes, for people and programs.
 *
 * Objects are the same if they have the same name; a node also needs the same address and port,
 * else one is removed and another added. Settings are compared as they come out after inheritance,
 * and shown at the object that brings the difference in.
 *
 * To compare a file that is to replace another, load it under the other's name
 * (config_load_buffer()): names of files in it are relative to its directory.
 */
#ifndef SLUICE_AGENT_CONFIG_DIFF_H
#define SLUICE_AGENT_CONFIG_DIFF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "userspace/agent/config.h"

enum config_change_op { CONFIG_ADDED = 1, CONFIG_REMOVED, CONFIG_CHANGED };
enum config_object {
	CONFIG_OBJECT_SETTING = 1, /* of the host; no name */
	CONFIG_OBJECT_INTERFACE,
	CONFIG_OBJECT_POOL,
	CONFIG_OBJECT_NODE, /* "pool/node" */
	CONFIG_OBJECT_VIP,
};

/* What it takes; the larger includes the smaller. */
enum config_effect {
	CONFIG_EFFECT_LIVE = 1, /* a reload */
	CONFIG_EFFECT_RESTART,  /* a restart of the agent; forwarding goes on meanwhile */
	CONFIG_EFFECT_DETACH,   /* maps have to be made anew: detach, then start */
};

struct config_change {
	enum config_change_op op;
	enum config_object object;
	enum config_effect effect;
	const char *name; /* NULL for settings */
	const char *key;  /* "check.interval"; NULL when the object is added or removed */
	const char *was;  /* as the file says it; when removed: a summary; NULL when added */
	const char *now;  /* likewise; NULL when removed */
};

struct config_diff {
	struct config_change *changes; /* host, interfaces, pools each with its nodes, VIPs */
	uint32_t n;
	enum config_effect effect; /* the largest; LIVE if there is no change */
	const char *pin_dir;       /* of what was: what is to be detached, if that is the effect */
	struct arena *arena;       /* owner of all of it */
};

/* Returns 0 and a diff to be freed with config_diff_free(), independent of both; or -ENOMEM. */
int config_diff(const struct config *was, const struct config *now, struct config_diff **ret);
void config_diff_free(struct config_diff **diff);

/* The first change of that effect; NULL if there is none. */
const struct config_change *config_diff_find(const struct config_diff *diff,
					     enum config_effect effect);

/* One line for a change: "+ node llama/gpu5: …", "~ pool llama: policy: p2c -> hash". Cut to size;
 * returns buf. */
const char *config_change_format(const struct config_change *change, char *buf, size_t size);

/* All lines, and one about what it takes; "nothing changes" if so. */
void config_diff_print(const struct config_diff *diff, FILE *out);

/*
 * {"effect": "live", "pin_dir": "/sys/fs/bpf/sluice", "changes": [{"op", "object", "name", "key", "was", "now", "effect"}]}; keys
 * without a value are left out. A new reference (json_t of jansson), NULL if there is no memory.
 */
struct json_t;
struct json_t *config_diff_json(const struct config_diff *diff);

#endif
