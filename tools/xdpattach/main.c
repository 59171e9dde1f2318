/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An XDP program from an object file -> attached to one or more network devices of this network
 * namespace, where it stays after this command has ended. For programs without a daemon of their
 * own: decap.bpf.o on nodes, the pass-through program at the far ends of test cables.
 * The mode is the one asked for; native never becomes generic.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	const char *object;
	const char *program; /* NULL: the only one, or the first */
	const char *pin_dir; /* NULL: maps live as long as the program is attached */
	__u32 mode;          /* XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE */
	bool detach;
	bool replace;
	char **devices;
	int n_devices;
};

static const char usage[] =
	"usage: xdpattach [--mode native|generic] [--program NAME] [--pin DIR] [--replace]\n"
	"                 OBJECT DEVICE...\n"
	"       xdpattach [--mode native|generic] --detach DEVICE...\n"
	"  --pin DIR   pin the maps as DIR/NAME (a directory in a bpf file system)\n"
	"  --replace   take the place of a program that is attached\n";

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

/* Returns 0; 1 after --help; -EINVAL if the arguments make no sense (said on standard error). */
static int options_parse(int argc, char **argv, struct options *ret_options)
{
	static const struct option longs[] = {
		{"mode", required_argument, NULL, 'm'},
		{"program", required_argument, NULL, 'p'},
		{"pin", required_argument, NULL, 'd'},
		{"detach", no_argument, NULL, 'x'},
		{"replace", no_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct options o = {.mode = XDP_FLAGS_DRV_MODE};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'm':
			if (mode_parse(optarg, &o.mode) < 0)
				return fail("mode", optarg, -EINVAL);
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
		case 'h':
			fputs(usage, stdout);
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
	return r < 0 ? fail("attach to", device, r) : 0;
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
