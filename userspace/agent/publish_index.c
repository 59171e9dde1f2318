/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIP index: a cuckoo table with one cell a bucket and two buckets a key (maps/vip.h).
 *
 * A cell is four words; the third holds port, protocol, kind and VIP id together, so a cell comes
 * and goes with that word. A cell that was cleared is filled again only after a grace period:
 * a reader that has compared the old address must not take the new VIP id for it.
 */
#include "userspace/agent/publish_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bpf/core/vip.h"

#define CELL_WORD 2 /* the word with kind and vip */

_Static_assert(offsetof(struct lb_vip_cell, port) == CELL_WORD * 8 &&
		       offsetof(struct lb_vip_cell, kind) < (CELL_WORD + 1) * 8 &&
		       offsetof(struct lb_vip_cell, vip) < (CELL_WORD + 1) * 8,
	       "kind and vip must share a word");

static bool cell_has_key(const struct lb_vip_cell *c, const __be32 addr[4], __be16 port, __u8 proto)
{
	return c->kind != LB_VIP_KIND_EMPTY && c->port == port && c->proto == proto &&
	       !memcmp(c->addr, addr, sizeof(c->addr));
}

static uint64_t cell_word(const struct lb_vip_cell *c, unsigned int n)
{
	uint64_t w;

	memcpy(&w, (const char *)c + n * sizeof(w), sizeof(w));
	return w;
}

static void cell_write(struct lb_vip_cell *to, const struct lb_vip_cell *from)
{
	char *words = (char *)to;

	publish_write(words, cell_word(from, 0));
	publish_write(words + 8, cell_word(from, 1));
	publish_write(words + 8 * CELL_WORD, cell_word(from, CELL_WORD));
}

static void cell_clear(struct lb_vip_cell *c)
{
	publish_write((char *)c + 8 * CELL_WORD, 0);
}

/* The other cell that the key in cell n may use; n itself if there is none. */
static uint32_t other_cell(const struct publish *p, uint32_t n)
{
	const struct lb_vip_cell *c = &p->t->vip_index[n];
	uint32_t a = lb_vip_bucket_a(c->addr, c->port, c->proto);
	uint32_t b = lb_vip_bucket_b(c->addr, c->port, c->proto);

	return a == n ? b : a;
}

/*
 * Follow from cell n whoever would have to move: every key has one other cell, so this is a path.
 * Returns the number of moves until an empty cell; -ENOSPC if it comes back to where it was.
 */
static int path_length(const struct publish *p, uint32_t n)
{
	uint32_t steps = 0;

	while (p->t->vip_index[n].kind != LB_VIP_KIND_EMPTY) {
		uint32_t next = other_cell(p, n);

		/* longer than there are cells: a circle */
		if (next == n || ++steps > LB_VIP_BUCKETS)
			return -ENOSPC;
		n = next;
	}
	return steps;
}

/* Make cell n empty by moving keys along its path, the last one first. */
static void make_room(struct publish *p, uint32_t n, uint32_t length)
{
	struct lb_vip_cell *index = p->t->vip_index;

	while (length) {
		uint32_t from = n, to;

		for (uint32_t i = 1; i < length; i++)
			from = other_cell(p, from);
		to = other_cell(p, from);
		cell_write(&index[to], &index[from]);
		publish_wait(p); /* who looked into `to` before is gone */
		cell_clear(&index[from]);
		publish_wait(p); /* who still reads `from` is gone */
		length--;
	}
}

const struct lb_vip_cell *publish_index_find(const struct publish *p, const __be32 addr[4],
					     __be16 port, __u8 proto)
{
	const struct lb_vip_cell *c;

	c = &p->t->vip_index[lb_vip_bucket_a(addr, port, proto)];
	if (cell_has_key(c, addr, port, proto))
		return c;
	c = &p->t->vip_index[lb_vip_bucket_b(addr, port, proto)];
	return cell_has_key(c, addr, port, proto) ? c : NULL;
}

int publish_index_insert(struct publish *p, const struct lb_vip_cell *cell)
{
	uint32_t a = lb_vip_bucket_a(cell->addr, cell->port, cell->proto);
	uint32_t b = lb_vip_bucket_b(cell->addr, cell->port, cell->proto);
	const struct lb_vip_cell *there;
	int from_a, from_b;

	assert(cell->kind != LB_VIP_KIND_EMPTY);
	assert(cell->vip < LB_VIPS_MAX);

	there = publish_index_find(p, cell->addr, cell->port, cell->proto);
	if (there) {
		publish_write((char *)(uintptr_t)there + 8 * CELL_WORD, cell_word(cell, CELL_WORD));
		return 0;
	}
	from_a = path_length(p, a);
	from_b = path_length(p, b);
	if (from_a < 0 && from_b < 0)
		return -ENOSPC;
	if (from_a < 0 || (from_b >= 0 && from_b < from_a)) {
		a = b;
		from_a = from_b;
	}
	make_room(p, a, from_a);
	cell_write(&p->t->vip_index[a], cell);
	return 0;
}

void publish_index_remove(struct publish *p, const __be32 addr[4], __be16 port, __u8 proto)
{
	uint32_t buckets[2] = {lb_vip_bucket_a(addr, port, proto),
			       lb_vip_bucket_b(addr, port, proto)};

	for (unsigned int i = 0; i < 2; i++) {
		struct lb_vip_cell *c = &p->t->vip_index[buckets[i]];

		if (cell_has_key(c, addr, port, proto))
			cell_clear(c);
	}
}

/* Cells of other kinds belong to no VIP; whoever inserted them looks after them. */
static bool has_owner(const struct publish *p, const struct lb_vip_cell *c)
{
	if (c->kind != LB_VIP_KIND_SERVICE && c->kind != LB_VIP_KIND_ADDRESS)
		return true;
	return c->vip < LB_VIPS_MAX && p->t->vip_info[c->vip].name[0];
}

/*
 * An agent that died while it moved a key left it in both cells; one that died while it released a
 * VIP may have left a cell of no VIP. Nobody reads the second copy: the first cell is looked at
 * first.
 */
void publish_index_adopt(struct publish *p)
{
	for (uint32_t n = 0; n < LB_VIP_BUCKETS; n++) {
		struct lb_vip_cell *c = &p->t->vip_index[n];

		if (c->kind == LB_VIP_KIND_EMPTY)
			continue;
		if (!has_owner(p, c) || publish_index_find(p, c->addr, c->port, c->proto) != c)
			cell_clear(c);
	}
}
