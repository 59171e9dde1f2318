// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/file_watch.h"

#include <errno.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define EVENTS                                                                                     \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |        \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* What tells one state of a file from another; all zero: there is none. */
struct identity {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

struct file_watch {
	sd_event *event;
	sd_event_source *dir; /* NULL while the directory cannot be watched */
	sd_event_source *timer;
	struct identity seen;
	void (*on_change)(void *userdata);
	void *userdata;
	char *dir_path;
	char path[];
};

static struct identity look(const struct file_watch *w)
{
	struct identity id = {0};
	struct stat st;

	if (stat(w->path, &st) < 0)
		return id;
	id.dev = st.st_dev;
	id.ino = st.st_ino;
	id.size = st.st_size;
	id.changed = st.st_mtim;
	return id;
}

static bool same(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static void look_in(struct file_watch *w, uint64_t ms)
{
	(void)sd_event_source_set_time_relative(w->timer, ms * 1000);
	(void)sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

static int on_event(sd_event_source *s, const struct inotify_event *e, void *userdata)
{
	struct file_watch *w = userdata;

	(void)s;
	/* Gone, or moved away: the next look finds the one that has its name then. */
	if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
		w->dir = sd_event_source_disable_unref(w->dir);
	look_in(w, FILE_WATCH_SETTLE_MS);
	return 0;
}

static void watch_dir(struct file_watch *w)
{
	if (!w->dir)
		(void)sd_event_add_inotify(w->event, &w->dir, w->dir_path, EVENTS, on_event, w);
}

static int on_look(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct file_watch *w = userdata;
	struct identity now;

	(void)s;
	(void)usec;
	watch_dir(w);
	look_in(w, FILE_WATCH_LOOK_MS);
	now = look(w);
	if (same(&now, &w->seen))
		return 0;
	w->seen = now;
	w->on_change(w->userdata); /* w may be gone now */
	return 0;
}

void file_watch_seen(struct file_watch *w)
{
	w->seen = look(w);
}

int file_watch_new(sd_event *event, const char *path, void (*on_change)(void *userdata),
		   void *userdata, struct file_watch **ret)
{
	struct file_watch *w = calloc(1, sizeof(*w) + strlen(path) + 1);
	char *copy = strdup(path);
	int r = -ENOMEM;

	if (w && copy) {
		strcpy(w->path, path);
		w->event = sd_event_ref(event);
		w->dir_path = strdup(dirname(copy));
		w->on_change = on_change;
		w->userdata = userdata;
	}
	free(copy);
	if (w && w->dir_path)
		r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC,
					       FILE_WATCH_LOOK_MS * 1000, 1000, on_look, w);
	if (r < 0) {
		file_watch_free(&w);
		return r;
	}
	watch_dir(w);
	file_watch_seen(w);
	*ret = w;
	return 0;
}

void file_watch_free(struct file_watch **watch)
{
	struct file_watch *w = *watch;

	if (!w)
		return;
	sd_event_source_disable_unref(w->dir);
	sd_event_source_disable_unref(w->timer);
	sd_event_unref(w->event);
	free(w->dir_path);
	free(w);
	*watch = NULL;
}
