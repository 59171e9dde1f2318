// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/devices.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "userspace/dpdk/worker.h"
#include "userspace/lib/cleanup.h"

#define NAME_MAX_LEN 64
#define SYSFS	     "/sys"

__attribute__((format(printf, 3, 4))) static int fail(char *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, DPDK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return r;
}

bool device_is_pci(const char *device)
{
	return isxdigit((unsigned char)device[0]) && strchr(device, ':');
}

/* "01:00.0,key=value" -> "0000:01:00.0". Returns 0; -EINVAL. */
static int pci_address(const char *device, char ret[NAME_MAX_LEN])
{
	unsigned int domain = 0, bus, dev, fn;
	int end = 0;

	if (sscanf(device, "%4x:%2x:%2x.%1x%n", &domain, &bus, &dev, &fn, &end) != 4 || !end) {
		domain = 0;
		if (sscanf(device, "%2x:%2x.%1x%n", &bus, &dev, &fn, &end) != 3)
			return -EINVAL;
	}
	if (device[end] && device[end] != ',')
		return -EINVAL;
	snprintf(ret, NAME_MAX_LEN, "%04x:%02x:%02x.%x", domain, bus, dev, fn);
	return 0;
}

/* The last part of what a link points to. Returns 0; -ENOENT. */
static int link_name(const char *path, char ret[NAME_MAX_LEN])
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	if (n < 0)
		return -ENOENT;
	target[n] = '\0';
	slash = strrchr(target, '/');
	snprintf(ret, NAME_MAX_LEN, "%.*s", NAME_MAX_LEN - 1, slash ? slash + 1 : target);
	return 0;
}

/* Drivers that hand a device to DPDK, or share it. */
static bool driver_fits(const char *driver)
{
	static const char *const fit[] = {"vfio-pci",  "uio_pci_generic", "igb_uio",
					  "mlx5_core", "mlx4_core",	  "mana"};

	for (size_t i = 0; i < ARRAY_SIZE(fit); i++)
		if (!strcmp(driver, fit[i]))
			return true;
	return false;
}

static int check_pci(const char *device, char *err)
{
	char address[NAME_MAX_LEN], driver[NAME_MAX_LEN], path[PATH_MAX];

	if (pci_address(device, address) < 0)
		return fail(err, -EINVAL, "device %s: a PCI address looks like 0000:01:00.0",
			    device);
	snprintf(path, sizeof(path), SYSFS "/bus/pci/devices/%s", address);
	if (access(path, F_OK) < 0)
		return fail(err, -ENODEV, "device %s: there is no PCI device %s ('lspci -D' lists "
			    "them)", device, address);
	snprintf(path, sizeof(path), SYSFS "/bus/pci/devices/%s/driver", address);
	if (link_name(path, driver) < 0)
		return fail(err, -ENODEV, "device %s has no driver: 'dpdk-devbind.py -b vfio-pci "
			    "%s' gives it to DPDK", device, address);
	if (!driver_fits(driver))
		return fail(err, -EBUSY, "device %s is the kernel's (driver %s): 'dpdk-devbind.py "
			    "-b vfio-pci %s' gives it to DPDK", device, driver, address);
	return 0;
}

/* "eth0" where its address, or a driver on top of it, is meant. */
static int check_name(const char *device, char *err)
{
	char address[NAME_MAX_LEN] = "", path[PATH_MAX];

	if (strlen(device) >= IF_NAMESIZE || !if_nametoindex(device))
		return 0;
	snprintf(path, sizeof(path), SYSFS "/class/net/%s/device", device);
	if (link_name(path, address) < 0 || !device_is_pci(address))
		address[0] = '\0';
	return fail(err, -EINVAL, "device %s is a name of the kernel's: give DPDK %s%s"
		    "\"net_af_xdp0,iface=%s\"", device, address[0] ? address : "",
		    address[0] ? " (its PCI address), or " : "", device);
}

static bool same_device(const char *a, const char *b)
{
	size_t len = strcspn(a, ",");

	return len == strcspn(b, ",") && !strncmp(a, b, len);
}

static int check_one(const struct config *cfg, uint32_t i, char *err)
{
	const char *device = cfg->interfaces[i].device;

	if (!device)
		return fail(err, -EINVAL, "%s: interfaces[%u] (%s) names no device for DPDK: add "
			    "'device: ADDRESS-OR-NAME'", cfg->path, i, cfg->interfaces[i].name);
	for (uint32_t k = 0; k < i; k++)
		if (same_device(device, cfg->interfaces[k].device))
			return fail(err, -EINVAL, "%s: interfaces[%u] (%s) and interfaces[%u] (%s) "
				    "name the same device", cfg->path, k, cfg->interfaces[k].name,
				    i, cfg->interfaces[i].name);
	if (device_is_pci(device))
		return check_pci(device, err);
	return check_name(device, err);
}

int devices_check(const struct config *cfg, char err[DPDK_ERROR_MAX])
{
	int r = 0;

	if (cfg->n_interfaces > WORKER_PORTS_MAX)
		return fail(err, -EINVAL, "%s: %u interfaces: at most %d are supported with DPDK",
			    cfg->path, cfg->n_interfaces, WORKER_PORTS_MAX);
	for (uint32_t i = 0; i < cfg->n_interfaces && r == 0; i++)
		r = check_one(cfg, i, err);
	return r;
}
