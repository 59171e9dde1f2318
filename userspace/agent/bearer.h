/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file with a bearer token -> the token, read anew when the file changes.
 *
 * The token is the file's first line, without blanks around it; 1..BEARER_TOKEN_MAX bytes of what
 * RFC 6750 calls b64token or any other printable ASCII but blanks. Files that are replaced by
 * rename or through a symbolic link (as orchestrators do) are noticed.
 */
#ifndef SLUICE_AGENT_BEARER_H
#define SLUICE_AGENT_BEARER_H

#include <stdint.h>

#define BEARER_TOKEN_MAX 8192
#define BEARER_CHECK_MS  1000 /* a file is looked at this often at most */

struct bearer;
struct bearer_store; /* shares what is known of a file between its users */

/* Returns 0 or -ENOMEM. */
int bearer_store_new(struct bearer_store **ret);

/* All of its bearers must have been closed. Accepts NULL, clears. */
void bearer_store_free(struct bearer_store **store);

/* Reads nothing yet. path is copied. Returns 0 or -ENOMEM. */
int bearer_open(struct bearer_store *store, const char *path, struct bearer **ret);
void bearer_close(struct bearer **bearer); /* accepts NULL, clears */

/*
 * The token as of now. Returns 0 and a string valid until the next call for the same file;
 * -EINVAL if the first line is no token; -errno if the file cannot be read: the old token is then
 * not used any longer.
 */
int bearer_token(struct bearer *bearer, int64_t now_ms, const char **ret_token);

#endif
