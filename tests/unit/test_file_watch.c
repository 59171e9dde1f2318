// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/file_watch.h"

struct world {
	char dir[64];
	char path[128];
	sd_event *event;
	struct file_watch *watch;
	int calls;
	int free_at; /* free the watch in this call; 0: never */
};

static void on_change(void *userdata)
{
	struct world *w = userdata;

	if (++w->calls == w->free_at)
		file_watch_free(&w->watch);
}

static void set_up(struct world *w, const char *name)
{
	*w = (struct world){0};
	strcpy(w->dir, "/tmp/test-file-watch-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/%s", w->dir, name);
	assert_true(sd_event_new(&w->event) >= 0);
}

static void tear_down(struct world *w)
{
	char command[128];

	file_watch_free(&w->watch);
	sd_event_unref(w->event);
	snprintf(command, sizeof(command), "rm -rf %s", w->dir);
	assert_int_equal(system(command), 0);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Run the loop for so long, or until there were so many calls (0: the whole time). */
static void run(struct world *w, int64_t ms, int calls)
{
	int64_t end = now_ms() + ms;

	while (now_ms() < end && (!calls || w->calls < calls))
		assert_true(sd_event_run(w->event, 20000) >= 0);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void replace(const struct world *w, const char *text)
{
	char tmp[160];

	snprintf(tmp, sizeof(tmp), "%s.new", w->path);
	put(tmp, text);
	assert_int_equal(rename(tmp, w->path), 0);
}

static void each_way_to_change_a_file_is_one_call(void **state)
{
	struct world w;

	(void)state;
	set_up(&w, "f");
	put(w.path, "a");
	assert_int_equal(file_watch_new(w.event, w.path, on_change, &w, &w.watch), 0);
	run(&w, 300, 0);
	assert_int_equal(w.calls, 0); /* what was there is known */
	replace(&w, "b");
	run(&w, 30000, 1);
	assert_int_equal(w.calls, 1);
	put(w.path, "longer");
	run(&w, 30000, 2);
	assert_int_equal(w.calls, 2);
	unlink(w.path);
	run(&w, 30000, 3);
	assert_int_equal(w.calls, 3);
	replace(&w, "c");
	replace(&w, "dd"); /* at once after it */
	run(&w, 30000, 4);
	run(&w, 300, 0);
	assert_int_equal(w.calls, 4);
	tear_down(&w);
}

static void other_files_and_what_is_known_bring_no_call(void **state)
{
	struct world w;
	char other[160];

	(void)state;
	set_up(&w, "f");
	put(w.path, "a");
	assert_int_equal(file_watch_new(w.event, w.path, on_change, &w, &w.watch), 0);
	snprintf(other, sizeof(other), "%s.other", w.path);
	put(other, "x");
	replace(&w, "known");
	file_watch_seen(w.watch);
	run(&w, 500, 0);
	assert_int_equal(w.calls, 0);
	tear_down(&w);
}

static void a_directory_that_comes_later_is_found_by_looking(void **state)
{
	struct world w;
	char dir[160];

	(void)state;
	set_up(&w, "later/f");
	assert_int_equal(file_watch_new(w.event, w.path, on_change, &w, &w.watch), 0);
	snprintf(dir, sizeof(dir), "%s/later", w.dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	put(w.path, "a");
	run(&w, FILE_WATCH_LOOK_MS + 30000, 1);
	assert_int_equal(w.calls, 1);
	replace(&w, "b"); /* from now on by inotify */
	run(&w, 30000, 2);
	assert_int_equal(w.calls, 2);
	tear_down(&w);
}

static void a_watch_may_be_freed_by_its_own_call(void **state)
{
	struct world w;

	(void)state;
	set_up(&w, "f");
	w.free_at = 1;
	assert_int_equal(file_watch_new(w.event, w.path, on_change, &w, &w.watch), 0);
	replace(&w, "a");
	run(&w, 30000, 1);
	assert_int_equal(w.calls, 1);
	replace(&w, "bb");
	run(&w, 300, 0);
	assert_int_equal(w.calls, 1);
	tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way_to_change_a_file_is_one_call),
		cmocka_unit_test(other_files_and_what_is_known_bring_no_call),
		cmocka_unit_test(a_directory_that_comes_later_is_found_by_looking),
		cmocka_unit_test(a_watch_may_be_freed_by_its_own_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
