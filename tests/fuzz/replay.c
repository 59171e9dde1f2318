// SPDX-License-Identifier: BSD-2-Clause
/*
 * A fuzzer without a fuzzing engine: each file given, or in the directories given, goes through
 * once. Any compiler with sanitizers builds it. Prints how many there were; whatever ends it before
 * that also names the file.
 */
#include <dirent.h>
#include <errno.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIMIT_S 20 /* of one input, under sanitizers on a busy machine */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char current[4096];

static void name_it(void)
{
	static const char says[] = "\nwith ";

	if (!current[0] || write(STDERR_FILENO, says, sizeof(says) - 1) < 0 ||
	    write(STDERR_FILENO, current, strlen(current)) < 0)
		return;
	current[0] = '\0';
}

static void on_signal(int number)
{
	name_it();
	signal(number, SIG_DFL);
	raise(number);
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", current, what, strerror(errno));
	exit(1);
}

static void replay_file(void)
{
	FILE *file = fopen(current, "rb");
	struct stat st;
	uint8_t *data;

	if (!file || fstat(fileno(file), &st) < 0)
		fail("cannot be read");
	data = malloc(st.st_size ? st.st_size : 1); /* ends where the input ends */
	if (!data || fread(data, 1, st.st_size, file) != (size_t)st.st_size)
		fail("cannot be read");
	fclose(file);
	alarm(LIMIT_S);
	LLVMFuzzerTestOneInput(data, st.st_size);
	alarm(0);
	free(data);
}

static unsigned int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		fail(path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(current, sizeof(current), "%s/%s", path, entry->d_name);
		replay_file();
		n++;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	unsigned int n = 0;
	struct stat st;

	__sanitizer_set_death_callback(name_it);
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	for (int i = 1; i < argc; i++) {
		snprintf(current, sizeof(current), "%s", argv[i]);
		if (stat(argv[i], &st) < 0)
			fail("cannot be read");
		if (S_ISDIR(st.st_mode)) {
			n += replay_directory(argv[i]);
		} else {
			replay_file();
			n++;
		}
	}
	current[0] = '\0';
	printf("%u inputs\n", n);
	return n == 0;
}
