/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether the program is still where it was attached, and back there when it is not. */
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/attach_priv.h"
#include "userspace/lib/cleanup.h"

/* Id of the program that the kernel runs on the device, a dispatcher's if it is one; 0: none. */
static int running_on(int ifindex, uint32_t *ret_id)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int r = bpf_xdp_query(ifindex, 0, &opts);

	if (r < 0)
		return r;
	*ret_id = opts.drv_prog_id ? opts.drv_prog_id
				   : (opts.skb_prog_id ? opts.skb_prog_id : opts.hw_prog_id);
	return 0;
}

void attach_watch_begin(struct attach *a)
{
	for (uint32_t i = 0; i < a->n_status; i++)
		(void)running_on(a->status[i].ifindex, &a->status[i].prog_id);
	attach_chains_hold(a);
}

void attach_abandon(struct attach *a)
{
	_cleanup_free_ int *keep = calloc(a->n_status + 1, sizeof(*keep));
	struct attach_error ignored;
	uint32_t n = 0;

	if (a->start != ATTACH_START_ADOPTED) {
		(void)attach_detach(a, &ignored);
		return;
	}
	for (uint32_t i = 0; keep && i < a->n_status; i++)
		if (a->status[i].change != ATTACH_CHANGE_ATTACHED)
			keep[n++] = a->status[i].ifindex;
	if (keep && n < a->n_status)
		(void)attach_xdp_off(a, keep, n, &ignored);
}

/* The program of this build: what was attached last. */
static const struct attach_program *newest(const struct attach *a)
{
	for (uint32_t i = a->n_programs; i-- > 0;)
		if (!strcmp(a->programs[i].tag, a->tag))
			return &a->programs[i];
	return NULL;
}

/* The program alone, or the dispatcher as it was held. Returns a descriptor; -ENOENT. */
static int what_to_put_back(const struct attach *a, const struct attach_status *st, int ifindex,
			    uint32_t *ret_id)
{
	const struct attach_program *p = newest(a);

	if (st->how == ATTACH_HOW_DISPATCHER)
		return attach_chain_whole(a, ifindex, ret_id);
	if (!p)
		return -ENOENT;
	*ret_id = p->id;
	return p->fd;
}

static int put_back(struct attach *a, struct attach_status *st, int ifindex,
		    struct attach_error *err)
{
	uint32_t mode = st->mode == CONFIG_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	uint32_t id = 0;
	int r, fd = what_to_put_back(a, st, ifindex, &id);

	if (fd < 0)
		return attach_fail(err, -EPERM,
				   "%s: the packet program was taken off, and only root can put it "
				   "into libxdp's dispatcher: restart the agent", st->name);
	attach_log_clear();
	r = bpf_xdp_attach(ifindex, fd, mode | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);
	if (r < 0)
		return attach_fail(err, r, "%s: the packet program is off and cannot be put back: %s"
				   "%s%s", st->name, strerror(-r),
				   attach_log_reason()[0] ? ": " : "", attach_log_reason());
	st->prog_id = id;
	return 1;
}

/* Some program runs there: is it still ours? */
static int look_at(const struct attach *a, const struct attach_status *st, int ifindex,
		   uint32_t id, struct attach_error *err)
{
	if (id == st->prog_id || attach_program_known(a, id))
		return 0;
	if (st->how == ATTACH_HOW_ALONE)
		return attach_fail(err, -EEXIST,
				   "%s: another XDP program (id %u) has taken the place of ours; "
				   "detach it (ip link set dev %s xdp off)", st->name, id, st->name);
	/* The dispatcher is another when a program comes beside ours or leaves. */
	if (attach_chain_part(a, ifindex, id) == ATTACH_PART_NOT)
		return attach_fail(err, -EACCES,
				   "%s: the packet program was taken out of libxdp's dispatcher, "
				   "and only root can put it beside the programs there: restart "
				   "the agent", st->name);
	return 0;
}

/* The device by its name, or by another one that it got meanwhile: then err says so. -errno. */
static int find_device(const struct attach_status *st, struct attach_error *err)
{
	int ifindex = (int)if_nametoindex(st->name), r = -errno;
	char now[IF_NAMESIZE];
	uint32_t id;

	if (ifindex)
		return ifindex;
	if (r != -ENODEV || !if_indextoname((unsigned int)st->ifindex, now) ||
	    running_on(st->ifindex, &id) < 0 || id != st->prog_id)
		return r;
	snprintf(err->text, sizeof(err->text),
		 "%s is called %s now, and goes on; its name in the configuration is to be changed "
		 "before the next start", st->name, now);
	return st->ifindex;
}

/* Nothing runs on the device. libxdp takes a dispatcher off first, and then its pins away. */
static int was_taken_off(struct attach *a, struct attach_status *st, int ifindex,
			 bool repair, struct attach_error *err)
{
	bool again = st->was_off;

	st->was_off = true;
	if (!repair)
		return attach_fail(err, -ECANCELED, "%s: the packet program was taken off, and stays off",
				   st->name);
	if (st->how == ATTACH_HOW_DISPATCHER && !again)
		return attach_fail(err, -EAGAIN, "%s: its dispatcher was taken off", st->name);
	return put_back(a, st, ifindex, err);
}

int attach_keep(struct attach *a, uint32_t i, bool repair, struct attach_error *err)
{
	struct attach_status *st;
	uint32_t id = 0;
	int ifindex, r;

	assert(a && err && i < a->n_status);

	err->text[0] = '\0';
	st = &a->status[i];
	ifindex = find_device(st, err);
	r = ifindex < 0 ? ifindex : running_on(ifindex, &id);
	/* It takes a socket to look. */
	if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM)
		return attach_fail(err, -EAGAIN, "%s: cannot look: %s", st->name, strerror(-r));
	if (r == -ENODEV || r == -ENXIO)
		return attach_fail(err, -ENODEV, "%s: the interface is gone", st->name);
	if (r < 0)
		return attach_fail(err, r, "%s: cannot see what is attached: %s", st->name,
				   strerror(-r));
	if (id)
		st->was_off = false;
	r = id ? look_at(a, st, ifindex, id, err) : was_taken_off(a, st, ifindex, repair, err);
	if (r < 0)
		return r;
	st->ifindex = ifindex;
	if (id)
		st->prog_id = id;
	return r;
}
