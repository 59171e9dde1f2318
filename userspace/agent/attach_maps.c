/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps: made and pinned, or found pinned and compared with what this build expects. */
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer.skel.h"
#include "maps/abi.h"
#include "maps/stats.h"
#include "userspace/agent/attach_priv.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/flow_table.h"

#define WAY_OVER "; run '%s' (this stops forwarding), then start again"

static void close_skel(struct balancer_bpf **skel)
{
	balancer_bpf__destroy(*skel);
}

/* --- sizes ------------------------------------------------------------------------------------ */

struct map_size {
	const char *name;
	uint32_t entries;
	const char *cause; /* what decides it, for the operator */
};

#define SIZES_N 13

static void sizes_of(const struct attach *a, struct map_size ret_sizes[SIZES_N])
{
	const struct attach_settings *s = &a->settings;
	bool d = s->dpdk;
	const struct map_size sizes[SIZES_N] = {
		{"slots", s->n_pools * LB_SLOTS_MAX, "the limit of pools"},
		{"flows", d ? 1 : s->flows, "the limit of flows (and dataplane)"},
		{"half_open", d ? 1 : s->half_open, "the limit of half-open flows (and dataplane)"},
		{"nat_flows", d || !s->nat_flows ? 1 : s->nat_flows, "the limit of nat flows (and dataplane)"},
		{"nat_replies", d || !s->nat_flows ? 1 : s->nat_flows, "the limit of nat flows (and dataplane)"},
		{"dpdk_flows", d ? flow_table_buckets(s->flows) : 1, "dataplane (and limit of flows)"},
		{"dpdk_half_open", d ? flow_table_buckets(s->half_open) : 1,
		 "dataplane (and limit of half-open flows)"},
		{"dpdk_nat_flows", d ? flow_table_buckets(s->nat_flows) : 1,
		 "dataplane (and limit of nat flows)"},
		{"dpdk_nat_reply", d ? flow_table_buckets(s->nat_flows) : 1,
		 "dataplane (and limit of nat flows)"},
		{"vip_stats", a->n_cpus * LB_VIPS_MAX, "the number of CPUs"},
		{"backend_stats", a->n_cpus * LB_BACKENDS_MAX, "the number of CPUs"},
		{"reasons", a->n_cpus * LB_REASONS_MAX, "the number of CPUs"},
		{"limits", a->n_cpus, "the number of CPUs"},
	};

	memcpy(ret_sizes, sizes, sizeof(sizes));
}

/* Open the skeleton with the sizes of this host; the caller destroys it. */
static int open_skel(const struct attach *a, struct balancer_bpf **ret, struct attach_error *err)
{
	struct map_size sizes[SIZES_N];
	struct balancer_bpf *skel;
	struct bpf_map *map;

	skel = balancer_bpf__open();
	if (!skel)
		return attach_fail(err, -errno, "cannot read the built-in packet program: %s",
				   strerror(errno));
	sizes_of(a, sizes);
	for (unsigned int i = 0; i < SIZES_N; i++) {
		map = bpf_object__find_map_by_name(skel->obj, sizes[i].name);
		assert(map);
		bpf_map__set_max_entries(map, sizes[i].entries);
	}
	*ret = skel;
	return 0;
}

/* --- comparison ------------------------------------------------------------------------------- */

static const struct btf_type *plain_type(const struct btf *btf, uint32_t id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);

	while (t && (btf_is_mod(t) || btf_is_typedef(t)))
		t = btf__type_by_id(btf, t->type);
	return t;
}

static bool same_type(const struct btf *a, uint32_t a_id, const struct btf *b, uint32_t b_id,
		      unsigned int depth);

static bool same_members(const struct btf *a, const struct btf_type *at, const struct btf *b,
			 const struct btf_type *bt, unsigned int depth)
{
	const struct btf_member *am = btf_members(at), *bm = btf_members(bt);

	if (btf_vlen(at) != btf_vlen(bt))
		return false;
	for (unsigned int i = 0; i < btf_vlen(at); i++) {
		if (am[i].offset != bm[i].offset ||
		    strcmp(btf__name_by_offset(a, am[i].name_off),
			   btf__name_by_offset(b, bm[i].name_off)) ||
		    !same_type(a, am[i].type, b, bm[i].type, depth))
			return false;
	}
	return true;
}

/* Layout and names of members; names of types may differ. */
static bool same_type(const struct btf *a, uint32_t a_id, const struct btf *b, uint32_t b_id,
		      unsigned int depth)
{
	const struct btf_type *at = plain_type(a, a_id), *bt = plain_type(b, b_id);

	if (!at || !bt || depth == 0)
		return at == bt;
	if (btf_kind(at) != btf_kind(bt))
		return false;
	switch (btf_kind(at)) {
	case BTF_KIND_ARRAY:
		return btf_array(at)->nelems == btf_array(bt)->nelems &&
		       same_type(a, btf_array(at)->type, b, btf_array(bt)->type, depth - 1);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return at->size == bt->size && same_members(a, at, b, bt, depth - 1);
	case BTF_KIND_PTR:
		return true;
	default:
		return at->size == bt->size;
	}
}

/* Maps without type information (made by other tools) are taken by their sizes. */
static bool same_layout(const struct bpf_map_info *info, const struct bpf_object *obj,
			const struct bpf_map *map)
{
	const struct btf *want = bpf_object__btf(obj);
	struct btf *have;
	bool same;

	if (!info->btf_id || !want)
		return true;
	have = btf__load_from_kernel_by_id(info->btf_id);
	if (!have)
		return true;
	same = same_type(have, info->btf_value_type_id, want, bpf_map__btf_value_type_id(map),
			 16) &&
	       same_type(have, info->btf_key_type_id, want, bpf_map__btf_key_type_id(map), 16);
	btf__free(have);
	return same;
}

static const char *cause_of(const struct attach *a, const char *name)
{
	struct map_size sizes[SIZES_N];

	sizes_of(a, sizes);
	for (unsigned int i = 0; i < SIZES_N; i++) {
		if (!strcmp(sizes[i].name, name))
			return sizes[i].cause;
	}
	return "this build";
}

static int compare_map(const struct attach *a, int fd, const struct bpf_object *obj,
		       const struct bpf_map *map, struct attach_error *err)
{
	const char *name = attach_map_name(map);
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char command[ATTACH_COMMAND_MAX];

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return attach_fail(err, -errno, "cannot look at the pinned map %s: %s", name,
				   strerror(errno));
	if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map) ||
	    info.map_flags != bpf_map__map_flags(map) || !same_layout(&info, obj, map))
		return attach_fail(err, -EPROTO,
				   "%s/%s has another layout than this build's" WAY_OVER,
				   a->pin_dir, name, attach_detach_command(a->pin_dir, command));
	if (info.max_entries != bpf_map__max_entries(map))
		return attach_fail(err, -EINVAL,
				   "%s/%s has %u entries, %s makes it %u; set that back" WAY_OVER,
				   a->pin_dir, name, info.max_entries, cause_of(a, name),
				   bpf_map__max_entries(map),
				   attach_detach_command(a->pin_dir, command));
	return 0;
}

/* --- pins ------------------------------------------------------------------------------------- */

static int pin_path(const char *dir, const char *name, char ret_path[PATH_MAX])
{
	return snprintf(ret_path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int open_pin(const char *dir, const char *name, int *ret_fd)
{
	char path[PATH_MAX];
	int fd, r;

	r = pin_path(dir, name, path);
	if (r < 0)
		return r;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int read_control(int fd, void **ret_value, uint32_t *ret_size)
{
	_cleanup_free_ char *value = NULL;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), zero = 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size < sizeof(uint32_t))
		return -EPROTO;
	value = calloc(1, info.value_size);
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &zero, value) < 0)
		return -errno;
	*ret_value = TAKE_PTR(value);
	*ret_size = info.value_size;
	return 0;
}

/* The layout version is the first word in every version. 0: half made. */
static int read_abi(const char *dir, uint32_t *ret_abi)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ void *value = NULL;
	uint32_t size;
	int r;

	r = open_pin(dir, "control", &fd);
	if (r >= 0)
		r = read_control(fd, &value, &size);
	if (r < 0)
		return r;
	memcpy(ret_abi, value, sizeof(*ret_abi));
	return 0;
}

int attach_maps_disown(const char *dir)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ void *value = NULL;
	uint32_t size, zero = 0;
	int r;

	r = open_pin(dir, "control", &fd);
	if (r >= 0)
		r = read_control(fd, &value, &size);
	if (r < 0)
		return r;
	memset(value, 0, sizeof(uint32_t));
	return bpf_map_update_elem(fd, &zero, value, BPF_ANY) < 0 ? -errno : 0;
}

static int map_id(int fd, uint32_t *ret_id)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret_id = info.id;
	return 0;
}

int attach_maps_control_id(const char *dir, uint32_t *ret_id)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = open_pin(dir, "control", &fd);
	return r < 0 ? r : map_id(fd, ret_id);
}

static void keep_map(struct attach *a, const char *name, int fd)
{
	struct attach_map *m = &a->maps[a->n_maps++];

	assert(a->n_maps <= ATTACH_MAPS_MAX && strlen(name) < sizeof(m->name));
	strcpy(m->name, name);
	m->fd = fd;
}

int attach_maps_fd(const struct attach *a, const char *name)
{
	for (uint32_t i = 0; i < a->n_maps; i++) {
		if (!strcmp(a->maps[i].name, name))
			return a->maps[i].fd;
	}
	return -1;
}

void attach_maps_close(struct attach *a)
{
	while (a->n_maps)
		close(a->maps[--a->n_maps].fd);
}

/* --- adopt or make ---------------------------------------------------------------------------- */

static int adopt_maps(struct attach *a, struct attach_error *err)
{
	_cleanup_(close_skel) struct balancer_bpf *skel = NULL;
	struct bpf_map *map;
	char command[ATTACH_COMMAND_MAX];
	int r;

	r = open_skel(a, &skel, err);
	if (r < 0)
		return r;
	for (map = bpf_object__next_map(skel->obj, NULL); map;
	     map = bpf_object__next_map(skel->obj, map)) {
		int fd;

		if (!attach_map_is_shared(map))
			continue;
		r = open_pin(a->pin_dir, attach_map_name(map), &fd);
		if (r == -ENOENT)
			return attach_fail(err, -EPROTO, "%s/%s is missing" WAY_OVER, a->pin_dir,
					   attach_map_name(map),
					   attach_detach_command(a->pin_dir, command));
		if (r < 0)
			return attach_fail(err, r, "cannot open %s/%s: %s", a->pin_dir,
					   attach_map_name(map), strerror(-r));
		keep_map(a, attach_map_name(map), fd);
		r = compare_map(a, fd, skel->obj, map, err);
		if (r < 0)
			return r;
	}
	a->start = ATTACH_START_ADOPTED;
	return 0;
}

static int pin_maps(struct attach *a, const struct bpf_object *obj, struct attach_error *err)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int fd, r;

	for (map = bpf_object__next_map(obj, NULL); map; map = bpf_object__next_map(obj, map)) {
		if (!attach_map_is_shared(map))
			continue;
		r = pin_path(a->pin_dir, attach_map_name(map), path);
		if (r >= 0)
			r = bpf_map__pin(map, path);
		if (r < 0)
			return attach_fail(err, r, "cannot pin map %s under %s: %s",
					   attach_map_name(map), a->pin_dir, strerror(-r));
		r = open_pin(a->pin_dir, attach_map_name(map), &fd);
		if (r < 0)
			return attach_fail(err, r, "cannot open map %s again: %s",
					   attach_map_name(map), strerror(-r));
		keep_map(a, attach_map_name(map), fd);
	}
	return 0;
}

/* abi in a step of its own: until then the set is half made. */
static int start_control(const struct attach *a)
{
	struct lb_control c = {.epoch = 1, .n_cpus = a->n_cpus};
	int fd = attach_maps_fd(a, "control");
	uint32_t zero = 0;

	if (bpf_map_update_elem(fd, &zero, &c, BPF_ANY) < 0)
		return -errno;
	c.abi = LB_ABI_VERSION;
	return bpf_map_update_elem(fd, &zero, &c, BPF_ANY) < 0 ? -errno : 0;
}

static int make_maps(struct attach *a, struct attach_error *err)
{
	_cleanup_(close_skel) struct balancer_bpf *skel = NULL;
	int r;

	r = open_skel(a, &skel, err);
	if (r < 0)
		return r;
	bpf_program__set_autoload(skel->progs.sluice_balancer, false);
	r = balancer_bpf__load(skel);
	if (r < 0)
		return attach_fail(err, r,
				   r == -EPERM ? "cannot make the maps: %s; the agent needs root, "
						 "or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
					       : "cannot make the maps: %s (memory they need: "
						 "see the limits in the configuration)",
				   strerror(-r));
	r = pin_maps(a, skel->obj, err);
	if (r < 0)
		return r;
	r = start_control(a);
	if (r < 0)
		return attach_fail(err, r, "cannot write map control: %s", strerror(-r));
	return 0;
}

static bool has_map(const struct bpf_object *obj, const char *name)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		if (!strcmp(attach_map_name(map), name))
			return true;
	return false;
}

/* A pin that no build of ours makes, so that nothing of others is removed. */
static int refuse_foreign_pins(const struct attach *a, struct attach_error *err)
{
	_cleanup_(close_skel) struct balancer_bpf *skel = NULL;
	char name[NAME_MAX + 1];
	int r;

	r = open_skel(a, &skel, err);
	if (r < 0)
		return r;
	for (unsigned int i = 0; attach_pins_name(a->pin_dir, i, name); i++) {
		if (!has_map(skel->obj, name) &&
		    strncmp(name, ATTACH_PROGRAM_PIN, strlen(ATTACH_PROGRAM_PIN)))
			return attach_fail(err, -EEXIST,
					   "pin_dir %s holds %s, which is not Sluice's; choose a "
					   "directory of its own",
					   a->pin_dir, name);
	}
	return 0;
}

/* What is there: 1 a whole set, 0 nothing, -ESTALE a half-made one, or another error. */
static int look_at_pins(const struct attach *a, struct attach_error *err)
{
	char name[NAME_MAX + 1];
	char command[ATTACH_COMMAND_MAX];
	uint32_t abi = 0;
	int r;

	if (!attach_pins_name(a->pin_dir, 0, name))
		return 0;
	r = read_abi(a->pin_dir, &abi);
	if (r == -ENOENT || (r >= 0 && abi == 0))
		return -ESTALE;
	if (r < 0)
		return attach_fail(err, r, "cannot read %s/control: %s", a->pin_dir, strerror(-r));
	if (abi != LB_ABI_VERSION)
		return attach_fail(
			err, -EPROTO,
			"maps under %s have layout version %u, this build has %u" WAY_OVER,
			a->pin_dir, abi, LB_ABI_VERSION,
			attach_detach_command(a->pin_dir, command));
	return 1;
}

int attach_maps_open(struct attach *a, struct attach_error *err)
{
	int r;

	r = look_at_pins(a, err);
	if (r == 1) {
		r = adopt_maps(a, err);
	} else if (r == 0 || r == -ESTALE) {
		a->start = r == 0 ? ATTACH_START_NEW : ATTACH_START_REBUILT;
		if (r == -ESTALE)
			r = refuse_foreign_pins(a, err);
		if (r >= 0)
			r = attach_pins_remove(a->pin_dir, NULL, err);
		if (r >= 0)
			r = make_maps(a, err);
	}
	if (r < 0)
		return r;
	r = map_id(attach_maps_fd(a, "control"), &a->control_id);
	return r < 0 ? attach_fail(err, r, "cannot look at map control: %s", strerror(-r)) : 0;
}
