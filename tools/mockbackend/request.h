/* SPDX-License-Identifier: BSD-2-Clause */
/* One HTTP request, from its first line to its answer. */
#ifndef SLUICE_MOCKBACKEND_REQUEST_H
#define SLUICE_MOCKBACKEND_REQUEST_H

#include <microhttpd.h>

#include "tools/mockbackend/server.h"

/* The access handler and the completion callback of libmicrohttpd. cls: struct server. */
enum MHD_Result request_access(void *cls, struct MHD_Connection *mhd, const char *url,
			       const char *method, const char *version, const char *upload,
			       size_t *upload_size, void **con_cls);
void request_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
		       enum MHD_RequestTerminationCode toe);

/* The engine made tokens for this job. user: struct server. */
void request_wake(struct engine_job *job, void *user);

/* The peer of the connection went away: free what its request holds. */
void request_hangup(struct conn *conn, struct server *s);

/* The server stops: end every request so that libmicrohttpd can close its connections. */
void request_end_all(struct server *s);

#endif
