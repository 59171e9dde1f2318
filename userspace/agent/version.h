/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_AGENT_VERSION_H
#define SLUICE_AGENT_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
