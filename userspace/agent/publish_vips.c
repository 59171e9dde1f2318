/* SPDX-License-Identifier: BSD-2-Clause */
/* VIPs: ids by name or by endpoint, their words in place, their cells in the index. */
#include "userspace/agent/publish_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(offsetof(struct lb_vip, n_slots) == 4 && offsetof(struct lb_vip, flags) == 8 &&
		       offsetof(struct lb_vip, pool) == 12 && offsetof(struct lb_vip, mode) == 16,
	       "words of struct lb_vip");

int publish_vip_get(struct publish *p, const char *name, uint32_t *ret_vip)
{
	int r;

	r = publish_check_name(name);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++) {
		if (!strcmp(p->t->vip_info[i].name, name)) {
			*ret_vip = i;
			return 0;
		}
	}
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++) {
		uint32_t id = (p->next_vip + i) % LB_VIPS_MAX;
		uint32_t generation = p->t->vips[id].generation;

		if (p->t->vip_info[id].name[0])
			continue;
		memset(&p->t->vips[id], 0, sizeof(p->t->vips[id]));
		p->t->vips[id].generation = generation + 1;
		publish_set_name(p->t->vip_info[id].name, name);
		p->next_vip = (id + 1) % LB_VIPS_MAX;
		*ret_vip = id;
		return 0;
	}
	return -ENOSPC;
}

static const char *vip_name(const struct publish *p, uint32_t id)
{
	return p->t->vip_info[id].name;
}

int publish_vip_claim(struct publish *p, const char *name, const struct endpoint *endpoint,
		      uint8_t proto)
{
	char former[LB_NAME_MAX];
	const struct lb_vip_cell *cell;
	__be32 addr[4];
	int r;

	r = publish_check_name(name);
	if (r < 0)
		return r;
	publish_addr_words(&endpoint->addr, addr);
	cell = publish_index_find(p, addr, htons(endpoint->port), proto);
	if (!cell || !strcmp(vip_name(p, cell->vip), name))
		return 0;
	publish_set_name(former, vip_name(p, cell->vip));
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++)
		if (!strcmp(vip_name(p, i), name))
			publish_set_name(p->t->vip_info[i].name, former);
	publish_set_name(p->t->vip_info[cell->vip].name, name);
	return 1;
}

static void vip_words(const struct publish *p, const struct publish_vip *s, uint32_t generation,
		      struct lb_vip *ret_vip)
{
	*ret_vip = (struct lb_vip){
		.slot_base = s->pool * LB_SLOTS_MAX,
		.n_slots = p->t->pool_info[s->pool].n_slots,
		.flags = s->flags | (s->mode == LB_MODE_NAT ? LB_VIP_F_TRACK : 0),
		.pool = s->pool,
		.mode = s->mode,
		.policy = s->policy,
		.affinity = s->affinity,
		.on_down = s->on_down,
		.port = htons(s->endpoint.port),
		.proto = s->proto,
		.family = s->endpoint.addr.family == AF_INET6 ? 6 : 4,
		.generation = generation,
	};
	publish_addr_words(&s->endpoint.addr, ret_vip->addr);
}

/* flags are in the second word: first when the VIP goes, last when it comes. */
static void vip_write(struct lb_vip *to, const struct lb_vip *from)
{
	if (!(from->flags & LB_VIP_F_ACTIVE))
		publish_write((char *)to + 8, publish_word_at(from, 8));
	for (size_t off = 0; off < sizeof(*from); off += 8) {
		if (off != 8)
			publish_write((char *)to + off, publish_word_at(from, off));
	}
	publish_write((char *)to + 8, publish_word_at(from, 8));
}

static bool same_addr(const struct lb_vip *a, const struct lb_vip *b)
{
	return !memcmp(a->addr, b->addr, sizeof(a->addr));
}

/* Insert what the VIP needs in the index; on failure nothing of it is left. */
static int vip_index(struct publish *p, uint32_t id, const struct lb_vip *vip)
{
	struct lb_vip_cell cell = {
		.port = vip->port, .proto = vip->proto, .kind = LB_VIP_KIND_SERVICE, .vip = id};
	const struct lb_vip_cell *there;
	bool had;
	int r;

	memcpy(cell.addr, vip->addr, sizeof(cell.addr));
	there = publish_index_find(p, cell.addr, cell.port, cell.proto);
	if (there && there->vip != id)
		return -EEXIST;
	had = there != NULL;
	r = publish_index_insert(p, &cell);
	if (r < 0 || publish_index_find(p, cell.addr, 0, 0))
		return r;
	cell.port = 0;
	cell.proto = 0;
	cell.kind = LB_VIP_KIND_ADDRESS;
	r = publish_index_insert(p, &cell);
	if (r < 0 && !had)
		publish_index_remove(p, vip->addr, vip->port, vip->proto);
	return r;
}

/* Another VIP on the same address, or -ENOENT. */
static int vip_neighbour(const struct publish *p, uint32_t id, const __be32 addr[4])
{
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++) {
		if (i != id && p->t->vip_info[i].name[0] && p->t->vips[i].n_slots &&
		    !memcmp(p->t->vips[i].addr, addr, 16))
			return i;
	}
	return -ENOENT;
}

/* Take an endpoint that VIP id had out of the index; heir: VIP for its address, < 0: none. */
static void vip_unindex(struct publish *p, uint32_t id, const struct lb_vip *gone, int heir)
{
	const struct lb_vip_cell *there;
	struct lb_vip_cell cell;

	publish_index_remove(p, gone->addr, gone->port, gone->proto);
	there = publish_index_find(p, gone->addr, 0, 0);
	if (!there || there->vip != id)
		return;
	if (heir < 0) {
		publish_index_remove(p, gone->addr, 0, 0);
		return;
	}
	cell = *there;
	cell.vip = heir;
	publish_index_insert(p, &cell); /* it is there: cannot fail */
}

int publish_vip_set(struct publish *p, uint32_t vip, const struct publish_vip *settings)
{
	struct lb_vip *to = &p->t->vips[vip];
	struct lb_vip old = *to, new;
	char text[ENDPOINT_TEXT_MAX];
	int r;

	assert(vip < LB_VIPS_MAX && p->t->vip_info[vip].name[0]);
	assert(settings->pool < p->t->n_pools && p->t->pool_info[settings->pool].in_use);

	vip_words(p, settings, old.generation, &new);
	new.syn_share = old.syn_share;
	/* all but the flags first: a cell may lead here as soon as it is in the index */
	if (!old.n_slots) {
		uint32_t flags = new.flags;

		new.flags = 0;
		vip_write(to, &new);
		new.flags = flags;
	}
	r = vip_index(p, vip, &new);
	if (r < 0) {
		if (!old.n_slots)
			vip_write(to, &old);
		return r;
	}
	vip_write(to, &new);
	if (old.n_slots &&
	    (!same_addr(&old, &new) || old.port != new.port || old.proto != new.proto))
		vip_unindex(p, vip, &old,
			    same_addr(&old, &new) ? (int)vip : vip_neighbour(p, vip, old.addr));
	publish_set_name(p->t->vip_info[vip].pool, p->t->pool_info[settings->pool].name);
	publish_set_name(p->t->vip_info[vip].address, endpoint_format(&settings->endpoint, text));
	return 0;
}

void publish_vip_syn_share(struct tables *t, uint32_t vip, uint32_t share)
{
	assert(vip < LB_VIPS_MAX && share < 256);
	__atomic_store_n(&t->vips[vip].syn_share, share, __ATOMIC_RELAXED);
}

void publish_vip_release(struct publish *p, uint32_t vip)
{
	struct lb_vip *to = &p->t->vips[vip];
	struct lb_vip gone = {.generation = to->generation};

	assert(vip < LB_VIPS_MAX && p->t->vip_info[vip].name[0]);

	__atomic_store_n(&to->flags, 0, __ATOMIC_RELEASE);
	if (to->n_slots)
		vip_unindex(p, vip, to, vip_neighbour(p, vip, to->addr));
	publish_wait(p);
	vip_write(to, &gone);
	memset(&p->t->vip_info[vip], 0, sizeof(p->t->vip_info[vip]));
}
