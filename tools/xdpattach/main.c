/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An XDP program from an object file -> attached to one or more network devices of this network
 * namespace, where it stays after this command has ended. For programs without a daemon of their
 * own: decap.bpf.o on nodes, the pass-through program at the far ends of test cables.
 * The mode is the one asked for; native never becomes generic.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/version.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/number.h"

#define GUE_PORTS_MAX 4 /* of bpf/decap.bpf.c */

struct options {
	const char *object;
	const char *program; /* NULL: the only one, or the first */
	const char *pin_dir; /* NULL: maps live as long as the program is attached */
	__u32 mode;          /* XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE */
	bool detach;
	bool replace;
	__u16 gue_ports[GUE_PORTS_MAX];
	int n_gue_ports;
	char **devices;
	int n_devices;
};

static const char usage[] =
	"Usage: xdpattach [--mode native|generic] [--program NAME] [--pin DIR] [--replace]\n"
	"                 [--gue-port PORT]... OBJECT DEVICE...\n"
	"       xdpattach [--mode native|generic] --detach DEVICE...\n"
	"  --pin DIR        pin the maps as DIR/NAME (a directory in a bpf file system)\n"
	"  --replace        take the place of a program that is attached\n"
	"  --gue-port PORT  of decap.bpf.o: the UDP port of mode gue, in place of 6080; up to four\n"
	"  --version, --help\n";

static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

static int fail(const char *what, const char *name, int r)
{
	fprintf(stderr, "xdpattach: %s %s: %s\n", what, name, strerror(-r));
	return r;
}

static int mode_parse(const char *text, __u32 *ret_mode)
{
	if (strcmp(text, "native") == 0)
		*ret_mode = XDP_FLAGS_DRV_MODE;
	else if (strcmp(text, "generic") == 0)
		*ret_mode = XDP_FLAGS_SKB_MODE;
	else
		return -EINVAL;
	return 0;
}

static int gue_port_add(const char *text, struct options *o)
{
	uint64_t port;

	if (number_parse_u64(text, strlen(text), UINT16_MAX, &port) < 0 || !port)
		return fail("port", text, -EINVAL);
	if (o->n_gue_ports == GUE_PORTS_MAX)
		return fail("one port too many:", text, -EINVAL);
	o->gue_ports[o->n_gue_ports++] = port;
	return 0;
}

static int bad_mode(const char *text)
{
	fprintf(stderr, "xdpattach: --mode %s: native or generic is accepted\n", text);
	return -EINVAL;
}

/* Returns 0; 1 after --help; -EINVAL if the arguments make no sense (said on standard error). */
static int options_parse(int argc, char **argv, struct options *ret_options)
{
	static const struct option longs[] = {
		{"mode", required_argument, NULL, 'm'},
		{"program", required_argument, NULL, 'p'},
		{"pin", required_argument, NULL, 'd'},
		{"detach", no_argument, NULL, 'x'},
		{"replace", no_argument, NULL, 'r'},
		{"gue-port", required_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	struct options o = {.mode = XDP_FLAGS_DRV_MODE};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'm':
			if (mode_parse(optarg, &o.mode) < 0)
				return bad_mode(optarg);
			break;
		case 'p':
			o.program = optarg;
			break;
		case 'd':
			o.pin_dir = optarg;
			break;
		case 'x':
			o.detach = true;
			break;
		case 'r':
			o.replace = true;
			break;
		case 'g':
			if (gue_port_add(optarg, &o) < 0)
				return -EINVAL;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		case 'v':
			puts("xdpattach " SLUICE_VERSION);
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (!o.detach && optind < argc)
		o.object = argv[optind++];
	o.devices = argv + optind;
	o.n_devices = argc - optind;
	if (o.n_devices < 1) {
		fputs(usage, stderr);
		return -EINVAL;
	}
	*ret_options = o;
	return 0;
}

static int map_set_pin(struct bpf_map *map, const char *pin_dir)
{
	char path[512];
	int n;

	if (!pin_dir || bpf_map__is_internal(map))
		return bpf_map__set_pin_path(map, NULL);
	n = snprintf(path, sizeof(path), "%s/%s", pin_dir, bpf_map__name(map));
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return bpf_map__set_pin_path(map, path);
}

/* Where a variable lies in a data section of the object. Returns -ENOENT: it has none. */
static int variable_offset(const struct btf *btf, const char *section, const char *name,
			   __u32 *ret_offset, __u32 *ret_size)
{
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	const struct btf_var_secinfo *info;
	const struct btf_type *type;

	if (id < 0)
		return -ENOENT;
	type = btf__type_by_id(btf, id);
	info = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, info++) {
		const struct btf_type *var = btf__type_by_id(btf, info->type);

		if (strcmp(btf__name_by_offset(btf, var->name_off), name))
			continue;
		*ret_offset = info->offset;
		*ret_size = info->size;
		return 0;
	}
	return -ENOENT;
}

/* The ports take the place of those the program was built with. */
static int gue_ports_set(struct bpf_object *object, const struct options *o)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	_cleanup_free_ char *data = NULL;
	__u32 offset, size;
	const void *built;
	size_t all = 0;
	int r;

	if (!o->n_gue_ports)
		return 0;
	if (!map)
		return -ENOENT;
	r = variable_offset(bpf_object__btf(object), ".rodata", "gue_ports", &offset, &size);
	if (r < 0)
		return r;
	built = bpf_map__initial_value(map, &all);
	if (!built || size != sizeof(o->gue_ports) || offset + size > all)
		return -EINVAL;
	data = malloc(all);
	if (!data)
		return -ENOMEM;
	memcpy(data, built, all);
	memcpy(data + offset, o->gue_ports, size);
	return bpf_map__set_initial_value(map, data, all);
}

/* The named program, or without a name the first; the object's others are not loaded. */
static struct bpf_program *program_choose(struct bpf_object *object, const char *name)
{
	struct bpf_program *program, *chosen = NULL;

	bpf_object__for_each_program(program, object)
	{
		bool wanted = name ? strcmp(bpf_program__name(program), name) == 0 : !chosen;

		(void)bpf_program__set_autoload(program, wanted);
		if (wanted)
			chosen = program;
	}
	return chosen;
}

/* Returns the program's descriptor, which *ret_object owns; -errno, said on standard error. */
static int object_load(const struct options *o, struct bpf_object **ret_object)
{
	struct bpf_object *object;
	struct bpf_program *program;
	struct bpf_map *map;
	int r;

	object = bpf_object__open_file(o->object, NULL);
	if (!object)
		return fail("open", o->object, -errno);

	program = program_choose(object, o->program);
	r = program ? bpf_program__set_type(program, BPF_PROG_TYPE_XDP) : -ENOENT;
	if (r < 0) {
		fail("program", o->program ? o->program : "(any)", r);
		goto close;
	}
	bpf_object__for_each_map(map, object)
	{
		r = map_set_pin(map, o->pin_dir);
		if (r < 0) {
			fail("pin", bpf_map__name(map), r);
			goto close;
		}
	}
	r = gue_ports_set(object, o);
	if (r < 0) {
		fail("--gue-port", o->object, r);
		goto close;
	}
	r = bpf_object__load(object);
	if (r < 0) {
		fail("load", o->object, r);
		goto close;
	}
	*ret_object = object;
	return bpf_program__fd(program);
close:
	bpf_object__close(object);
	return r;
}

static int device_change(const struct options *o, const char *device, int program_fd)
{
	unsigned int ifindex = if_nametoindex(device);
	__u32 flags = o->mode;
	int r;

	if (!ifindex)
		return fail("device", device, -errno);
	if (o->detach) {
		r = bpf_xdp_detach((int)ifindex, flags, NULL);
		return r < 0 ? fail("detach from", device, r) : 0;
	}
	if (!o->replace)
		flags |= XDP_FLAGS_UPDATE_IF_NOEXIST;
	r = bpf_xdp_attach((int)ifindex, program_fd, flags, NULL);
	if (r == -EBUSY || r == -EEXIST)
		fprintf(stderr, "xdpattach: %s has an XDP program already: --replace, or --detach it "
				"first\n", device);
	else if (r == -EOPNOTSUPP || r == -EINVAL)
		fprintf(stderr, "xdpattach: attach to %s: %s; if its driver has no native XDP: --mode "
				"generic\n", device, strerror(-r));
	else if (r < 0)
		(void)fail("attach to", device, r);
	return r;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = NULL;
	struct options o = {0};
	int program_fd = -1;
	int r, i;

	r = options_parse(argc, argv, &o);
	if (r)
		return r < 0 ? 2 : 0;
	if (capng_get_caps_process() < 0 ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN)) {
		fprintf(stderr, "xdpattach: loading, attaching and detaching take root (CAP_BPF, "
				"CAP_NET_ADMIN, CAP_PERFMON)\n");
		return 1;
	}
	libbpf_set_print(print_libbpf);

	if (!o.detach) {
		program_fd = object_load(&o, &object);
		if (program_fd < 0)
			return 1;
	}
	for (i = 0; i < o.n_devices && r == 0; i++)
		r = device_change(&o, o.devices[i], program_fd);
	bpf_object__close(object);
	return r < 0 ? 1 : 0;
}
