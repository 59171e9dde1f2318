/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libcurl's loop is made of: shared by curl_loop.c (time, requests) and curl_slot.c (sockets:
 * who uses each, and what becomes of those that nobody uses).
 */
#ifndef SLUICE_AGENT_CURL_LOOP_INTERNAL_H
#define SLUICE_AGENT_CURL_LOOP_INTERNAL_H

#include "userspace/agent/curl_loop.h"

struct shard {
	struct curl_loop *loop;
	CURLM *multi;
	uint64_t due_us; /* when libcurl wants to run; NEVER */
};

struct curl_request {
	CURL *easy;
	struct shard *shard;
	struct curl_loop *loop;
	const struct curl_request_ops *ops;
	void *userdata;
	struct curl_keeper *keeper;
	struct curl_request *prev, *next; /* in loop->active; next alone: in loop->pool */
	struct curl_request *next_dead;   /* in loop->dead */
	unsigned int user_timeout_ms;
	int fd;         /* of its connection, -1: none */
	int open_errno; /* of a socket() that failed, else 0 */
	bool added;     /* to the multi handle */
	bool dead;      /* cancelled within a callback of libcurl */
	bool silent;    /* its connection was closed with nothing acknowledged */
	char error[CURL_ERROR_SIZE];
};

/* A socket of ours, at the index of its descriptor. */
struct slot {
	struct shard *shard;        /* NULL: not ours */
	struct curl_request *req;   /* that uses it; NULL: none does */
	struct curl_keeper *keeper; /* of its last request */
	bool active;                /* libcurl watches it */
	bool answered;              /* the peer acknowledged the connection */
	bool proven;                /* a request was answered over it */
};

struct curl_loop {
	sd_event *event;
	sd_event_source *timer;
	struct poll_set *set;
	uint32_t in_curl;  /* depth of calls into libcurl that may call back */
	uint64_t armed_us; /* of timer; NEVER */
	struct slot *slots;
	size_t n_slots;
	struct curl_request *active;
	struct curl_request *pool;
	struct curl_request *dead;
	struct curl_loop_stats stats;
	struct shard shards[CURL_LOOP_SHARDS]; /* a multi handle is made when first needed */
};

/* Callbacks of libcurl: CURLMOPT_SOCKETFUNCTION, CURLOPT_OPENSOCKETFUNCTION and its like. */
int curl_slot_on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *unused);
curl_socket_t curl_slot_on_open(void *userdata, curlsocktype purpose, struct curl_sockaddr *sa);
int curl_slot_on_close(void *userdata, curl_socket_t fd);

/* req uses the socket from now on; NULL: nobody does. */
void curl_slot_lend(struct slot *slot, int fd, struct curl_request *req);

/* libcurl is told of events at a socket, or of time: CURL_SOCKET_TIMEOUT. */
void curl_shard_run(struct shard *shard, curl_socket_t fd, int what);

#endif
