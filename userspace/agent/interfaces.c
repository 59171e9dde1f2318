// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/interfaces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/log.h"

struct interface {
	char name[CONFIG_NAME_MAX + 1];
	int result; /* of attach_keep() */
	char error[ATTACH_ERROR_MAX];
	char note[ATTACH_ERROR_MAX]; /* it runs, but */
	int64_t due_ms;
	int64_t wait_ms;
	int64_t tried_ms; /* to attach it again, the last time; 0: never */
	uint32_t n_row;	  /* times it was attached again, each soon after the one before */
	bool left;	  /* it is off, and meant to be */
	uint32_t n_root;  /* looks in a row that only root can do something about */
	uint64_t n_losses;
	uint64_t n_repairs;
};

struct interfaces {
	struct attach *attach;
	struct interface *list; /* as attach_status() */
	uint32_t n;
	const struct config_interface *wanted;
	uint32_t n_wanted;
};

int interfaces_new(struct attach *a, struct interfaces **ret)
{
	struct interfaces *in = calloc(1, sizeof(*in));

	if (!in)
		return -ENOMEM;
	in->attach = a;
	*ret = in;
	return 0;
}

void interfaces_free(struct interfaces **interfaces)
{
	if (!*interfaces)
		return;
	free((*interfaces)->list);
	free(*interfaces);
	*interfaces = NULL;
}

static const struct interface *find(const struct interfaces *in, const char *name)
{
	for (uint32_t i = 0; i < in->n; i++)
		if (!strcmp(in->list[i].name, name))
			return &in->list[i];
	return NULL;
}

/* After a reload the list may be another; what is known of those that stay is kept. */
static void follow_list(struct interfaces *in)
{
	uint32_t n;
	const struct attach_status *st = attach_status(in->attach, &n);
	bool same = n == in->n;
	struct interface *list;

	for (uint32_t i = 0; i < n && same; i++)
		same = !strcmp(st[i].name, in->list[i].name);
	if (same)
		return;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct interface *known = find(in, st[i].name);

		if (known)
			list[i] = *known;
		else
			snprintf(list[i].name, sizeof(list[i].name), "%s", st[i].name);
	}
	free(in->list);
	in->list = list;
	in->n = n;
}

void interfaces_apply(struct interfaces *in, const struct config_interface *list, uint32_t n)
{
	in->wanted = list;
	in->n_wanted = n;
	for (uint32_t i = 0; i < in->n; i++) {
		in->list[i].n_row = 0;
		in->list[i].left = false;
		in->list[i].due_ms = 0;
	}
}

static bool is_to_stay(const struct interfaces *in, const char *name)
{
	for (uint32_t i = 0; i < in->n_wanted; i++)
		if (!strcmp(in->wanted[i].name, name))
			return in->wanted[i].reattach;
	return true;
}

/*
 * Looking costs little. What is tried in vain, or undone by somebody each time, is tried again
 * after twice the time.
 */
static void next_look(struct interface *it, int r, int64_t now_ms)
{
	it->due_ms = now_ms + INTERFACES_LOOK_MS;
	if (r == 0 || r == -ENODEV || r == -EEXIST || r == -ECANCELED || r == -EACCES)
		return;
	it->wait_ms = it->tried_ms && now_ms - it->tried_ms < INTERFACES_CALM_MS
			      ? 2 * it->wait_ms
			      : INTERFACES_LOOK_MS;
	if (it->wait_ms > INTERFACES_LOOK_MAX_MS)
		it->wait_ms = INTERFACES_LOOK_MAX_MS;
	it->tried_ms = now_ms;
	it->due_ms = now_ms + it->wait_ms;
}

static void report(struct interface *it, int r, const char *error, const char *pin_dir)
{
	char command[ATTACH_COMMAND_MAX];

	if (r < 0) {
		if (it->result >= 0)
			it->n_losses++;
		if (strcmp(it->error, error))
			log_error("interface %s: packets that come by it are not balanced", error);
	} else if (it->result < 0) {
		log_info("interface %s: the packet program runs again", it->name);
	} else if (r > 0) {
		it->n_losses++;
		log_warn("interface %s: the packet program was taken off, and is attached again "
			 "('%s' stops forwarding)", it->name, attach_detach_command(pin_dir, command));
	}
	it->n_repairs += r > 0;
	snprintf(it->error, sizeof(it->error), "%s", r < 0 ? error : "");
	it->result = r < 0 ? r : 0;
}

static void remark(struct interface *it, const char *note)
{
	if (*note && strcmp(it->note, note))
		log_warn("interface %s", note);
	snprintf(it->note, sizeof(it->note), "%s", note);
}

static int ifindex_of(const struct interfaces *in, uint32_t i)
{
	uint32_t n;

	return attach_status(in->attach, &n)[i].ifindex;
}

/* Attached again: was it the same device that lost the program soon after the last time? */
static void count_row(struct interface *it, bool same_device, int64_t now_ms)
{
	if (!same_device || it->result == -ENODEV)
		return;
	it->n_row = it->tried_ms && now_ms - it->tried_ms < INTERFACES_CALM_MS ? it->n_row + 1 : 1;
}

static bool is_meant(const struct interface *it, int64_t now_ms)
{
	return it->left || (it->n_row >= INTERFACES_REPAIRS &&
			    now_ms - it->tried_ms < INTERFACES_CALM_MS);
}

static void explain(struct interface *it, bool to_stay, struct attach_error *err)
{
	size_t len = strlen(err->text);

	it->left = to_stay;
	snprintf(err->text + len, sizeof(err->text) - len,
		 to_stay ? ", for it was taken off again each time it was put back "
			   "('sluicectl reload' puts it back)"
			 : " (reattach: false; a restart of the agent puts it back)");
}

static void look(struct interfaces *in, uint32_t i, int64_t now_ms)
{
	struct interface *it = &in->list[i];
	bool to_stay = is_to_stay(in, it->name);
	int before = ifindex_of(in, i), r;
	struct attach_error err;

	r = attach_keep(in->attach, i, to_stay && !is_meant(it, now_ms), &err);
	if (r == -EAGAIN) {
		it->due_ms = now_ms + INTERFACES_LOOK_MS;
		return;
	}
	it->n_root = r == -EPERM ? it->n_root + 1 : 0;
	if (r == 1)
		count_row(it, before == ifindex_of(in, i), now_ms);
	else if (r == -ECANCELED)
		explain(it, to_stay, &err);
	next_look(it, r, now_ms);
	report(it, r, err.text, attach_pin_dir(in->attach));
	if (r >= 0)
		remark(it, err.text);
}

void interfaces_tick(struct interfaces *in, int64_t now_ms)
{
	follow_list(in);
	for (uint32_t i = 0; i < in->n; i++)
		if (now_ms >= in->list[i].due_ms)
			look(in, i, now_ms);
}

bool interfaces_need_root(const struct interfaces *in)
{
	for (uint32_t i = 0; i < in->n; i++)
		if (in->list[i].n_root >= 2 && is_to_stay(in, in->list[i].name))
			return true;
	return false;
}

struct interfaces_state interfaces_state(const struct interfaces *in, uint32_t i)
{
	if (!in || i >= in->n)
		return (struct interfaces_state){.error = ""};
	return (struct interfaces_state){.error = in->list[i].error,
					 .n_losses = in->list[i].n_losses,
					 .n_repairs = in->list[i].n_repairs};
}
