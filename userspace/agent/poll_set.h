/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thousands of descriptors -> callbacks, in batches, in an sd-event loop.
 *
 * sd-event makes a round of the loop, with its system calls, for every descriptor that is ready.
 * Here they share an epoll set of their own, of which sd-event sees one descriptor; and when they
 * become ready thick and fast they are looked at every few milliseconds and not one by one, since
 * most of the time would go into waking up. For the loop's thread only.
 */
#ifndef SLUICE_AGENT_POLL_SET_H
#define SLUICE_AGENT_POLL_SET_H

#include <stdint.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

struct poll_set;

/* events: of epoll. Any function here may be called from it, but poll_set_free(). */
typedef void (*poll_set_fn)(void *userdata, int fd, uint32_t events);

/* Returns 0; -ENOMEM; -errno. event is referenced. */
int poll_set_new(sd_event *event, struct poll_set **ret);

/* The descriptors are their owners'. Accepts NULL, clears. */
void poll_set_free(struct poll_set **set);

/*
 * Watch fd (level-triggered, as epoll) for these events, instead of what was watched before; 0 for
 * none. Events that came before a descriptor was forgotten are never delivered to its next use.
 * Returns 0; -ENOMEM; -errno of epoll_ctl(), and what was watched stays.
 */
int poll_set_watch(struct poll_set *set, int fd, uint32_t events, poll_set_fn fn, void *userdata);

/* Must be called before fd is closed; or after, if it was closed by someone else. */
void poll_set_forget(struct poll_set *set, int fd);

/* Deliver now what has come, if the set is busy and would let it wait. */
void poll_set_flush(struct poll_set *set);

/* Deliver now what has come, all of it. */
void poll_set_drain(struct poll_set *set);

#endif
