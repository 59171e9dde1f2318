/* SPDX-License-Identifier: BSD-2-Clause */
/* A server of HTTP/2 without TLS whose client knows beforehand (RFC 9113, 3.3). */
#ifndef TESTS_LIB_RAW_HTTP2_H
#define TESTS_LIB_RAW_HTTP2_H

#include "tests/lib/raw_server.h"

/* Just enough of RFC 9113: our SETTINGS, an ACK of theirs, and ":status: 200" for each HEADERS. */
static void raw_serve_http2(struct raw_conn *conn)
{
	static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
	static const uint8_t ack[] = {0, 0, 0, 4, 1, 0, 0, 0, 0};
	uint8_t head[9], preface[24], payload[16384];
	uint8_t answer[] = {0, 0, 1, 1, 5, 0, 0, 0, 0, 0x88};

	if (recv(conn->fd, preface, sizeof(preface), MSG_WAITALL) != sizeof(preface) ||
	    !raw_write(conn, settings, sizeof(settings)))
		return;
	while (recv(conn->fd, head, sizeof(head), MSG_WAITALL) == sizeof(head)) {
		size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];

		if (len > sizeof(payload) ||
		    (len && recv(conn->fd, payload, len, MSG_WAITALL) != (ssize_t)len))
			return;
		if (head[3] == 4 && !(head[4] & 1) && !raw_write(conn, ack, sizeof(ack)))
			return;
		if (head[3] != 1)
			continue;
		atomic_fetch_add(&conn->server->n_requests, 1);
		memcpy(answer + 5, head + 5, 4);
		if (!raw_write(conn, answer, sizeof(answer)))
			return;
	}
}

#endif
