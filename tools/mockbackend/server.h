/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections -> requests -> answers: one thread, one event loop. libmicrohttpd speaks HTTP; a
 * request that waits (for a slot, a token, a delay, for ever) is suspended and costs nothing.
 * Suspended connections are watched for the end of their peer, so that it frees its slot at once.
 */
#ifndef SLUICE_MOCKBACKEND_SERVER_H
#define SLUICE_MOCKBACKEND_SERVER_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "tools/mockbackend/engine.h"
#include "tools/mockbackend/fault.h"
#include "tools/mockbackend/listen.h"
#include "tools/mockbackend/openai.h"
#include "tools/mockbackend/page.h"

#define SERVER_BODY_MAX (4U << 20)

struct server_options {
	const char *name;
	const char *model;
	struct engine_config engine;
	struct fault_settings settings;
	struct listen_socket listeners[LISTEN_MAX];
	uint32_t n_listeners;
};

struct request;

struct conn {
	int fd;
	bool gone; /* the peer closed or reset it */
	char address[INET6_ADDRSTRLEN];
	uint16_t port;
	struct MHD_Connection *mhd;
	struct request *request; /* the one in work; NULL between two */
};

struct server {
	const char *name;
	const char *model;
	sd_event *event;
	sd_event_source *tick;
	sd_event_source *reopen;
	sd_event_source *accept_sources[LISTEN_MAX];
	struct listen_socket listeners[LISTEN_MAX];
	uint32_t n_listeners;
	struct MHD_Daemon *daemon;
	int hangup_fd; /* epoll of all connections, for the end of the peer only */
	struct engine engine;
	struct fault_settings settings;
	struct fault_settings base; /* as on the command line */
	struct request *requests;   /* all live ones */
	uint64_t next_id;
	int64_t started_s;
	bool run_daemon; /* something changed for libmicrohttpd to see */
	bool stopping;
};

/* Open everything and install SIGTERM and SIGINT. Logs and returns -errno on failure. */
int server_open(struct server *s, const struct server_options *o);

/* Serve until a signal. Returns 0 or -errno. */
int server_run(struct server *s);

void server_close(struct server *s);

uint64_t server_now_us(const struct server *s);

/* Arm the timer of the engine after a change of what runs. */
void server_arm_tick(struct server *s);

/* Close the listening sockets for so long, then open them again on the same ports. */
void server_refuse(struct server *s, uint32_t refuse_ms);

/* After a change of the settings: speed, slots, queue. */
void server_apply_settings(struct server *s);

#endif
