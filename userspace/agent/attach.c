/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of things: lock, maps, programs; and the way back. */
#include "userspace/agent/attach.h"

#include <assert.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "maps/abi.h"
#include "userspace/agent/attach_priv.h"

int attach_fail(struct attach_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code < 0 ? code : -EIO;
}

const char *attach_detach_command(const char *pin_dir, char buf[ATTACH_COMMAND_MAX])
{
	bool usual = !strcmp(pin_dir, ATTACH_PIN_DIR);

	snprintf(buf, ATTACH_COMMAND_MAX, "sluicectl detach%s%s", usual ? "" : " --pin-dir ",
		 usual ? "" : pin_dir);
	return buf;
}

const char *attach_pin_dir(const struct attach *a)
{
	return a->pin_dir;
}

static struct attach *new_attach(const char *pin_dir)
{
	struct attach *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->lock_fd = -1;
	snprintf(a->pin_dir, sizeof(a->pin_dir), "%s", pin_dir);
	return a;
}

static int open_locked(struct attach *a, struct attach_error *err)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 1 || cpus > LB_CPUS_MAX)
		return attach_fail(err, cpus < 0 ? cpus : -E2BIG,
				   "this host may have %d CPUs, and 1 to %d are supported", cpus,
				   LB_CPUS_MAX);
	a->n_cpus = cpus;
	return attach_maps_open(a, err);
}

int attach_open(const struct attach_settings *settings, struct attach **ret,
		struct attach_error *err)
{
	struct attach *a;
	int r;

	assert(settings && settings->pin_dir && ret && err);
	assert(settings->n_pools >= 1 && settings->n_pools <= LB_POOLS_MAX);
	assert(settings->flows && settings->half_open);

	err->text[0] = '\0';
	attach_log_start();
	a = new_attach(settings->pin_dir);
	if (!a)
		return attach_fail(err, -ENOMEM, "out of memory");
	a->settings = *settings;
	a->settings.pin_dir = a->pin_dir;
	r = attach_pins_lock(a->pin_dir, &a->lock_fd, err);
	if (r >= 0)
		r = open_locked(a, err);
	if (r < 0) {
		if (a->lock_fd >= 0)
			(void)rmdir(a->pin_dir); /* only if nothing is in it */
		attach_close(&a);
		return r;
	}
	*ret = a;
	return 0;
}

void attach_close(struct attach **a)
{
	if (!a || !*a)
		return;
	attach_chains_close(*a);
	attach_xdp_close(*a);
	attach_maps_close(*a);
	if ((*a)->lock_fd >= 0)
		close((*a)->lock_fd);
	free((*a)->status);
	free(*a);
	*a = NULL;
}

enum attach_start attach_start(const struct attach *a)
{
	return a->start;
}

const struct attach_status *attach_status(const struct attach *a, uint32_t *ret_n)
{
	*ret_n = a->n_status;
	return a->status;
}

const char *attach_program_tag(const struct attach *a)
{
	return a->tag;
}

/*
 * Programs first, then the mark that makes a crash from here on harmless, then the pins; the
 * directory last, and with it the lock.
 */
int attach_detach(struct attach *a, struct attach_error *err)
{
	int r;

	assert(a && err);

	err->text[0] = '\0';
	r = attach_xdp_off(a, NULL, 0, err);
	if (r < 0)
		return r;
	r = attach_maps_disown(a->pin_dir);
	if (r < 0 && r != -ENOENT)
		return attach_fail(err, r, "cannot write %s/control: %s", a->pin_dir, strerror(-r));
	r = attach_pins_remove(a->pin_dir, "control", err);
	if (r < 0)
		return r;
	if (rmdir(a->pin_dir) < 0 && errno != ENOENT)
		return attach_fail(err, -errno, "cannot remove %s: %s", a->pin_dir,
				   strerror(errno));
	attach_chains_close(a);
	attach_xdp_close(a);
	a->n_status = 0;
	return 0;
}

int attach_detach_pinned(const char *pin_dir, struct attach_error *err)
{
	struct attach *a;
	int r;

	assert(pin_dir && err);

	err->text[0] = '\0';
	attach_log_start();
	if (access(pin_dir, F_OK) < 0)
		return attach_fail(err, -errno, "nothing is pinned under %s: %s", pin_dir,
				   strerror(errno));
	a = new_attach(pin_dir);
	if (!a)
		return attach_fail(err, -ENOMEM, "out of memory");
	r = attach_pins_lock_existing(pin_dir, &a->lock_fd, err);
	if (r == -ESTALE)
		r = attach_fail(err, -ENOENT, "%s has just been removed", pin_dir);
	if (r >= 0) {
		r = attach_maps_control_id(pin_dir, &a->control_id);
		if (r < 0)
			r = attach_fail(err, r, "%s holds no maps of Sluice (control: %s)", pin_dir,
					strerror(-r));
	}
	if (r >= 0)
		r = attach_detach(a, err);
	attach_close(&a);
	return r;
}
