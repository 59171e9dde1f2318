/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The agent's decisions -> words in the shared maps, while packets read them.
 *
 * Ids (VIPs, pools, backends) are found again by name after a restart, so nothing moves that did
 * not change. Everything the packet path reads is written by single atomic stores of at most eight
 * bytes, in an order that leaves every packet with an old or a new answer. What cannot be kept in
 * the maps (since when a slot is in transition) is kept here, and assumed new after a restart.
 *
 * Pure on struct tables: no clock, no I/O but the grace callback.
 */
#ifndef SLUICE_AGENT_PUBLISH_H
#define SLUICE_AGENT_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/nexthop.h"
#include "userspace/agent/tables.h"
#include "userspace/lib/address.h"

struct publish;

/* Returns when no packet sees memory as it was before the call; hold_until_quiet() of hold.h. */
typedef void (*publish_grace_fn)(void *userdata);

/*
 * Adopt what the tables hold. t must outlive the result. Slots found in transition are taken as
 * having entered it at now_ms. Returns 0; -ENOMEM.
 */
int publish_new(struct tables *t, publish_grace_fn grace, void *userdata, uint64_t now_ms,
		struct publish **ret);

/* Accepts NULL inside; clears. The tables stay as they are. */
void publish_free(struct publish **p);

/* --- control ---------------------------------------------------------------------------------- */

/*
 * Rates are per CPU. The hash key decides every flow's slot, so it cannot change while a VIP is
 * active: -EBUSY then, nothing written.
 */
int publish_control(struct publish *p, const uint8_t hash_key[16], uint32_t new_entries_per_s,
		    uint32_t replies_per_s);

/* Source ports of mode nat, host order, both ends included; low 0: the mode is not in use. */
void publish_nat_ports(struct publish *p, uint16_t low, uint16_t high);

/* now_ns: CLOCK_MONOTONIC. */
void publish_heartbeat(struct publish *p, uint64_t now_ns);

/* --- pools ------------------------------------------------------------------------------------ */

/*
 * Id of the pool of that name, a free one if there is none. n_slots: prime, <= LB_SLOTS_MAX.
 * Returns 0; -EBUSY if the pool exists with other n_slots (every flow would move: remove the pool
 * first, or detach); -ENOSPC; -ENAMETOOLONG.
 */
int publish_pool_get(struct publish *p, const char *name, uint32_t n_slots, uint32_t *ret_pool);

/* Forget a pool that no VIP uses any more: -EBUSY if one does. Clears its slots. Waits once. */
int publish_pool_release(struct publish *p, uint32_t pool);

/* --- VIPs ------------------------------------------------------------------------------------- */

struct publish_vip {
	struct endpoint endpoint;
	uint8_t proto; /* IPPROTO_TCP */
	uint32_t pool; /* id */
	enum lb_mode mode;
	enum lb_policy policy;
	enum lb_affinity affinity;
	enum lb_on_down on_down;
	uint32_t flags; /* LB_VIP_F_* */
};

/* Id of the VIP of that name, a free one if there is none. Returns 0; -ENOSPC; -ENAMETOOLONG. */
int publish_vip_get(struct publish *p, const char *name, uint32_t *ret_vip);

/*
 * The VIP that has the endpoint, if there is one, gets this name; one that had the name gets the
 * other's. So an endpoint keeps its id, which its flows' entries hold, whatever it is called.
 * Claim for all VIPs to come, before the first is set. Returns 1 if names changed, else 0;
 * -ENAMETOOLONG.
 */
int publish_vip_claim(struct publish *p, const char *name, const struct endpoint *endpoint,
		      uint8_t proto);

/*
 * Bring a VIP to what settings say, in place; without LB_VIP_F_ACTIVE its packets pass to the
 * kernel. Only words that differ are written. Returns 0; -EEXIST if another VIP has the endpoint;
 * -ENOSPC if the index has no place for it: nothing is changed then.
 */
int publish_vip_set(struct publish *p, uint32_t vip, const struct publish_vip *settings);

/* Of 256 SYNs for it so many count as load; 0: all. */
void publish_vip_syn_share(struct tables *t, uint32_t vip, uint32_t share);

/* Take it out of the index and free the id. Waits once. */
void publish_vip_release(struct publish *p, uint32_t vip);

/*
 * The index alone. addr: as in maps/vip.h; kind ADDRESS has port 0 and proto 0. Inserting a key
 * that is there sets its VIP. Waits only if other keys must move (rare). -ENOSPC: no place found.
 */
int publish_index_insert(struct publish *p, const struct lb_vip_cell *cell);
void publish_index_remove(struct publish *p, const __be32 addr[4], __be16 port, __u8 proto);
const struct lb_vip_cell *publish_index_find(const struct publish *p, const __be32 addr[4],
					     __be16 port, __u8 proto);

/* --- backends --------------------------------------------------------------------------------- */

/*
 * Id of the node of that pool, name and endpoint (all three); a free one, dead and without a next
 * hop, if there is none. Free ids are handed out in turn, so that one is not used again soon.
 * ret_adopted: it was there already. Returns 0; -ENOSPC; -ENAMETOOLONG.
 */
int publish_backend_get(struct publish *p, const char *pool, const char *name,
			const struct endpoint *endpoint, uint16_t *ret_id, bool *ret_adopted);

bool publish_backend_used(const struct publish *p, uint16_t id);
bool publish_backend_is_alive(const struct publish *p, uint16_t id);

/* Alive: its flows may be forwarded. Dead: flag and generation change in one word, so entries are
 * void from then on. Setting what is set changes nothing. LB_BACKEND_LOCAL is always alive. */
void publish_backend_set_alive(struct publish *p, uint16_t id);
void publish_backend_set_dead(struct publish *p, uint16_t id);

/*
 * Next hop, in place, also under traffic. A MAC address with its neighbouring field is one 8-byte
 * word, so none is ever half new. A change of the device is three words: packets of these
 * nanoseconds may leave by the new device with the old MAC or the reverse, and are lost as in any
 * change of a route. A result that is not READY leaves what is there (forwarding goes on by the
 * last known next hop) unless there is no way at all (NO_ROUTE, LOCAL): F_NEXTHOP is cleared.
 * src: outer source (family 0: res->src); src_vary: see maps/backend.h; gue_port: host order.
 */
void publish_backend_nexthop(struct publish *p, uint16_t id, const struct nexthop_result *res,
			     const struct address *src, __be32 src_vary, uint16_t gue_port);

/* What people and an adopting agent read; name, pool and address stay. */
struct publish_node_info {
	enum lb_state state; /* not LB_STATE_NONE */
	uint32_t weight;
	uint32_t effective_weight;
	uint32_t tier;
	enum lb_state operator_state;
	bool weight_set;
	uint64_t drain_deadline_ms;
};
void publish_backend_info(struct publish *p, uint16_t id, const struct publish_node_info *info);

/* Whether a slot (as prev, too) or a list of its pool names it. */
bool publish_backend_is_named(const struct publish *p, uint16_t id);

/*
 * Free the id. Publish slots, turns and members without it first: -EBUSY if a slot or a list still
 * names it. Entries that name it are void from then on.
 */
int publish_backend_release(struct publish *p, uint16_t id);

/* --- slots ------------------------------------------------------------------------------------ */

/*
 * Bring the pool's slots to cur[] and alt[] (n_slots of each; alt may be NULL: no second choices),
 * writing only those that change, each by compare-and-swap that keeps `exc`:
 *   from A (alive) to B: prev = A, unless a transition is under way, which goes on with its prev
 *   back to prev: the transition ends; flows that came meanwhile have entries
 *   from A (dead, or none) to B: without prev;   prev dead: cleared
 *   alt of a slot whose transition is ending: once it has ended
 * LB_BACKEND_LOCAL is a backend that is always alive. *ret_written: number of words written.
 * Backends that died must have been set dead before. Returns 0; -EINVAL if n_slots is not the
 * pool's.
 */
int publish_slots(struct publish *p, uint32_t pool, uint32_t n_slots, const uint16_t *cur,
		  const uint16_t *alt, uint64_t now_ms, uint32_t *ret_written);

/*
 * End transitions older than flow_idle_ms in up to budget slots, going on where the last call
 * stopped; those from LB_BACKEND_LOCAL after PUBLISH_LOCAL_IDLE_MS, if that is less: this host's
 * answers are short, and while they last every new flow of the slot needs an entry.
 * For the last LB_HALF_OPEN_MS of it (or half of it, if that is less) a slot says LB_ALT_ENDING.
 * Of the others none ends until flow_idle_ms after a flow could not be learned, for it may have no
 * entry still; so call it more often than that. None ends while a poll-mode worker stands still,
 * nor until what waited for it has come (userspace/lib/rounds.h).
 * now_ms: this moment, not that of the event. Returns the number of slots it ended.
 */
#define PUBLISH_LOCAL_IDLE_MS 60000
uint32_t publish_end_transitions(struct publish *p, uint64_t flow_idle_ms, uint64_t now_ms,
				 uint32_t budget);

uint32_t publish_in_transition(const struct publish *p, uint32_t pool);

/* --- members, turns, loads -------------------------------------------------------------------- */

/* Write into the idle bank, then flip; nothing is written if it is the same. n <= LB_TURNS_MAX. */
void publish_turns(struct publish *p, uint32_t pool, const uint16_t *turns, uint32_t n);

/* Likewise the members that an exact scan compares. n <= LB_MEMBERS_MAX. */
void publish_members(struct publish *p, uint32_t pool, const uint16_t *backends, uint32_t n);

/* What this host added so far; read it when a scrape starts. */
uint32_t publish_load_inc(const struct publish *p, uint16_t id);

/* A scrape ended: base = its answer, and what inc was when it started is subtracted. */
void publish_load_scraped(struct publish *p, uint16_t id, uint32_t base, uint32_t inc_at_start);

/* base alone, for a stale or missing load. */
void publish_load_base(struct publish *p, uint16_t id, uint32_t base);

/* weight in thousandths; flags LB_LOAD_F_*. */
void publish_load_weight(struct publish *p, uint16_t id, uint32_t weight, uint32_t flags);

/* Live flows that ended: subtract n, never below 0. */
void publish_load_flows_sub(struct tables *t, uint16_t id, uint32_t n);

#endif
