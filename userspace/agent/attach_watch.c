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

static int put_back(struct attach *a, struct attach_status *st, int ifindex,
		    struct attach_error *err)
{
	const struct attach_program *p = newest(a);
	uint32_t mode = st->mode == CONFIG_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	int r;

	if (st->how == ATTACH_HOW_DISPATCHER || !p)
		return attach_fail(err, -EPERM,
				   "%s: the packet program was taken off, and only root can put it "
				   "into libxdp's dispatcher: restart the agent", st->name);
	attach_log_clear();
	r = bpf_xdp_attach(ifindex, p->fd, mode | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);
	if (r < 0)
		return attach_fail(err, r, "%s: the packet program is off and cannot be put back: %s"
				   "%s%s", st->name, strerror(-r),
				   attach_log_reason()[0] ? ": " : "", attach_log_reason());
	st->ifindex = ifindex;
	st->prog_id = p->id;
	return 1;
}

int attach_keep(struct attach *a, uint32_t i, struct attach_error *err)
{
	struct attach_status *st;
	uint32_t id = 0;
	int ifindex, r;

	assert(a && err && i < a->n_status);

	err->text[0] = '\0';
	st = &a->status[i];
	ifindex = (int)if_nametoindex(st->name);
	r = ifindex ? running_on(ifindex, &id) : -ENODEV;
	if (r == -ENODEV)
		return attach_fail(err, r, "%s: the interface is gone", st->name);
	if (r < 0)
		return attach_fail(err, r, "%s: cannot see what is attached: %s", st->name,
				   strerror(-r));
	if (!id)
		return put_back(a, st, ifindex, err);
	/* A dispatcher that changed has another program beside ours: only root can look inside. */
	if (id != st->prog_id && st->how == ATTACH_HOW_ALONE && !attach_program_known(a, id))
		return attach_fail(err, -EEXIST,
				   "%s: another XDP program (id %u) has taken the place of ours; "
				   "detach it (ip link set dev %s xdp off)", st->name, id, st->name);
	st->ifindex = ifindex;
	st->prog_id = id;
	return 0;
}
