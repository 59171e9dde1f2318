/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The limit of open files -> who gets a descriptor when they run short: the operator, not one more
 * check or client. The kernel gives out the lowest number that is free, so numbers just below the
 * limit say that nearly all others are in use.
 */
#ifndef SLUICE_AGENT_FILES_H
#define SLUICE_AGENT_FILES_H

#include <stdint.h>

/* For the control socket, metrics, a reload: numbers that checks and fallback clients do not get. */
#define FILES_KEPT 96

/* How many this process may open; UINT32_MAX: as many as it likes. */
uint32_t files_limit(void);

/*
 * A socket to a node, or of a client, that was just opened (or -1, with errno) -> the same, if it may
 * be used. Otherwise it is closed: -1, with errno EMFILE.
 */
int files_admit(int fd);

#endif
