/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that may do all -> one that may do what the agent does from now on.
 *
 * Needed before: mounting bpffs, opening programs and maps by their ids (libxdp's dispatcher), the
 * limit of open files, the control socket's group. Needed after: maps, programs and their
 * attachment, routes and rules (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON), and ports under 1024 for the
 * fallback responder and the metrics (CAP_NET_BIND_SERVICE).
 *
 * The process stays root by its id, so files must be readable by root as their owner, group or
 * others: nothing overrides their permissions any more.
 */
#ifndef SLUICE_AGENT_PRIVILEGES_H
#define SLUICE_AGENT_PRIVILEGES_H

#include <stdbool.h>

/*
 * Keep those four capabilities, of them those that are there, in all sets but ambient, for good
 * (no_new_privs); then leave only the system calls that the agent and its libraries make: others
 * fail with EPERM. A failure is better than an end here: an agent that cannot do one thing still
 * judges the nodes.
 *
 * Call it while the process has one thread: later ones inherit all of it. Threads that are about to
 * end are waited for, for a moment. Returns 0; -EBUSY: other threads run; -errno. *ret_what, on
 * failure: what could not be done, in words.
 */
int privileges_drop(const char **ret_what);

/* The part about system calls alone, for this thread and those it starts. */
int privileges_filter(void);

/* Whether the dispatcher of libxdp can be changed: that takes CAP_SYS_ADMIN. */
bool privileges_admin(void);

#endif
