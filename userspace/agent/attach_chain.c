/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libxdp's dispatcher on a device, held so that an agent that gave root up can put it back.
 *
 * libxdp finds a dispatcher by its id, which takes CAP_SYS_ADMIN, and pins its parts below
 * XDP_PINS/dispatch-IFINDEX-ID: progN-prog, and progN-link, which keeps the program in it. As long
 * as those are there a dispatcher that was taken off the device is whole, and to attach it again
 * takes a descriptor of it and CAP_NET_ADMIN.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "userspace/agent/attach_priv.h"
#include "userspace/lib/cleanup.h"

#define XDP_PINS "/sys/fs/bpf/xdp"

/* Whether the file is the pin of one of our programs, in its place in a dispatcher. */
static bool is_ours(const struct attach *a, const char *dir, const char *name)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int n, end = 0;

	if (sscanf(name, "prog%d-prog%n", &n, &end) != 1 || !end || name[end])
		return false;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = bpf_obj_get(path);
	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
	       attach_program_known(a, info.id);
}

enum attach_part attach_chain_part(const struct attach *a, int ifindex, uint32_t id)
{
	enum attach_part part = ATTACH_PART_NOT;
	const struct dirent *e;
	char dir[128];
	DIR *d;

	snprintf(dir, sizeof(dir), XDP_PINS "/dispatch-%d-%u", ifindex, id);
	d = opendir(dir);
	if (!d)
		return ATTACH_PART_UNKNOWN;
	while (part == ATTACH_PART_NOT && (e = readdir(d)))
		if (is_ours(a, dir, e->d_name))
			part = ATTACH_PART_OURS;
	closedir(d);
	return part;
}

static bool is_listed(const struct attach *a, int ifindex)
{
	for (uint32_t i = 0; i < a->n_status; i++)
		if (a->status[i].ifindex == ifindex && a->status[i].how == ATTACH_HOW_DISPATCHER)
			return true;
	return false;
}

static struct attach_chain *find(const struct attach *a, int ifindex)
{
	for (uint32_t i = 0; i < a->n_chains; i++)
		if (a->chains[i].ifindex == ifindex)
			return &a->chains[i];
	return NULL;
}

int attach_chain_whole(const struct attach *a, int ifindex, uint32_t *ret_id)
{
	const struct attach_chain *chain = find(a, ifindex);

	if (!chain || attach_chain_part(a, ifindex, chain->id) != ATTACH_PART_OURS)
		return -ENOENT;
	*ret_id = chain->id;
	return chain->fd;
}

/* There is room for one more. */
static void hold(struct attach *a, const struct attach_status *st)
{
	struct attach_chain *known = find(a, st->ifindex);
	int fd = bpf_prog_get_fd_by_id(st->prog_id);

	if (fd < 0)
		return;
	if (known)
		close(known->fd);
	else
		known = &a->chains[a->n_chains++];
	*known = (struct attach_chain){.ifindex = st->ifindex, .id = st->prog_id, .fd = fd};
}

void attach_chains_hold(struct attach *a)
{
	struct attach_chain *chains;

	for (uint32_t i = a->n_chains; i-- > 0;) {
		if (is_listed(a, a->chains[i].ifindex))
			continue;
		close(a->chains[i].fd);
		a->chains[i] = a->chains[--a->n_chains];
	}
	chains = reallocarray(a->chains, a->n_chains + a->n_status + 1, sizeof(*chains));
	if (!chains)
		return;
	a->chains = chains;
	for (uint32_t i = 0; i < a->n_status; i++)
		if (a->status[i].how == ATTACH_HOW_DISPATCHER)
			hold(a, &a->status[i]);
}

void attach_chains_close(struct attach *a)
{
	while (a->n_chains)
		close(a->chains[--a->n_chains].fd);
	free(a->chains);
	a->chains = NULL;
}
