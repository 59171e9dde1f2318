/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of attach share. */
#ifndef SLUICE_AGENT_ATTACH_PRIV_H
#define SLUICE_AGENT_ATTACH_PRIV_H

#include <bpf/libbpf.h>
#include <limits.h>
#include <string.h>

#include "userspace/agent/attach.h"

#define ATTACH_MAPS_MAX     40
#define ATTACH_PROGRAMS_MAX 8

struct attach_map {
	char name[32];
	int fd;
};

/* A program with our maps that this agent loaded or found pinned. */
struct attach_program {
	int fd;
	uint32_t id;
	char tag[17];
};

/* libxdp's dispatcher on a device. */
struct attach_chain {
	int ifindex;
	uint32_t id;
	int fd;
};

struct attach {
	char pin_dir[PATH_MAX];
	int lock_fd;
	struct attach_settings settings; /* pin_dir points to the above */
	uint32_t n_cpus;
	enum attach_start start;
	struct attach_map maps[ATTACH_MAPS_MAX];
	uint32_t n_maps;
	uint32_t control_id; /* id of map "control": programs that use it are ours */
	struct attach_program programs[ATTACH_PROGRAMS_MAX]; /* the newest last */
	uint32_t n_programs;
	struct attach_status *status;
	uint32_t n_status;
	struct attach_chain *chains;
	uint32_t n_chains;
	char tag[17];
};

/* Write the line for the operator; returns code, so that it can be `return attach_fail(…)`. */
int attach_fail(struct attach_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* attach_pins.c: the pin directory */

/* Create dir (mounting bpffs where it belongs) and lock it. */
int attach_pins_lock(const char *dir, int *ret_fd, struct attach_error *err);

/* Lock a directory that must be there. */
int attach_pins_lock_existing(const char *dir, int *ret_fd, struct attach_error *err);

/* Remove every pin in the directory, `last` (may be NULL) after all others. */
int attach_pins_remove(const char *dir, const char *last, struct attach_error *err);

/* Name of the n-th pin (from 0) in ret_name[NAME_MAX + 1]; false if there are fewer. */
bool attach_pins_name(const char *dir, unsigned int n, char *ret_name);

/* attach_maps.c: the maps */

/* Fill a->maps from pins or by making them; sets a->start and a->control_id. */
int attach_maps_open(struct attach *a, struct attach_error *err);
void attach_maps_close(struct attach *a);
int attach_maps_fd(const struct attach *a, const char *name);

/* Name of a map as it is pinned: variables are maps whose name is that of their section. */
static inline const char *attach_map_name(const struct bpf_map *map)
{
	static const char data[] = ".data.";
	const char *name = bpf_map__name(map);

	return strncmp(name, data, sizeof(data) - 1) ? name : name + sizeof(data) - 1;
}

/* Maps of the contract: those defined as such, and variables in sections ".data.NAME". */
static inline bool attach_map_is_shared(const struct bpf_map *map)
{
	return !bpf_map__is_internal(map) || attach_map_name(map) != bpf_map__name(map);
}

/* Id of the pinned map "control"; -errno. */
int attach_maps_control_id(const char *dir, uint32_t *ret_id);

/* Mark the pinned set as half made, so that what a crash leaves of it is built anew. */
int attach_maps_disown(const char *dir);

/* attach_xdp.c: programs on interfaces */

/* Off all interfaces but those in keep[0..n_keep). */
int attach_xdp_off(struct attach *a, const int *keep, uint32_t n_keep, struct attach_error *err);
void attach_xdp_close(struct attach *a);

/* One of ours, by its id; NULL. */
const struct attach_program *attach_program_known(const struct attach *a, uint32_t id);

/* attach_watch.c: programs that stay on interfaces */

/* What runs now is what is to run: note it. */
void attach_watch_begin(struct attach *a);

/* attach_chain.c: libxdp's dispatchers, held */

/*
 * Hold those that a->status names, and no others. Where that is not permitted (any more) what was
 * held before stays; what cannot be held cannot be put back.
 */
void attach_chains_hold(struct attach *a);
void attach_chains_close(struct attach *a);

/* Descriptor (not the caller's) of the one held for a device, if it still has its parts; -ENOENT. */
int attach_chain_whole(const struct attach *a, int ifindex, uint32_t *ret_id);

enum attach_part {
	ATTACH_PART_OURS = 1, /* one of our programs is in it */
	ATTACH_PART_NOT,
	ATTACH_PART_UNKNOWN, /* libxdp did not pin it here */
};
enum attach_part attach_chain_part(const struct attach *a, int ifindex, uint32_t id);

/* attach_log.c: what libbpf and libxdp say */

/* The kernel's or library's reason since attach_log_clear(); "" if it gave none. */
const char *attach_log_reason(void);
void attach_log_clear(void);

#endif
