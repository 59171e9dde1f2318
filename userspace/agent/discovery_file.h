/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of nodes -> targets. JSON in the form of Prometheus' file_sd:
 *
 *	[{"targets": ["10.0.1.11:8000", "10.0.1.12"], "labels": {"weight": "2", "tier": "1"}}]
 *
 * Targets are addresses, with or without a port: names are not looked up. Of the labels weight,
 * tier and slots count, as whole numbers; others are left to those who read the file too. Whole or
 * not at all: one bad target refuses the file.
 * Source: Prometheus documentation, configuration, <file_sd_config>.
 */
#ifndef SLUICE_AGENT_DISCOVERY_FILE_H
#define SLUICE_AGENT_DISCOVERY_FILE_H

#include <stddef.h>

#include "userspace/agent/discovery_answer.h"

#define DISCOVERY_FILE_SIZE_MAX (4u << 20)

/*
 * Returns 0 and an answer that is the caller's; or, with one line in error: -EINVAL for what the
 * file says, -ENODATA if it names no target, -E2BIG if it names more than max, -ENOMEM.
 */
int discovery_file_parse(const char *text, size_t len, uint32_t max,
			 struct discovery_answer *ret_answer, char error[DISCOVERY_ERROR_MAX]);

/* The same from a file; also -EFBIG over DISCOVERY_FILE_SIZE_MAX, -ENOENT, -EACCES … */
int discovery_file_read(const char *path, uint32_t max, struct discovery_answer *ret_answer,
			char error[DISCOVERY_ERROR_MAX]);

#endif
