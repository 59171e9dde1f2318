/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Program and maps -> kernel: load, pin, attach through libxdp; adopt what an earlier agent left;
 * detach.
 *
 * Everything lives under the pin directory (a bpffs): one pin for each map, by its name, and
 * ATTACH_PROGRAM_PIN. An exclusive flock() on the directory itself keeps a second agent out.
 * Maps come first (attach_open), so that the agent can fill or adopt the tables before the program
 * sees a packet (attach_interfaces). Closing leaves everything in place; forwarding goes on.
 *
 * Functions return 0 or -errno and, with an error, one line for the operator in err: object, cause,
 * and what to do.
 */
#ifndef SLUICE_AGENT_ATTACH_H
#define SLUICE_AGENT_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/config.h"

#define ATTACH_PIN_DIR     "/sys/fs/bpf/sluice"
#define ATTACH_PROGRAM_PIN "sluice_balancer"
#define ATTACH_ERROR_MAX   512

struct attach;

/*
 * What libbpf and libxdp print goes to the log, one level or more lower; why the kernel refused is
 * remembered. For the whole process; attach_open() does so, too.
 */
void attach_log_start(void);

struct attach_error {
	char text[ATTACH_ERROR_MAX]; /* one line, no newline; "" without an error */
};

struct attach_settings {
	const char *pin_dir;
	uint32_t n_pools;   /* 1 … LB_POOLS_MAX */
	uint32_t flows;     /* entries of the flow table */
	uint32_t half_open; /* entries of the half-open table */
	bool dpdk;          /* exceptions are kept by poll-mode workers: their tables get the room */
	uint32_t nat_flows; /* flows of mode nat */
};

enum attach_start {
	ATTACH_START_NEW = 1,     /* maps were made */
	ATTACH_START_REBUILT = 2, /* maps were made after removing a half-made set */
	ATTACH_START_ADOPTED = 3, /* maps of an earlier agent are in use */
};

/*
 * Lock the pin directory (bpffs is mounted on /sys/fs/bpf if the directory is there and it is
 * missing), then make and pin the maps or adopt those that are pinned.
 * -EBUSY: another agent holds the directory (err names its pid). -EPROTO: pinned maps have another
 * layout version. -EINVAL: other sizes. *ret is untouched on failure, else the caller owns it.
 */
int attach_open(const struct attach_settings *settings, struct attach **ret,
		struct attach_error *err);

enum attach_start attach_start(const struct attach *a);

/* Descriptors and the lock; nothing in the kernel is changed. Accepts NULL inside; clears. */
void attach_close(struct attach **a);

enum attach_how {
	ATTACH_HOW_ALONE = 1,      /* the kernel cannot run libxdp's dispatcher */
	ATTACH_HOW_DISPATCHER = 2, /* in libxdp's chain, with others if there are any */
};

enum attach_change {
	ATTACH_CHANGE_NONE = 1,     /* this very program was attached already */
	ATTACH_CHANGE_ATTACHED = 2, /* it was not attached before */
	ATTACH_CHANGE_SWAPPED = 3,  /* a program of another build was replaced in one step */
};

struct attach_status {
	char name[CONFIG_NAME_MAX + 1];
	int ifindex;
	enum config_xdp_mode mode;
	uint32_t priority;
	enum attach_how how;
	enum attach_change change; /* what the last attach_interfaces() did */
	uint32_t prog_id;	   /* what the kernel runs there, a dispatcher's if it is one */
	bool was_off;		   /* the last look found none */
};

/*
 * Make the program run on exactly these interfaces (n may be 0): attach where it is missing, swap
 * where another build runs, then detach where ours runs but is not listed. May be called again at
 * any time: after a reload, or when a device came back.
 * A foreign program is never replaced (-EEXIST), native never becomes generic (-EOPNOTSUPP), an
 * attached program does not change its mode (-EBUSY); -ENODEV: no such interface. After an error
 * what was attached before still is, and what this call attached is gone again.
 */
int attach_interfaces(struct attach *a, const struct config_interface *interfaces, uint32_t n,
		      struct attach_error *err);

/*
 * Look whether the program still runs where attach_status()[i] says. If it was taken off, or the
 * device was away and is back, attach it again if repair says so; a program of somebody else stays.
 * What was in libxdp's dispatcher comes back with the whole dispatcher, as it was when the agent started.
 * Returns 0: it runs (err: on a device that is called otherwise now, if it is). 1: it runs again.
 * -EAGAIN: look again: this process had no descriptor or memory to look with, or a dispatcher has
 * just been taken off and libxdp may be about to remove its pins, too. -ENODEV: no such interface
 * now. -EEXIST: another program runs there. -ECANCELED: it is off, and not to be attached. -EPERM: the
 * dispatcher was taken apart, and to make one takes root. -EACCES: it was taken out of a dispatcher
 * that stays, which nobody does by mistake. Other -errno of the kernel.
 */
int attach_keep(struct attach *a, uint32_t i, bool repair, struct attach_error *err);

/* Where things are pinned; owned by a. */
const char *attach_pin_dir(const struct attach *a);

/*
 * The start fails after all: take the program off where the last attach_interfaces() brought it to
 * an interface that had none of ours, and remove the maps if this start made them. What ran before
 * goes on. Errors are not reported: there is one already.
 */
void attach_abandon(struct attach *a);

/* Where the program runs, in the order given; owned by a, until the next call. */
const struct attach_status *attach_status(const struct attach *a, uint32_t *ret_n);

/* Hexadecimal tag of the program (16 digits); "" before the first attach_interfaces(). */
const char *attach_program_tag(const struct attach *a);

#define ATTACH_COMMAND_MAX 320

/* What an operator types to take down what is pinned there, to be quoted in messages. Returns buf. */
const char *attach_detach_command(const char *pin_dir, char buf[ATTACH_COMMAND_MAX]);

/*
 * Take the program off every interface of this network namespace where one with our maps runs,
 * and remove all pins and the directory. This ends forwarding.
 * With an agent running, it calls attach_detach() and then attach_close(); without one,
 * attach_detach_pinned() takes the lock itself (-EBUSY: an agent runs; -ENOENT: nothing there).
 */
int attach_detach(struct attach *a, struct attach_error *err);
int attach_detach_pinned(const char *pin_dir, struct attach_error *err);

#endif
