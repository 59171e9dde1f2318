/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listening socket -> HTTP requests handed to a function, in the agent's loop: libmicrohttpd run
 * through its epoll descriptor. For servers whose answers cost little; nothing here waits.
 *
 * Connections, bytes of a body and time are limited by the settings; a header by libmicrohttpd's
 * memory for a connection (32 KiB).
 */
#ifndef SLUICE_AGENT_HTTP_SERVER_H
#define SLUICE_AGENT_HTTP_SERVER_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

struct http_server;

struct http_request {
	const char *method;
	const char *path; /* decoded, without its query */
	const char *body; /* NUL-terminated */
	size_t body_len;
	size_t body_max;
	bool too_long; /* the body is over body_max, and not here */
};

struct http_server_settings {
	int fd; /* listens, does not block; the server's from the call on, also if that fails */
	unsigned int connections_max;
	unsigned int timeout_s; /* of a silent connection */
	size_t body_max;        /* 0: bodies are not taken */
	/* Bytes of a body of that request, instead of body_max. May be NULL. */
	size_t (*body_max_of)(void *userdata, const char *method, const char *path);
	/* A whole request: queue an answer, on conn. */
	enum MHD_Result (*on_request)(void *userdata, struct MHD_Connection *conn,
				      const struct http_request *request);
	/* An answer is sent, or its connection ended. May be NULL. */
	void (*on_answered)(void *userdata);
	void *userdata;
};

/* Returns 0; -ENOMEM; -EIO if libmicrohttpd does not start; -errno of sd-event. */
int http_server_new(sd_event *event, const struct http_server_settings *settings,
		    struct http_server **ret);

/* Closes all connections. Not from on_request. Accepts NULL inside; clears. */
void http_server_free(struct http_server **server);

/*
 * Queue an answer: len bytes of text, which was allocated and is taken over, also on failure.
 * A NULL text (out of memory) ends the connection.
 */
enum MHD_Result http_server_answer(struct MHD_Connection *conn, unsigned int status,
				   const char *type, char *text, size_t len);

#endif
