/* SPDX-License-Identifier: BSD-2-Clause */
/* Ids by name; pools, backends and control words in place. */
#include "userspace/agent/publish_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/core/hash.h"
#include "userspace/lib/cleanup.h"

/* The last word of a backend: device, family, flags and generation change together. */
union backend_tail {
	struct {
		uint32_t ifindex;
		uint8_t family;
		uint8_t flags;
		uint8_t generation;
		uint8_t pad;
	};
	uint64_t word;
};
_Static_assert(offsetof(struct lb_backend, ifindex) == 56 &&
		       offsetof(struct lb_backend, generation) == 62 &&
		       offsetof(struct lb_backend, dmac) == 32 &&
		       offsetof(struct lb_backend, smac) == 40 &&
		       offsetof(struct lb_backend, src_vary) == 48,
	       "words of struct lb_backend");

/* --- names ------------------------------------------------------------------------------------ */

/* The first byte last: a name that begins is whole. */
void publish_set_name(char to[LB_NAME_MAX], const char *name)
{
	char copy[LB_NAME_MAX] = {0};

	memcpy(copy, name, strnlen(name, sizeof(copy) - 1));
	memcpy(to + 1, copy + 1, sizeof(copy) - 1);
	__atomic_store_n(&to[0], copy[0], __ATOMIC_RELEASE);
}

int publish_check_name(const char *name)
{
	assert(name && name[0]);
	return strlen(name) < LB_NAME_MAX ? 0 : -ENAMETOOLONG;
}

void publish_addr_words(const struct address *a, __be32 ret_addr[4])
{
	memset(ret_addr, 0, 16);
	if (a->family == AF_INET6) {
		memcpy(ret_addr, a->bytes, 16);
	} else if (a->family == AF_INET) {
		ret_addr[2] = htonl(0xffff);
		memcpy(&ret_addr[3], a->bytes, 4);
	}
}

uint64_t publish_word_at(const void *p, size_t offset)
{
	uint64_t w;

	memcpy(&w, (const char *)p + offset, sizeof(w));
	return w;
}

/* --- life ------------------------------------------------------------------------------------- */

static uint32_t key_hash(const char *pool, const char *name, const char *address)
{
	const char *parts[3] = {pool, name, address};
	uint32_t h = 2166136261u; /* FNV-1a */

	for (unsigned int i = 0; i < 3; i++) {
		for (const char *c = parts[i]; *c; c++)
			h = (h ^ (unsigned char)*c) * 16777619u;
		h = (h ^ 0xff) * 16777619u;
	}
	return (h ^ h >> 16) & (PUBLISH_KEYS - 1);
}

static uint32_t info_hash(const struct lb_backend_info *info)
{
	return key_hash(info->pool, info->name, info->address);
}

static void key_link(struct publish *p, uint16_t id)
{
	uint16_t *head = &p->key_head[info_hash(&p->t->backend_info[id])];

	p->key_next[id] = *head;
	*head = id;
}

static void key_unlink(struct publish *p, uint16_t id)
{
	uint16_t *at = &p->key_head[info_hash(&p->t->backend_info[id])];

	while (*at && *at != id)
		at = &p->key_next[*at];
	if (*at)
		*at = p->key_next[id];
}

/* Pinned memory was written by an agent, but maybe one that died: every text must end. */
static void end_names(struct tables *t)
{
	for (uint32_t i = 0; i < LB_BACKENDS_MAX; i++) {
		t->backend_info[i].name[LB_NAME_MAX - 1] = '\0';
		t->backend_info[i].pool[LB_NAME_MAX - 1] = '\0';
		t->backend_info[i].address[LB_NAME_MAX - 1] = '\0';
	}
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++)
		t->vip_info[i].name[LB_NAME_MAX - 1] = '\0';
	for (uint32_t i = 0; i < LB_POOLS_MAX; i++)
		t->pool_info[i].name[LB_NAME_MAX - 1] = '\0';
}

static int adopt(struct publish *p, uint64_t now_ms)
{
	int r;

	end_names(p->t);
	for (uint32_t i = 1; i < LB_BACKENDS_MAX; i++) {
		if (p->t->backend_info[i].state == LB_STATE_NONE)
			continue;
		key_link(p, i);
		if (!publish_backend_is_alive(p, i))
			publish_note_death(p, i);
	}
	for (uint32_t i = 0; i < p->t->n_pools; i++) {
		if (!p->t->pool_info[i].in_use)
			continue;
		if (p->t->pool_info[i].n_slots > LB_SLOTS_MAX)
			return -EPROTO;
		r = publish_slots_adopt(p, i, now_ms);
		if (r < 0)
			return r;
	}
	publish_index_adopt(p);
	return 0;
}

int publish_new(struct tables *t, publish_grace_fn grace, void *userdata, uint64_t now_ms,
		struct publish **ret)
{
	struct publish *p;
	int r;

	assert(t && grace && ret);

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->t = t;
	p->grace = grace;
	p->userdata = userdata;
	p->start_ms = now_ms;
	p->asked_ms = now_ms;
	p->unlearned = tables_reason(t, LB_EV_OVERFLOW_LEARN);
	p->next_backend = 1;
	r = adopt(p, now_ms);
	if (r < 0) {
		publish_free(&p);
		return r;
	}
	*ret = p;
	return 0;
}

void publish_free(struct publish **p)
{
	if (!p || !*p)
		return;
	for (uint32_t i = 0; i < LB_POOLS_MAX; i++) {
		free((*p)->since[i]);
		free((*p)->alt[i]);
	}
	free(*p);
	*p = NULL;
}

/* --- control ---------------------------------------------------------------------------------- */

static bool any_vip_active(const struct tables *t)
{
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++) {
		if (t->vips[i].flags & LB_VIP_F_ACTIVE)
			return true;
	}
	return false;
}

int publish_control(struct publish *p, const uint8_t hash_key[16], uint32_t new_entries_per_s,
		    uint32_t replies_per_s)
{
	struct lb_control *c = p->t->control;
	struct lb_hash_key key = {0};
	__u64 secret[2];

	memcpy(secret, hash_key, sizeof(secret));
	lb_hash_expand(secret, &key);
	if (memcmp(&c->hash, &key, sizeof(key))) {
		if (any_vip_active(p->t))
			return -EBUSY;
		c->hash = key;
	}
	__atomic_store_n(&c->new_entries_per_s, new_entries_per_s, __ATOMIC_RELAXED);
	__atomic_store_n(&c->replies_per_s, replies_per_s, __ATOMIC_RELAXED);
	return 0;
}

void publish_nat_ports(struct publish *p, uint16_t low, uint16_t high)
{
	struct lb_control *c = p->t->control;

	/* The packet path refuses while high < low, so a half-written pair only costs a SYN. */
	__atomic_store_n(&c->nat_port_high, high, __ATOMIC_RELAXED);
	__atomic_store_n(&c->nat_port_low, low, __ATOMIC_RELEASE);
}

void publish_heartbeat(struct publish *p, uint64_t now_ns)
{
	__atomic_store_n(&p->t->control->heartbeat_ns, now_ns, __ATOMIC_RELAXED);
}

/* --- pools ------------------------------------------------------------------------------------ */

static int find_pool(const struct publish *p, const char *name)
{
	for (uint32_t i = 0; i < p->t->n_pools; i++) {
		if (p->t->pool_info[i].in_use && !strcmp(p->t->pool_info[i].name, name))
			return i;
	}
	return -ENOENT;
}

int publish_pool_get(struct publish *p, const char *name, uint32_t n_slots, uint32_t *ret_pool)
{
	struct lb_pool_info *info;
	uint32_t i;
	int r;

	assert(n_slots >= 1 && n_slots <= LB_SLOTS_MAX);

	r = publish_check_name(name);
	if (r < 0)
		return r;
	r = find_pool(p, name);
	if (r >= 0) {
		if (p->t->pool_info[r].n_slots != n_slots)
			return -EBUSY;
		*ret_pool = r;
		return 0;
	}
	for (i = 0; i < p->t->n_pools && p->t->pool_info[i].in_use; i++)
		;
	if (i == p->t->n_pools)
		return -ENOSPC;
	info = &p->t->pool_info[i];
	info->n_slots = n_slots;
	r = publish_slots_adopt(p, i, p->start_ms);
	if (r < 0)
		return r;
	publish_turns(p, i, NULL, 0);
	publish_members(p, i, NULL, 0);
	publish_set_name(info->name, name);
	__atomic_store_n(&info->in_use, 1, __ATOMIC_RELEASE);
	*ret_pool = i;
	return 0;
}

int publish_pool_release(struct publish *p, uint32_t pool)
{
	struct lb_pool_info *info = &p->t->pool_info[pool];

	assert(pool < p->t->n_pools && info->in_use);

	for (uint32_t i = 0; i < LB_VIPS_MAX; i++) {
		if (p->t->vip_info[i].name[0] && p->t->vips[i].pool == pool &&
		    p->t->vips[i].n_slots)
			return -EBUSY;
	}
	publish_wait(p); /* who found a VIP of this pool is done */
	publish_slots_clear(p, pool);
	publish_turns(p, pool, NULL, 0);
	publish_members(p, pool, NULL, 0);
	/* last, so that a pool that is not in use has no slots, also if the agent dies here */
	__atomic_store_n(&info->in_use, 0, __ATOMIC_RELEASE);
	memset(info->name, 0, sizeof(info->name));
	info->n_slots = 0;
	return 0;
}

/* --- backends --------------------------------------------------------------------------------- */

static union backend_tail read_tail(const struct lb_backend *b)
{
	return (union backend_tail){.word = publish_read(&b->ifindex)};
}

static void write_tail(struct lb_backend *b, union backend_tail tail)
{
	publish_write(&b->ifindex, tail.word);
}

bool publish_backend_used(const struct publish *p, uint16_t id)
{
	return id != LB_BACKEND_NONE && id < LB_BACKENDS_MAX &&
	       p->t->backend_info[id].state != LB_STATE_NONE;
}

bool publish_backend_is_alive(const struct publish *p, uint16_t id)
{
	if (id == LB_BACKEND_LOCAL)
		return true;
	return id < LB_BACKENDS_MAX && (p->t->backends[id].flags & LB_BACKEND_F_ALIVE);
}

static uint16_t find_backend(const struct publish *p, const char *pool, const char *name,
			     const char *address)
{
	uint16_t id = p->key_head[key_hash(pool, name, address)];

	while (id) {
		const struct lb_backend_info *info = &p->t->backend_info[id];

		if (!strcmp(info->name, name) && !strcmp(info->pool, pool) &&
		    !strcmp(info->address, address))
			break;
		id = p->key_next[id];
	}
	return id;
}

static uint16_t free_backend(struct publish *p)
{
	for (uint32_t i = 0; i < LB_BACKENDS_MAX - 1; i++) {
		uint16_t id = (p->next_backend - 1 + i) % (LB_BACKENDS_MAX - 1) + 1;

		if (publish_backend_used(p, id) || p->refs[id])
			continue;
		p->next_backend = id % (LB_BACKENDS_MAX - 1) + 1;
		return id;
	}
	return LB_BACKEND_NONE;
}

static void start_backend(struct publish *p, uint16_t id, const struct endpoint *endpoint)
{
	struct lb_backend *b = &p->t->backends[id];
	struct lb_load *load = &p->t->loads[id];
	union backend_tail tail = read_tail(b);
	struct lb_backend new = {.port = htons(endpoint->port)};

	tail.ifindex = 0;
	tail.family = endpoint->addr.family == AF_INET6 ? 6 : 4;
	tail.flags = 0;
	tail.generation++;
	write_tail(b, tail); /* no packet uses the rest any more */
	publish_addr_words(&endpoint->addr, new.addr);
	for (size_t off = 0; off < offsetof(struct lb_backend, ifindex); off += 8)
		publish_write((char *)b + off, publish_word_at(&new, off));
	/* flows stays: entries of the id's former node are subtracted when they go */
	load->base = 0;
	load->weight = 0;
	load->flags = 0;
	__atomic_store_n(&load->inc, 0, __ATOMIC_RELAXED);
}

int publish_backend_get(struct publish *p, const char *pool, const char *name,
			const struct endpoint *endpoint, uint16_t *ret_id, bool *ret_adopted)
{
	struct lb_backend_info *info;
	char text[ENDPOINT_TEXT_MAX];
	uint16_t id;
	int r;

	assert(endpoint->addr.family == AF_INET || endpoint->addr.family == AF_INET6);

	r = publish_check_name(pool);
	if (r >= 0)
		r = publish_check_name(name);
	if (r < 0)
		return r;
	endpoint_format(endpoint, text);
	id = find_backend(p, pool, name, text);
	if (id) {
		*ret_id = id;
		*ret_adopted = true;
		return 0;
	}
	id = free_backend(p);
	if (!id)
		return -ENOSPC;
	start_backend(p, id, endpoint);
	info = &p->t->backend_info[id];
	memset(info, 0, sizeof(*info));
	publish_set_name(info->name, name);
	publish_set_name(info->pool, pool);
	publish_set_name(info->address, text);
	__atomic_store_n(&info->state, LB_STATE_UNKNOWN, __ATOMIC_RELEASE);
	key_link(p, id);
	*ret_id = id;
	*ret_adopted = false;
	return 0;
}

void publish_backend_set_alive(struct publish *p, uint16_t id)
{
	union backend_tail tail;

	if (id == LB_BACKEND_LOCAL)
		return;
	assert(publish_backend_used(p, id));
	if (publish_backend_is_alive(p, id))
		return;
	publish_await_death(p, id);
	tail = read_tail(&p->t->backends[id]);
	tail.flags |= LB_BACKEND_F_ALIVE;
	write_tail(&p->t->backends[id], tail);
}

void publish_backend_set_dead(struct publish *p, uint16_t id)
{
	union backend_tail tail;

	assert(publish_backend_used(p, id));
	tail = read_tail(&p->t->backends[id]);
	if (!(tail.flags & LB_BACKEND_F_ALIVE))
		return;
	tail.flags &= ~LB_BACKEND_F_ALIVE;
	tail.generation++;
	write_tail(&p->t->backends[id], tail);
	publish_note_death(p, id);
}

static void write_nexthop(struct lb_backend *b, const struct nexthop_result *res,
			  const struct address *src, __be32 src_vary, uint16_t gue_port)
{
	union backend_tail tail = read_tail(b);
	struct lb_backend new = *b;

	publish_addr_words(src, new.src);
	new.src_vary = src_vary;
	new.gue_port = htons(gue_port);
	new.vlan = htons(res->vlan);
	memcpy(new.dmac, res->dmac, sizeof(new.dmac));
	memcpy(new.smac, res->smac, sizeof(new.smac));
	new.mtu = res->mtu > UINT16_MAX ? UINT16_MAX : res->mtu;
	for (size_t off = offsetof(struct lb_backend, src);
	     off < offsetof(struct lb_backend, ifindex); off += 8)
		publish_write((char *)b + off, publish_word_at(&new, off));
	tail.ifindex = res->ifindex;
	tail.flags &= ~LB_BACKEND_F_TAGGED;
	tail.flags |= LB_BACKEND_F_NEXTHOP | (res->vlan ? LB_BACKEND_F_TAGGED : 0);
	write_tail(b, tail);
}

void publish_backend_nexthop(struct publish *p, uint16_t id, const struct nexthop_result *res,
			     const struct address *src, __be32 src_vary, uint16_t gue_port)
{
	struct lb_backend *b = &p->t->backends[id];
	union backend_tail tail;

	assert(publish_backend_used(p, id));

	switch (res->state) {
	case NEXTHOP_READY:
		write_nexthop(b, res, src->family ? src : &res->src, src_vary, gue_port);
		break;
	case NEXTHOP_NO_ROUTE:
	case NEXTHOP_LOCAL:
		tail = read_tail(b);
		tail.flags &= ~LB_BACKEND_F_NEXTHOP;
		write_tail(b, tail);
		break;
	default:
		break;
	}
}

void publish_backend_info(struct publish *p, uint16_t id, const struct publish_node_info *node)
{
	struct lb_backend_info *info = &p->t->backend_info[id];

	assert(publish_backend_used(p, id));
	assert(node->state != LB_STATE_NONE);

	info->weight = node->weight;
	info->effective_weight = node->effective_weight;
	info->tier = node->tier;
	info->operator_state = node->operator_state;
	info->weight_set = node->weight_set;
	info->drain_deadline_ms = node->drain_deadline_ms;
	__atomic_store_n(&info->state, node->state, __ATOMIC_RELEASE);
}

bool publish_backend_is_named(const struct publish *p, uint16_t id)
{
	int pool = find_pool(p, p->t->backend_info[id].pool);

	return p->refs[id] || (pool >= 0 && publish_lists_name(p, pool, id));
}

int publish_backend_release(struct publish *p, uint16_t id)
{
	struct lb_backend_info *info = &p->t->backend_info[id];
	union backend_tail tail;

	assert(publish_backend_used(p, id));

	if (publish_backend_is_named(p, id))
		return -EBUSY;
	publish_backend_set_dead(p, id);
	tail = read_tail(&p->t->backends[id]);
	tail.flags = 0;
	write_tail(&p->t->backends[id], tail);
	key_unlink(p, id);
	__atomic_store_n(&info->state, LB_STATE_NONE, __ATOMIC_RELEASE);
	memset(info, 0, sizeof(*info));
	return 0;
}
