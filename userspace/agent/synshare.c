/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/synshare.h"

#include <string.h>

#include "userspace/agent/publish.h"
#include "userspace/lib/log.h"

static void read_vip(struct synshare *s, uint32_t vip, uint32_t *ret_entries,
		     uint32_t *ret_promoted)
{
	struct lb_count now;

	tables_vip_count(s->t, vip, &now);
	*ret_entries = now.entries - s->vip[vip].entries; /* modulo 2^32, both */
	*ret_promoted = now.promoted - s->vip[vip].promoted;
	s->vip[vip].entries = now.entries;
	s->vip[vip].promoted = now.promoted;
}

void synshare_init(struct synshare *s, struct tables *t)
{
	uint32_t entries, promoted;

	memset(s, 0, sizeof(*s));
	s->t = t;
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++)
		read_vip(s, i, &entries, &promoted);
}

uint32_t synshare_of(uint32_t entries, uint32_t promoted)
{
	uint32_t share;

	if (entries < SYNSHARE_LEAST || promoted > entries / 2)
		return 0;
	share = (uint32_t)((uint64_t)promoted * 256 / entries);
	return share ? share : 1;
}

static void step_vip(struct synshare *s, uint32_t vip, uint64_t now_ms)
{
	uint32_t entries, promoted, share;

	read_vip(s, vip, &entries, &promoted);
	share = synshare_of(entries, promoted);
	if (share)
		s->vip[vip].flood_ms = now_ms;
	else if (s->t->vips[vip].syn_share && now_ms - s->vip[vip].flood_ms < SYNSHARE_KEEP_MS)
		return;
	if (!share != !s->t->vips[vip].syn_share)
		log_info("vip %s: %s", s->t->vip_info[vip].name,
			 share ? "a flood of SYNs: those that lead to nothing do not count as load"
			       : "the flood of SYNs is over");
	publish_vip_syn_share(s->t, vip, share);
}

void synshare_step(struct synshare *s, uint64_t now_ms)
{
	if (now_ms < s->next_ms)
		return;
	s->next_ms = now_ms + SYNSHARE_STEP_MS;
	for (uint32_t i = 0; i < LB_VIPS_MAX; i++)
		if (s->t->vips[i].flags & LB_VIP_F_ACTIVE)
			step_vip(s, i, now_ms);
}
