/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration -> a running EAL (DPDK's environment), quietly, or one line that says why not. */
#ifndef SLUICE_DPDK_EAL_H
#define SLUICE_DPDK_EAL_H

#include "userspace/agent/config.h"
#include "userspace/dpdk/tables.h"

/*
 * extra: n_extra arguments of the command line, which come last. Returns 0; or -errno with one
 * line in err. Once in the life of a process.
 */
int eal_start(const struct config *cfg, char **extra, int n_extra, char err[DPDK_ERROR_MAX]);

/* DPDK's log goes to standard error; otherwise it is kept, and told when something fails. */
void eal_log_all(void);

/* What DPDK said first since eal_said_clear(), without its prefix; "" if it was silent. */
const char *eal_said(void);
void eal_said_clear(void);

#endif
