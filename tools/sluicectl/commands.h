/* SPDX-License-Identifier: BSD-2-Clause */
/* One function a command; each returns the exit status. argv[0] is the first argument. */
#ifndef SLUICECTL_COMMANDS_H
#define SLUICECTL_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>

struct ctl {
	const char *socket;
	bool json;
	bool silent; /* that no agent answers is not worth a line: it is asked again */
};

enum ctl_status {
	CTL_OK = 0,
	CTL_REFUSED = 1,
	CTL_USAGE = 2,
	CTL_NO_AGENT = 3,
	CTL_NO_NODE = 4,
	CTL_DEADLINE = 5,
	CTL_CHANGES = 6,       /* diff: a reload would change something */
	CTL_NEEDS_RESTART = 7, /* diff: a reload would refuse it */
	CTL_DRILL_FAILED = 8,
};

/*
 * Keep of these nodes (an array) what the word names: a pool, a node, a state; NULL: all. Nothing in a
 * state is an answer; a name that nobody has is CTL_NO_NODE, after one line on standard error.
 */
int backends_keep(json_t *nodes, const char *word);

int cmd_status(const struct ctl *ctl, int argc, char **argv);
int cmd_backends(const struct ctl *ctl, int argc, char **argv);
int cmd_top(const struct ctl *ctl, int argc, char **argv);
int cmd_vips(const struct ctl *ctl, int argc, char **argv);
int cmd_drain(const struct ctl *ctl, int argc, char **argv);
int cmd_drill(const struct ctl *ctl, int argc, char **argv);
int cmd_undrain(const struct ctl *ctl, int argc, char **argv);
int cmd_weight(const struct ctl *ctl, int argc, char **argv);
int cmd_check_config(const struct ctl *ctl, int argc, char **argv);
int cmd_diff(const struct ctl *ctl, int argc, char **argv);
int cmd_reload(const struct ctl *ctl, int argc, char **argv);
int cmd_detach(const struct ctl *ctl, int argc, char **argv);

#endif
