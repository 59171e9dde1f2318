/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Program on interfaces. A program is ours when it uses our map "control"; what else is there is
 * foreign and stays.
 *
 * libxdp attaches: into its dispatcher where the kernel has freplace programs, else alone. It will
 * not replace a program that stands alone, so that swap is made here, by XDP_FLAGS_REPLACE with the
 * old program's descriptor: the kernel exchanges the two between two packets. In a dispatcher the
 * new program is added before the old one is taken out; a packet that both see is forwarded by the
 * first of them.
 */
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "balancer.skel.h"
#include "userspace/agent/attach_priv.h"
#include "userspace/lib/cleanup.h"

enum seen_kind {
	SEEN_NONE = 1, /* nothing attached */
	SEEN_OURS,     /* one of ours, alone or in a dispatcher */
	SEEN_CHAIN,    /* a dispatcher without ours: there is room */
	SEEN_FOREIGN,  /* another program, alone */
};

/* What runs on an interface. */
struct seen {
	enum seen_kind kind;
	enum attach_how how;
	enum config_xdp_mode mode;
	uint32_t prog_id; /* ours; foreign: theirs */
	uint32_t priority;
	char tag[17];
	char name[64]; /* of a foreign program */
};

/* What is to be undone if a later interface fails. */
struct step {
	struct seen before;
	struct attach_status status;
	struct xdp_program *added; /* in a dispatcher or fresh; owned by the run */
	int old_fd;                /* of the program that was replaced; -1 */
};

/* One call of attach_interfaces(). */
struct run {
	struct attach *a;
	struct attach_error *err;
	struct balancer_bpf *skel; /* loaded as a plain XDP program: tag, and for swaps */
	struct attach_program plain;
	struct balancer_bpf **objects; /* one for each entry of programs */
	struct xdp_program **programs; /* what libxdp loaded or will, one a priority */
	uint32_t n_programs;
	struct step *steps;
	uint32_t n_steps;
};

static enum xdp_attach_mode libxdp_mode(enum config_xdp_mode mode)
{
	return mode == CONFIG_XDP_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
}

static uint32_t kernel_flags(enum config_xdp_mode mode)
{
	return mode == CONFIG_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

/* --- programs --------------------------------------------------------------------------------- */

static void tag_text(const unsigned char *tag, char ret_text[17])
{
	for (unsigned int i = 0; i < BPF_TAG_SIZE; i++)
		sprintf(ret_text + 2 * i, "%02x", tag[i]);
}

static int program_info(int fd, struct attach_program *ret_program, char ret_name[64])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	ret_program->fd = fd;
	ret_program->id = info.id;
	tag_text(info.tag, ret_program->tag);
	if (ret_name)
		snprintf(ret_name, 64, "%s", info.name);
	return 0;
}

/* Whether the program uses the map. */
static bool uses_map(int fd, uint32_t map_id)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info), ids[ATTACH_MAPS_MAX + 8] = {0};

	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = sizeof(ids) / sizeof(ids[0]);
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (ids[i] == map_id)
			return true;
	}
	return false;
}

const struct attach_program *attach_program_known(const struct attach *a, uint32_t id)
{
	for (uint32_t i = 0; i < a->n_programs; i++) {
		if (a->programs[i].id == id)
			return &a->programs[i];
	}
	return NULL;
}

/* Remember a program by a descriptor of its own; when there are too many, the oldest goes. */
static void remember_program(struct attach *a, int fd)
{
	struct attach_program p;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (own < 0)
		return;
	if (program_info(own, &p, NULL) < 0 || attach_program_known(a, p.id)) {
		close(own);
		return;
	}
	if (a->n_programs == ATTACH_PROGRAMS_MAX) {
		close(a->programs[0].fd);
		memmove(&a->programs[0], &a->programs[1], sizeof(a->programs[0]) * --a->n_programs);
	}
	a->programs[a->n_programs++] = p;
}

void attach_xdp_close(struct attach *a)
{
	while (a->n_programs)
		close(a->programs[--a->n_programs].fd);
}

static void remember_pinned(struct attach *a)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/" ATTACH_PROGRAM_PIN, a->pin_dir) >= (int)sizeof(path))
		return;
	fd = bpf_obj_get(path);
	if (fd >= 0 && uses_map(fd, a->control_id))
		remember_program(a, fd);
}

/* Under a name of its own and then renamed, so that the pin is never missing. */
static int pin_program(struct attach *a, int fd, struct attach_error *err)
{
	char path[PATH_MAX], new_path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/" ATTACH_PROGRAM_PIN, a->pin_dir) >=
		    (int)sizeof(path) ||
	    snprintf(new_path, sizeof(new_path), "%s/" ATTACH_PROGRAM_PIN "_new", a->pin_dir) >=
		    (int)sizeof(new_path))
		return attach_fail(err, -ENAMETOOLONG, "pin_dir %s: too long", a->pin_dir);
	(void)unlink(new_path);
	if (bpf_obj_pin(fd, new_path) < 0 || rename(new_path, path) < 0)
		return attach_fail(err, -errno, "cannot pin the program under %s: %s", a->pin_dir,
				   strerror(errno));
	return 0;
}

/* Open the object with our maps in place of its own. */
static int open_object(struct run *run, struct balancer_bpf **ret)
{
	struct balancer_bpf *skel = balancer_bpf__open();
	struct bpf_map *map;
	int r = 0;

	if (!skel)
		return attach_fail(run->err, -errno, "cannot read the built-in packet program: %s",
				   strerror(errno));
	for (map = bpf_object__next_map(skel->obj, NULL); map && r >= 0;
	     map = bpf_object__next_map(skel->obj, map)) {
		if (attach_map_is_shared(map))
			r = bpf_map__reuse_fd(map, attach_maps_fd(run->a, attach_map_name(map)));
	}
	if (r < 0) {
		balancer_bpf__destroy(skel);
		return attach_fail(run->err, r, "cannot use the pinned maps: %s", strerror(-r));
	}
	*ret = skel;
	return 0;
}

static int load_plain(struct run *run)
{
	int r;

	r = open_object(run, &run->skel);
	if (r < 0)
		return r;
	r = balancer_bpf__load(run->skel);
	if (r < 0)
		return attach_fail(run->err, r,
				   r == -EPERM ? "cannot load the packet program: %s; the agent "
						 "needs root, or CAP_BPF, CAP_NET_ADMIN and "
						 "CAP_PERFMON"
					       : "cannot load the packet program: %s (the "
						 "verifier's words are logged at level debug)",
				   strerror(-r));
	r = program_info(bpf_program__fd(run->skel->progs.sluice_balancer), &run->plain, NULL);
	if (r < 0)
		return attach_fail(run->err, r, "cannot look at the packet program: %s",
				   strerror(-r));
	memcpy(run->a->tag, run->plain.tag, sizeof(run->a->tag));
	return 0;
}

/* Once in a run, and only if it is needed: the verifier takes half a second. */
static int need_plain(struct run *run)
{
	return run->skel ? 0 : load_plain(run);
}

/* The program as libxdp takes it, still to be loaded (it decides as what); one a priority. */
static int libxdp_program(struct run *run, uint32_t priority, struct xdp_program **ret)
{
	struct balancer_bpf *skel = NULL;
	struct xdp_program *prog;
	int r;

	for (uint32_t i = 0; i < run->n_programs; i++) {
		if (xdp_program__run_prio(run->programs[i]) == priority) {
			*ret = run->programs[i];
			return 0;
		}
	}
	r = open_object(run, &skel);
	if (r < 0)
		return r;
	prog = xdp_program__from_bpf_obj(skel->obj, "xdp");
	r = libxdp_get_error(prog);
	if (r >= 0)
		r = xdp_program__set_run_prio(prog, priority);
	if (r < 0) {
		balancer_bpf__destroy(skel);
		return attach_fail(run->err, r, "libxdp refuses the packet program: %s",
				   strerror(-r));
	}
	run->objects[run->n_programs] = skel;
	run->programs[run->n_programs++] = prog;
	*ret = prog;
	return 0;
}

/* --- what is there ---------------------------------------------------------------------------- */

/* Name and owner of what is attached alone, as far as the kernel tells. */
static void look_alone(const struct attach *a, int fd, struct seen *s)
{
	struct attach_program p;

	if (program_info(fd, &p, s->name) < 0)
		return;
	s->prog_id = p.id;
	memcpy(s->tag, p.tag, sizeof(s->tag));
	if (uses_map(fd, a->control_id))
		s->kind = SEEN_OURS;
}

static void look_chain(const struct attach *a, const struct xdp_multiprog *mp, struct seen *s)
{
	struct xdp_program *p = NULL;

	s->kind = SEEN_CHAIN;
	s->how = ATTACH_HOW_DISPATCHER;
	while ((p = xdp_multiprog__next_prog(p, mp))) {
		if (!uses_map(xdp_program__fd(p), a->control_id))
			continue;
		s->kind = SEEN_OURS;
		s->prog_id = xdp_program__id(p);
		s->priority = xdp_program__run_prio(p);
		tag_text(xdp_program__tag(p), s->tag);
		return;
	}
}

/* Look behind a program that is not known by its id; needs CAP_SYS_ADMIN. */
static void look_deeper(const struct attach *a, int ifindex, struct seen *s)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);

	if (libxdp_get_error(mp)) {
		snprintf(s->name, sizeof(s->name), "?");
		return;
	}
	if (xdp_multiprog__is_legacy(mp))
		look_alone(a, xdp_program__fd(xdp_multiprog__main_prog(mp)), s);
	else
		look_chain(a, mp, s);
	xdp_multiprog__close(mp);
}

static int look_at(const struct attach *a, int ifindex, struct seen *ret_seen)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	struct seen s = {.kind = SEEN_NONE, .how = ATTACH_HOW_ALONE};
	const struct attach_program *known;
	int r;

	r = bpf_xdp_query(ifindex, 0, &opts);
	if (r < 0)
		return r;
	s.prog_id = opts.drv_prog_id ? opts.drv_prog_id
				     : (opts.skb_prog_id ? opts.skb_prog_id : opts.hw_prog_id);
	s.mode = opts.skb_prog_id ? CONFIG_XDP_GENERIC : CONFIG_XDP_NATIVE;
	if (s.prog_id) {
		s.kind = SEEN_FOREIGN;
		known = attach_program_known(a, s.prog_id);
		if (known) {
			s.kind = SEEN_OURS;
			memcpy(s.tag, known->tag, sizeof(s.tag));
		} else {
			look_deeper(a, ifindex, &s);
		}
	}
	*ret_seen = s;
	return 0;
}

/* --- one interface ---------------------------------------------------------------------------- */

static const char *and_reason(char buf[200])
{
	if (!attach_log_reason()[0])
		return "";
	snprintf(buf, 200, " (the kernel says: %s)", attach_log_reason());
	return buf;
}

static int explain(struct run *run, const struct config_interface *iface, int r)
{
	char why[200];

	if (iface->mode == CONFIG_XDP_NATIVE && (r == -EOPNOTSUPP || r == -ENOTSUP))
		return attach_fail(run->err, -EOPNOTSUPP,
				   "%s: its driver cannot run XDP in native mode%s; set `mode: "
				   "generic` for this interface, or use another one",
				   iface->name, and_reason(why));
	if (r == -EPERM)
		return attach_fail(run->err, r,
				   "%s: not permitted to attach; the agent needs CAP_NET_ADMIN and "
				   "CAP_BPF",
				   iface->name);
	return attach_fail(run->err, r, "%s: cannot attach in %s mode: %s%s", iface->name,
			   config_xdp_mode_name(iface->mode), strerror(-r), and_reason(why));
}

/* By libxdp, where nothing or a dispatcher is. */
static int add_program(struct run *run, const struct config_interface *iface, struct step *step)
{
	struct xdp_program *prog = NULL;
	struct seen now;
	int r;

	r = need_plain(run);
	if (r == 0)
		r = libxdp_program(run, iface->priority, &prog);
	if (r < 0)
		return r;
	attach_log_clear();
	r = xdp_program__attach(prog, step->status.ifindex, libxdp_mode(iface->mode), 0);
	if (r)
		return explain(run, iface, r < 0 ? r : -r);
	step->added = prog;
	remember_program(run->a, xdp_program__fd(prog));
	r = look_at(run->a, step->status.ifindex, &now);
	if (r < 0 || now.kind != SEEN_OURS)
		return attach_fail(run->err, r < 0 ? r : -EIO,
				   "%s: the program was attached and is not there", iface->name);
	step->status.how = now.how;
	step->status.change =
		step->before.kind == SEEN_OURS ? ATTACH_CHANGE_SWAPPED : ATTACH_CHANGE_ATTACHED;
	return 0;
}

/* An older build stands alone: exchange it in one step. */
static int swap_alone(struct run *run, const struct config_interface *iface, struct step *step)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	const struct attach_program *known = attach_program_known(run->a, step->before.prog_id);
	int r = need_plain(run);

	if (r < 0)
		return r;
	step->old_fd = known ? fcntl(known->fd, F_DUPFD_CLOEXEC, 3)
			     : bpf_prog_get_fd_by_id(step->before.prog_id);
	if (step->old_fd < 0)
		return attach_fail(run->err, -errno, "%s: cannot open the program attached: %s",
				   iface->name, strerror(errno));
	opts.old_prog_fd = step->old_fd;
	attach_log_clear();
	r = bpf_xdp_attach(step->status.ifindex, run->plain.fd,
			   kernel_flags(iface->mode) | XDP_FLAGS_REPLACE, &opts);
	if (r < 0)
		return explain(run, iface, r);
	remember_program(run->a, run->plain.fd);
	step->status.how = ATTACH_HOW_ALONE;
	step->status.change = ATTACH_CHANGE_SWAPPED;
	return 0;
}

static int refuse_foreign(struct run *run, const struct config_interface *iface,
			  const struct seen *seen)
{
	if (!strcmp(seen->name, ATTACH_PROGRAM_PIN))
		return attach_fail(
			run->err, -EEXIST,
			"%s: another Sluice forwards there (program %u has other maps than those in %s): "
			"'sluicectl detach --pin-dir' with its directory, or, if that is gone, ip link "
			"set dev %s xdp off", iface->name, seen->prog_id, run->a->pin_dir, iface->name);
	return attach_fail(run->err, -EEXIST,
			   "%s: another XDP program is attached (%s, id %u) and not through libxdp's "
			   "dispatcher; detach it first (ip link set dev %s xdp off)",
			   iface->name, seen->name, seen->prog_id, iface->name);
}

static int attach_one(struct run *run, const struct config_interface *iface)
{
	struct step *step = &run->steps[run->n_steps];
	struct seen *before = &step->before;
	char command[ATTACH_COMMAND_MAX];
	int r;

	*step = (struct step){.old_fd = -1,
			      .status = {.mode = iface->mode, .priority = iface->priority}};
	snprintf(step->status.name, sizeof(step->status.name), "%s", iface->name);
	step->status.ifindex = if_nametoindex(iface->name);
	if (!step->status.ifindex)
		return attach_fail(run->err, -ENODEV, "%s: no such interface", iface->name);
	r = look_at(run->a, step->status.ifindex, before);
	if (r < 0)
		return attach_fail(run->err, r, "%s: cannot see what is attached: %s", iface->name,
				   strerror(-r));
	run->n_steps++;
	if (before->kind == SEEN_FOREIGN)
		return refuse_foreign(run, iface, before);
	if (before->kind != SEEN_NONE && before->mode != iface->mode)
		return attach_fail(
			run->err, -EBUSY,
			"%s: XDP runs there in %s mode, the configuration says %s; changing "
			"it would stop forwarding for a moment: set it back, or run "
			"'%s', then start again",
			iface->name, config_xdp_mode_name(before->mode),
			config_xdp_mode_name(iface->mode),
			attach_detach_command(run->a->pin_dir, command));
	if (before->kind != SEEN_OURS)
		return add_program(run, iface, step);
	step->status.how = before->how;
	step->status.change = ATTACH_CHANGE_NONE;
	if (before->how == ATTACH_HOW_ALONE)
		return strcmp(before->tag, run->a->tag) ? swap_alone(run, iface, step) : 0;
	return strcmp(before->tag, run->a->tag) || before->priority != iface->priority
		       ? add_program(run, iface, step)
		       : 0;
}

/* --- taking off ------------------------------------------------------------------------------- */

/* Take the program with this id out of the interface's dispatcher. */
static int leave_chain(int ifindex, uint32_t prog_id)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *p = NULL;
	int r = libxdp_get_error(mp);

	if (r)
		return r < 0 ? r : -r;
	r = -ENOENT;
	while (r == -ENOENT && (p = xdp_multiprog__next_prog(p, mp))) {
		if (xdp_program__id(p) == prog_id)
			r = xdp_program__detach(p, ifindex, xdp_multiprog__attach_mode(mp), 0);
	}
	xdp_multiprog__close(mp);
	return r;
}

static int take_off(const struct attach *a, int ifindex, const struct seen *s)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	const struct attach_program *known = attach_program_known(a, s->prog_id);
	_cleanup_close_ int fd = -1;

	if (s->how == ATTACH_HOW_DISPATCHER)
		return leave_chain(ifindex, s->prog_id);
	fd = known ? fcntl(known->fd, F_DUPFD_CLOEXEC, 3) : bpf_prog_get_fd_by_id(s->prog_id);
	if (fd < 0)
		return -errno;
	opts.old_prog_fd = fd;
	return bpf_xdp_detach(ifindex, kernel_flags(s->mode) | XDP_FLAGS_REPLACE, &opts);
}

static bool kept(int ifindex, const int *keep, uint32_t n_keep)
{
	for (uint32_t i = 0; i < n_keep; i++) {
		if (keep[i] == ifindex)
			return true;
	}
	return false;
}

int attach_xdp_off(struct attach *a, const int *keep, uint32_t n_keep, struct attach_error *err)
{
	struct if_nameindex *all = if_nameindex();
	int r = 0;

	if (!all)
		return attach_fail(err, -errno, "cannot list the interfaces: %s", strerror(errno));
	remember_pinned(a);
	for (struct if_nameindex *i = all; i->if_index && r >= 0; i++) {
		struct seen s;
		int one;

		if (kept(i->if_index, keep, n_keep))
			continue;
		/* one that cannot be asked (it may be gone by now) has nothing of ours */
		if (look_at(a, i->if_index, &s) < 0 || s.kind != SEEN_OURS)
			continue;
		one = take_off(a, i->if_index, &s);
		if (one < 0 && one != -ENODEV)
			r = attach_fail(err, one, "%s: cannot detach: %s", i->if_name,
					strerror(-one));
	}
	if_freenameindex(all);
	return r;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* Back to what was before; what cannot be undone is still a program with our maps. */
static void undo(struct run *run)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);

	for (uint32_t i = 0; i < run->n_steps; i++) {
		struct step *s = &run->steps[i];

		if (s->added) {
			(void)xdp_program__detach(s->added, s->status.ifindex,
						  libxdp_mode(s->status.mode), 0);
		} else if (s->status.change == ATTACH_CHANGE_SWAPPED) {
			opts.old_prog_fd = run->plain.fd;
			(void)bpf_xdp_attach(s->status.ifindex, s->old_fd,
					     kernel_flags(s->status.mode) | XDP_FLAGS_REPLACE,
					     &opts);
		}
	}
}

/* The older build leaves the dispatchers that the newer one has joined. */
static int leave_chains(struct run *run)
{
	for (uint32_t i = 0; i < run->n_steps; i++) {
		const struct step *s = &run->steps[i];
		int r;

		if (!s->added || s->before.kind != SEEN_OURS)
			continue;
		r = leave_chain(s->status.ifindex, s->before.prog_id);
		if (r < 0)
			return attach_fail(run->err, r,
					   "%s: cannot take the former program out of the "
					   "dispatcher: %s",
					   s->status.name, strerror(-r));
	}
	return 0;
}

/* Pin what runs now, so that an agent without CAP_SYS_ADMIN knows it again by its id. */
static int pin_newest(struct run *run)
{
	for (uint32_t i = 0; i < run->n_steps; i++) {
		const struct step *s = &run->steps[i];

		if (s->status.change != ATTACH_CHANGE_NONE)
			return pin_program(run->a,
					   s->added ? xdp_program__fd(s->added) : run->plain.fd,
					   run->err);
	}
	return 0;
}

static int run_all(struct run *run, const struct config_interface *interfaces, uint32_t n)
{
	int r;

	remember_pinned(run->a);
	if (n > 0 && !run->a->tag[0]) {
		r = need_plain(run);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < n; i++) {
		r = attach_one(run, &interfaces[i]);
		if (r < 0) {
			undo(run);
			return r;
		}
	}
	return pin_newest(run);
}

/* What is over: older builds in chains, and interfaces that are not listed any more. */
static int finish(struct run *run)
{
	_cleanup_free_ int *keep = calloc(run->n_steps + 1, sizeof(*keep));
	_cleanup_free_ struct attach_status *status = calloc(run->n_steps + 1, sizeof(*status));
	int r;

	if (!keep || !status)
		return attach_fail(run->err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < run->n_steps; i++) {
		keep[i] = run->steps[i].status.ifindex;
		status[i] = run->steps[i].status;
	}
	free(run->a->status);
	run->a->status = TAKE_PTR(status);
	run->a->n_status = run->n_steps;
	r = leave_chains(run);
	if (r < 0)
		return r;
	return attach_xdp_off(run->a, keep, run->n_steps, run->err);
}

static void run_free(struct run *run)
{
	for (uint32_t i = 0; i < run->n_steps; i++) {
		if (run->steps[i].old_fd >= 0)
			close(run->steps[i].old_fd);
	}
	for (uint32_t i = 0; i < run->n_programs; i++) {
		xdp_program__close(run->programs[i]);
		balancer_bpf__destroy(run->objects[i]);
	}
	balancer_bpf__destroy(run->skel);
	free(run->steps);
	free(run->programs);
	free(run->objects);
}

int attach_interfaces(struct attach *a, const struct config_interface *interfaces, uint32_t n,
		      struct attach_error *err)
{
	struct run run = {.a = a, .err = err};
	int r;

	assert(a && err);

	err->text[0] = '\0';
	run.steps = calloc(n + 1, sizeof(*run.steps));
	run.programs = calloc(n + 1, sizeof(*run.programs));
	run.objects = calloc(n + 1, sizeof(*run.objects));
	if (run.steps && run.programs && run.objects) {
		r = run_all(&run, interfaces, n);
		if (r >= 0)
			r = finish(&run);
		attach_watch_begin(a);
	} else {
		r = attach_fail(err, -ENOMEM, "out of memory");
	}
	run_free(&run);
	return r;
}
