/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One worker of sluice-dpdk between ring devices, on tables in memory: a near and a far device with
 * a mirror each. Apart from run_dpdk.c because both sides have a struct tables.
 */
#ifndef TESTS_PACKET_DPDK_HOST_H
#define TESTS_PACKET_DPDK_HOST_H

#include <stdint.h>

#include "maps/dpdk.h"

struct dpdk_tables;

enum came_out {
	OUT_NOWHERE = 1,
	OUT_NEAR,   /* the device it came from */
	OUT_FAR,
	OUT_KERNEL, /* the mirror of the device it came from */
};

/* Needs no privilege and no huge pages. Once in a process. Returns 0, -errno. */
int host_open(uint32_t near_ifindex, uint32_t far_ifindex);

/* Memory of the one worker; see userspace/dpdk/tables.h. */
void *host_control(void);
void *host_vip_index(void);
void *host_vips(void);
void *host_pools(void);
void *host_turns(void);
void *host_members(void);
void *host_slots(void);
void *host_backends(void);
void *host_loads(void);
void *host_limit(void);
void *host_vip_counts(void);
void *host_backend_counts(void);
void *host_counters(void);
void *host_recent(void);

/*
 * One round of the worker with one frame. Where it came out, and its bytes in ret_bytes (room of
 * ret_max), *ret_len of them. Returns 0; -EIO if more than one frame came out or any was lost.
 */
int host_run(const uint8_t *bytes, uint32_t len, enum came_out *ret_out, uint8_t *ret_bytes,
	     uint32_t ret_max, uint32_t *ret_len);

/*
 * One round with n frames at once, each of `len` bytes. Returns how many left by the near device;
 * ret_macs: where each goes, in the order they leave. -errno.
 */
int host_run_burst(const uint8_t *const *frames, const uint32_t *lens, uint32_t n,
		   uint8_t (*ret_macs)[6]);

/* A frame that came out, as far as there is room for it. */
struct host_frame {
	enum came_out out;
	uint32_t len;
	uint8_t bytes[256];
};

/* Bytes in front of every third frame of a burst from now on; the others have plenty. */
void host_set_room(uint32_t bytes);

/* The device finds this frame of a burst damaged from now on; UINT32_MAX: none. */
void host_set_damaged(uint32_t frame);

/*
 * One round with n frames at once. Returns how many came out, at most n: those of each device in
 * their order. -errno.
 */
int host_run_frames(const uint8_t *const *frames, const uint32_t *lens, uint32_t n,
		    struct host_frame *ret_frames);

/*
 * How the worker takes its bursts from now on: 0 … as burst_ways() has them (so it begins with 0),
 * HOST_ONE_BY_ONE: each frame through lb_forward() by itself. NULL: there is no such way; its name.
 */
#define HOST_ONE_BY_ONE (-1)
const char *host_take_way(int way);

/* half_open: which of the two tables. As flow_table_find() and flow_table_put(). */
struct lb_flow *host_flow(int half_open, const struct lb_flow_key *key);
int host_flow_put(int half_open, const struct lb_flow_key *key, const struct lb_flow *flow);

/* All tables of entries empty; those of nat have room for NAT_ROOM (cases.h). */
void host_clear(void);

/* All entries become older. */
void host_age(uint32_t ticks);

/* Of the near device. */
void host_set_mtu(uint32_t mtu);

#endif
