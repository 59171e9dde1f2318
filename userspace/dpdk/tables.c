// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/tables.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/attach.h"
#include "userspace/lib/cleanup.h"

__attribute__((format(printf, 3, 4))) static int fail(char *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, DPDK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return r;
}

/* The layout version, which is the first word of every version of map "control". */
static int read_abi(const char *pin_dir, uint32_t *ret_abi)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info), zero = 0;
	char path[PATH_MAX], value[4096];

	if (snprintf(path, sizeof(path), "%s/control", pin_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	if (info.value_size < sizeof(*ret_abi) || info.value_size > sizeof(value))
		return -EPROTO;
	if (bpf_map_lookup_elem(fd, &zero, value) < 0)
		return -errno;
	memcpy(ret_abi, value, sizeof(*ret_abi));
	return 0;
}

static int check_abi(const char *pin_dir, char *err)
{
	uint32_t abi = 0;
	int r = read_abi(pin_dir, &abi);

	if (r == -ENOENT)
		return fail(err, r, "nothing is pinned under %s: start sluiced (dataplane: dpdk) "
			    "first", pin_dir);
	if (r == -EPERM || r == -EACCES)
		return fail(err, r, "cannot open %s/control: %s (needs root, or CAP_BPF)", pin_dir,
			    strerror(-r));
	if (r < 0)
		return fail(err, r, "cannot read %s/control: %s", pin_dir, strerror(-r));
	if (abi == 0)
		return fail(err, -EAGAIN, "the tables under %s are half made: is sluiced "
			    "starting?", pin_dir);
	if (abi != LB_ABI_VERSION)
		return fail(err, -EPROTO, "the tables under %s have layout version %u, this "
			    "program knows %u: use sluiced and sluice-dpdk of one build", pin_dir,
			    abi, LB_ABI_VERSION);
	return 0;
}

int dpdk_tables_open(const char *pin_dir, struct tables *ret, char err[DPDK_ERROR_MAX])
{
	char command[ATTACH_COMMAND_MAX];
	struct tables t;
	int r;

	r = check_abi(pin_dir, err);
	if (r < 0)
		return r;
	r = tables_open(pin_dir, &t);
	if (r < 0)
		return fail(err, r, "cannot map the tables under %s: %s", pin_dir,
			    r == -EPROTO ? "another layout: use sluiced and sluice-dpdk of one "
					   "build"
					 : strerror(-r));
	if (!tables_are_dpdk(&t))
		r = fail(err, -EINVAL, "the tables under %s are made for XDP: set dataplane: dpdk, "
			 "run '%s' and start sluiced again", pin_dir,
			 attach_detach_command(pin_dir, command));
	else if (!t.control->hash.finish)
		r = fail(err, -EAGAIN, "the tables under %s are not filled yet: is sluiced "
			 "starting?", pin_dir);
	if (r < 0) {
		tables_close(&t);
		return r;
	}
	*ret = t;
	return 0;
}

bool dpdk_tables_gone(const struct tables *t)
{
	return __atomic_load_n(&t->control->abi, __ATOMIC_RELAXED) != LB_ABI_VERSION;
}

/* What a worker writes without being asked to share: whole cache lines, from a page's start on. */
#define CACHE_LINE 64
_Static_assert(sizeof(struct lb_worker) % CACHE_LINE == 0, "workers share a line");
_Static_assert(sizeof(struct lb_limit) % CACHE_LINE == 0, "limits share a line");
_Static_assert(LB_VIPS_MAX * sizeof(struct lb_count) % CACHE_LINE == 0, "VIP counters do");
_Static_assert(LB_BACKENDS_MAX * sizeof(struct lb_count) % CACHE_LINE == 0, "node counters do");
_Static_assert(LB_REASONS_MAX * sizeof(uint64_t) % CACHE_LINE == 0, "reasons do");

void dpdk_tables_view(const struct tables *t, uint32_t n, struct dpdk_tables *ret_view)
{
	assert(n < LB_WORKERS_MAX && n < t->n_cpus);

	*ret_view = (struct dpdk_tables){
		.control = t->control,
		.vip_index = t->vip_index,
		.vips = t->vips,
		.pools = t->pools,
		.turns = t->turns,
		.members = t->members,
		.slots = t->slots,
		.backends = t->backends,
		.loads = t->loads,
		.limit = &t->limits[n],
		.vip_counts = &t->vip_stats[(size_t)n * LB_VIPS_MAX],
		.backend_counts = &t->backend_stats[(size_t)n * LB_BACKENDS_MAX],
		.counters = &t->reasons[(size_t)n * LB_REASONS_MAX],
		.recent = t->recent,
		.n_slots = t->n_pools * LB_SLOTS_MAX,
	};
	tables_view(t, TABLES_FLOWS, &ret_view->flows);
	tables_view(t, TABLES_HALF_OPEN, &ret_view->half_open);
	tables_view(t, TABLES_NAT_FLOWS, &ret_view->nat_flows);
	tables_view(t, TABLES_NAT_REPLY, &ret_view->nat_replies);
}

uint32_t dpdk_tables_recover(const struct tables *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++)
		t->dpdk_workers[i].pid = 0;
	for (enum tables_dpdk i = TABLES_FLOWS; i <= TABLES_NAT_REPLY; i++) {
		struct flow_table view;

		tables_view(t, i, &view);
		n += flow_table_recover(&view);
	}
	return n;
}
