/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file's path -> a call when what it names is another file, was written, came or went.
 *
 * inotify on the directory, so that a replacement by rename is seen, and a change of a link beside
 * it (Kubernetes mounts lists so); several events in FILE_WATCH_SETTLE_MS are one call. A look
 * every FILE_WATCH_LOOK_MS finds what inotify does not tell: a link's target elsewhere, a directory
 * that was not there, a file system of another host.
 */
#ifndef SLUICE_AGENT_FILE_WATCH_H
#define SLUICE_AGENT_FILE_WATCH_H

#include <systemd/sd-event.h>

#define FILE_WATCH_SETTLE_MS 100
#define FILE_WATCH_LOOK_MS   5000

struct file_watch;

/* What is there now is known: no call for it. Returns 0; -ENOMEM; -errno of sd-event. */
int file_watch_new(sd_event *event, const char *path, void (*on_change)(void *userdata),
		   void *userdata, struct file_watch **ret);

/* Also from on_change. Accepts NULL inside; clears. */
void file_watch_free(struct file_watch **watch);

/* What is there now is known from elsewhere; call before reading it. */
void file_watch_seen(struct file_watch *watch);

#endif
