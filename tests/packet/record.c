// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <string.h>

#include "tests/packet/record.h"

struct writer {
	uint8_t *bytes;
	uint32_t n;
};

static void put(struct writer *w, uint32_t v)
{
	assert(w->n < RECORD_MAX);
	w->bytes[w->n++] = v;
}

static uint32_t id_of(uint32_t backend)
{
	return backend == LB_BACKEND_LOCAL ? RECORD_LOCAL : backend & 0x7f;
}

static void put_slot(struct writer *w, struct lb_slot s)
{
	put(w, id_of(s.cur));
	put(w, id_of(s.alt));
	put(w, id_of(s.prev));
	put(w, s.exc & 0xff);
}

static void put_frame(struct writer *w, const struct layer *layers)
{
	struct frame f;

	frame_build(layers, 0, &f);
	put(w, f.len & 0xff);
	put(w, f.len >> 8);
	for (uint32_t i = 0; i < f.len; i++)
		put(w, f.b[i]);
}

static void put_list(struct writer *w, const struct step *s)
{
	uint32_t n = 0;

	while (n < LIST_MAX && s->list[n])
		n++;
	put(w, s->value);
	put(w, n);
	for (uint32_t i = 0; i < n; i++)
		put(w, s->list[i]);
}

static void put_load(struct writer *w, const struct step *s)
{
	put(w, s->node);
	put(w, s->value > 255 ? 255 : s->value);
	put(w, s->value2 / 100 > 255 ? 255 : s->value2 / 100);
	put(w, s->flags);
}

static void put_step(struct writer *w, const struct step *s)
{
	switch (s->kind) {
	case STEP_FRAME:
	case STEP_SWEEP:
	case STEP_CUTS:
		put(w, RECORD_FRAME);
		put_frame(w, s->in);
		break;
	case STEP_SLOT:
		put(w, RECORD_SLOT);
		put_slot(w, s->slot);
		break;
	case STEP_NODE:
		put(w, RECORD_NODE);
		put(w, s->node);
		put(w, s->flags);
		put(w, s->value);
		break;
	case STEP_LOAD:
		put(w, RECORD_LOAD);
		put_load(w, s);
		break;
	case STEP_CONTROL:
		put(w, RECORD_CONTROL);
		put(w, s->value);
		put(w, !!s->value2);
		put(w, !!s->value3);
		break;
	case STEP_TIME:
		put(w, RECORD_TIME);
		put(w, s->value > 255 ? 255 : s->value);
		break;
	case STEP_MTU:
		put(w, RECORD_MTU);
		put(w, (MTU - s->value) / 8);
		break;
	case STEP_FILL:
		put(w, RECORD_FILL);
		put(w, s->table);
		break;
	case STEP_MEMBERS:
	case STEP_TURNS:
		put(w, s->kind == STEP_MEMBERS ? RECORD_MEMBERS : RECORD_TURNS);
		put_list(w, s);
		break;
	default:
		break;
	}
}

uint32_t record_case(const struct packet_case *c, uint8_t bytes[RECORD_MAX])
{
	struct lb_slot slot = c->slot, none = {0};
	struct writer w = {.bytes = bytes};

	if (!memcmp(&slot, &none, sizeof(slot)))
		slot.cur = NODE1;
	put(&w, c->mode ? c->mode : LB_MODE_IPIP);
	put(&w, c->policy ? c->policy : LB_POLICY_HASH);
	put(&w, c->affinity ? c->affinity : LB_AFFINITY_FLOW);
	put(&w, c->on_down ? c->on_down : LB_ON_DOWN_RESET);
	put(&w, c->vip_flags);
	put(&w, c->nat_low != 0);
	put(&w, c->spread);
	put_slot(&w, slot);
	for (const struct step *s = c->steps; s->kind != STEP_END; s++)
		put_step(&w, s);
	return w.n;
}
