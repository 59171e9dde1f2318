/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/tables.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

/* What multiplies `per` to the number of entries. */
enum count_of { COUNT_ONE = 1, COUNT_CPUS, COUNT_POOLS, COUNT_BUCKETS };

struct table_form {
	const char *name;
	size_t offset; /* of the pointer in struct tables */
	uint32_t value_size;
	uint32_t per;
	enum count_of count_of;
	size_t count_at; /* COUNT_BUCKETS: where struct tables keeps the number */
};

#define FORM(field, per_n, of)                                                                     \
	{                                                                                          \
		.name = #field, .offset = offsetof(struct tables, field),                          \
		.value_size = sizeof(*((struct tables *)NULL)->field), .per = (per_n),             \
		.count_of = (of),                                                                  \
	}

#define BUCKETS(field, count)                                                                      \
	{                                                                                          \
		.name = #field, .offset = offsetof(struct tables, field),                          \
		.value_size = sizeof(*((struct tables *)NULL)->field), .per = 1,                   \
		.count_of = COUNT_BUCKETS, .count_at = offsetof(struct tables, buckets.count),     \
	}

static const struct table_form forms[TABLES_N] = {
	FORM(control, 1, COUNT_ONE),
	FORM(vip_index, LB_VIP_BUCKETS, COUNT_ONE),
	FORM(vips, LB_VIPS_MAX, COUNT_ONE),
	FORM(vip_info, LB_VIPS_MAX, COUNT_ONE),
	FORM(pools, LB_POOLS_MAX, COUNT_ONE),
	FORM(pool_info, LB_POOLS_MAX, COUNT_ONE),
	FORM(turns, 2 * LB_POOLS_MAX, COUNT_ONE),
	FORM(members, 2 * LB_POOLS_MAX, COUNT_ONE),
	FORM(slots, LB_SLOTS_MAX, COUNT_POOLS),
	FORM(backends, LB_BACKENDS_MAX, COUNT_ONE),
	FORM(backend_info, LB_BACKENDS_MAX, COUNT_ONE),
	FORM(loads, LB_BACKENDS_MAX, COUNT_ONE),
	FORM(vip_stats, LB_VIPS_MAX, COUNT_CPUS),
	FORM(backend_stats, LB_BACKENDS_MAX, COUNT_CPUS),
	FORM(reasons, LB_REASONS_MAX, COUNT_CPUS),
	FORM(limits, 1, COUNT_CPUS),
	FORM(recent, LB_RECENT_CELLS, COUNT_ONE),
	BUCKETS(dpdk_flows, flows),
	BUCKETS(dpdk_half_open, half_open),
	BUCKETS(dpdk_nat_flows, nat_flows),
	BUCKETS(dpdk_nat_reply, nat_reply),
	FORM(dpdk_workers, LB_WORKERS_MAX, COUNT_ONE),
};

static void **slot_of(struct tables *t, const struct table_form *f)
{
	return (void **)((char *)t + f->offset);
}

static uint32_t *count_slot(struct tables *t, const struct table_form *f)
{
	return (uint32_t *)((char *)t + f->count_at);
}

static uint32_t multiplier(const struct tables *t, enum count_of of)
{
	switch (of) {
	case COUNT_CPUS:
		return t->n_cpus;
	case COUNT_POOLS:
		return t->n_pools;
	default:
		return 1;
	}
}

static size_t page_align(size_t n)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (n + page - 1) / page * page;
}

/* A pinned map against the contract; t->n_cpus is known by now, n_pools is what "slots" holds. */
static int check_form(const struct tables *t, const struct table_form *f,
		      const struct bpf_map_info *info)
{
	if (info->type != BPF_MAP_TYPE_ARRAY || !(info->map_flags & BPF_F_MMAPABLE) ||
	    info->key_size != sizeof(uint32_t) || info->value_size != f->value_size)
		return -EPROTO;
	if (f->count_of == COUNT_POOLS)
		return info->max_entries % f->per == 0 && info->max_entries / f->per > 0 &&
				       info->max_entries / f->per <= LB_POOLS_MAX
			       ? 0
			       : -EPROTO;
	if (f->count_of == COUNT_BUCKETS)
		return info->max_entries ? 0 : -EPROTO;
	return info->max_entries == f->per * multiplier(t, f->count_of) ? 0 : -EPROTO;
}

static int open_pin(const char *pin_dir, const char *name, struct bpf_map_info *ret_info,
		    int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret_info = info;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int map_pin(struct tables *t, unsigned int i, const char *pin_dir)
{
	const struct table_form *f = &forms[i];
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	size_t size;
	void *p;
	int r;

	r = open_pin(pin_dir, f->name, &info, &fd);
	if (r < 0)
		return r;
	r = check_form(t, f, &info);
	if (r < 0)
		return r;
	size = page_align((size_t)info.max_entries * f->value_size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*slot_of(t, f) = p;
	t->sizes[i] = size;
	if (f->count_of == COUNT_POOLS)
		t->n_pools = info.max_entries / f->per;
	if (f->count_of == COUNT_BUCKETS)
		*count_slot(t, f) = info.max_entries;
	return 0;
}

static int open_hash(const char *pin_dir, const char *name, int *ret_fd, uint32_t *ret_max)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	int r;

	r = open_pin(pin_dir, name, &info, &fd);
	if (r < 0)
		return r;
	if ((info.type != BPF_MAP_TYPE_HASH && info.type != BPF_MAP_TYPE_LRU_HASH) ||
	    info.key_size != sizeof(struct lb_flow_key) ||
	    info.value_size != sizeof(struct lb_flow))
		return -EPROTO;
	*ret_fd = TAKE_FD(fd);
	*ret_max = info.max_entries;
	return 0;
}

static void tables_init(struct tables *t)
{
	memset(t, 0, sizeof(*t));
	t->flows_fd = -1;
	t->half_open_fd = -1;
}

static int open_all(struct tables *t, const char *pin_dir)
{
	int r;

	for (unsigned int i = 0; i < TABLES_N; i++) {
		r = map_pin(t, i, pin_dir);
		if (r < 0)
			return r;
		if (i > 0)
			continue;
		/* control is the first: it says how the others are sized */
		if (t->control->abi != LB_ABI_VERSION || t->control->n_cpus < 1 ||
		    t->control->n_cpus > LB_CPUS_MAX)
			return -EPROTO;
		t->n_cpus = t->control->n_cpus;
	}
	r = open_hash(pin_dir, "flows", &t->flows_fd, &t->flows_max);
	if (r < 0)
		return r;
	r = open_hash(pin_dir, "half_open", &t->half_open_fd, &t->half_open_max);
	if (r < 0)
		return r;
	if (tables_are_dpdk(t)) {
		t->flows_max = flow_table_room(t->buckets.flows);
		t->half_open_max = flow_table_room(t->buckets.half_open);
	}
	return 0;
}

int tables_open(const char *pin_dir, struct tables *ret_tables)
{
	struct tables t;
	int r;

	assert(pin_dir);
	assert(ret_tables);

	tables_init(&t);
	r = open_all(&t, pin_dir);
	if (r < 0) {
		tables_close(&t);
		return r;
	}
	*ret_tables = t;
	return 0;
}

int tables_alloc(uint32_t n_pools, uint32_t n_cpus, struct tables *ret_tables)
{
	struct tables t;

	assert(n_pools >= 1 && n_pools <= LB_POOLS_MAX);
	assert(n_cpus >= 1 && n_cpus <= LB_CPUS_MAX);
	assert(ret_tables);

	tables_init(&t);
	t.n_pools = n_pools;
	t.n_cpus = n_cpus;
	for (unsigned int i = 0; i < TABLES_N; i++) {
		const struct table_form *f = &forms[i];
		size_t n = (size_t)f->per * multiplier(&t, f->count_of);
		void *p;

		if (f->count_of == COUNT_BUCKETS)
			*count_slot(&t, f) = 1;

		t.sizes[i] = page_align(n * f->value_size);
		p = mmap(NULL, t.sizes[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
		if (p == MAP_FAILED) {
			tables_close(&t);
			return -ENOMEM;
		}
		*slot_of(&t, f) = p;
	}
	t.control->n_cpus = n_cpus;
	t.control->epoch = 1;
	t.control->abi = LB_ABI_VERSION;
	*ret_tables = t;
	return 0;
}

void tables_close(struct tables *t)
{
	if (!t)
		return;
	for (unsigned int i = 0; i < TABLES_N; i++) {
		void *p = *slot_of(t, &forms[i]);

		if (p)
			munmap(p, t->sizes[i]);
	}
	/* of a zeroed struct the descriptors are 0 and not ours */
	if (t->flows_max && t->flows_fd >= 0)
		close(t->flows_fd);
	if (t->half_open_max && t->half_open_fd >= 0)
		close(t->half_open_fd);
	tables_init(t);
}

bool tables_are_dpdk(const struct tables *t)
{
	return t->buckets.flows > 1;
}

void tables_view(const struct tables *t, enum tables_dpdk which, struct flow_table *ret_view)
{
	const struct {
		void *buckets;
		uint32_t n;
	} tables[] = {
		[TABLES_FLOWS] = {t->dpdk_flows, t->buckets.flows},
		[TABLES_HALF_OPEN] = {t->dpdk_half_open, t->buckets.half_open},
		[TABLES_NAT_FLOWS] = {t->dpdk_nat_flows, t->buckets.nat_flows},
		[TABLES_NAT_REPLY] = {t->dpdk_nat_reply, t->buckets.nat_reply},
	};

	flow_table_init(ret_view,
			which == TABLES_NAT_REPLY ? FLOW_TABLE_REPLIES : FLOW_TABLE_FLOWS,
			tables[which].buckets, tables[which].n, t->control->hash.finish,
			t->dpdk_workers);
}

static void sum_counts(const struct lb_count *counts, uint32_t n_cpus, uint32_t region, uint32_t id,
		       struct lb_count *ret_count)
{
	struct lb_count sum = {0};

	for (uint32_t cpu = 0; cpu < n_cpus; cpu++) {
		const struct lb_count *c = &counts[(size_t)cpu * region + id];

		sum.packets += __atomic_load_n(&c->packets, __ATOMIC_RELAXED);
		sum.bytes += __atomic_load_n(&c->bytes, __ATOMIC_RELAXED);
		sum.flows += __atomic_load_n(&c->flows, __ATOMIC_RELAXED);
		sum.entries += __atomic_load_n(&c->entries, __ATOMIC_RELAXED);
		sum.promoted += __atomic_load_n(&c->promoted, __ATOMIC_RELAXED);
	}
	*ret_count = sum;
}

void tables_vip_count(const struct tables *t, uint32_t vip, struct lb_count *ret_count)
{
	assert(vip < LB_VIPS_MAX);
	sum_counts(t->vip_stats, t->n_cpus, LB_VIPS_MAX, vip, ret_count);
}

void tables_backend_count(const struct tables *t, uint32_t backend, struct lb_count *ret_count)
{
	assert(backend < LB_BACKENDS_MAX);
	sum_counts(t->backend_stats, t->n_cpus, LB_BACKENDS_MAX, backend, ret_count);
}

uint64_t tables_reason(const struct tables *t, uint32_t reason)
{
	uint64_t sum = 0;

	assert(reason < LB_REASONS_MAX);
	for (uint32_t cpu = 0; cpu < t->n_cpus; cpu++)
		sum += __atomic_load_n(&t->reasons[(size_t)cpu * LB_REASONS_MAX + reason],
				       __ATOMIC_RELAXED);
	return sum;
}

struct reason_words {
	const char *name;
	const char *text;
};

static const struct reason_words words[LB_REASONS_MAX] = {
#define X(e, n, t) [LB_R_##e] = {n, t},
	LB_REASONS(X)
#undef X
#define X(e, n, t) [LB_EV_##e] = {n, t},
		LB_EVENTS(X)
#undef X
};

const char *tables_reason_name(uint32_t reason)
{
	return reason < LB_REASONS_MAX ? words[reason].name : NULL;
}

const char *tables_reason_text(uint32_t reason)
{
	return reason < LB_REASONS_MAX ? words[reason].text : NULL;
}
