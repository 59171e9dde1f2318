/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices of the configuration, looked at before DPDK does: what it would refuse with a riddle, or
 * take away from the kernel, is refused here with one line.
 */
#ifndef SLUICE_DPDK_DEVICES_H
#define SLUICE_DPDK_DEVICES_H

#include <stdbool.h>

#include "userspace/agent/config.h"
#include "userspace/dpdk/tables.h"

/* "0000:01:00.0" or "01:00.0", with or without ",key=value". */
bool device_is_pci(const char *device);

/*
 * Every interface names a device, no two the same; a PCI device is there, and bound to a driver
 * that DPDK works with; no name is one of the kernel's. Returns 0; or -errno and a line in err.
 */
int devices_check(const struct config *cfg, char err[DPDK_ERROR_MAX]);

#endif
