// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl detach: the one command that stops forwarding, of the pin directory that is meant. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tools/sluicectl/client.h"
#include "tools/sluicectl/commands.h"
#include "userspace/agent/attach.h"
#include "userspace/agent/local_delivery.h"
#include "userspace/lib/cleanup.h"

#define POLL_MS	      200
#define AGENT_ENDS_MS 10000
#define GONE_MS	      2000
#define GONE_POLL_MS  50

/* What the fallback responder told the kernel. */
static void clear_delivery(void)
{
	struct local_delivery *ld = NULL;
	int r = local_delivery_new(0, &ld);

	if (r == 0)
		r = local_delivery_clear(ld);
	if (r < 0)
		fprintf(stderr, "sluicectl: routing rules of the fallback responder stay: %s\n",
			strerror(-r));
	local_delivery_free(&ld);
}

/* Take the pins down from here. An agent that is about to end is waited for. */
static int detach_pinned(const char *pin_dir, int wait_ms)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	struct attach_error err = {};
	int r = attach_detach_pinned(pin_dir, &err);

	for (; r == -EBUSY && wait_ms > 0; wait_ms -= POLL_MS) {
		nanosleep(&pause, NULL);
		r = attach_detach_pinned(pin_dir, &err);
	}
	if (r < 0) {
		fprintf(stderr, "sluicectl: %s\n", err.text);
		return CTL_REFUSED;
	}
	return CTL_OK;
}

/* The program that is pinned there; 0: none. */
static uint32_t pinned_program(const char *pin_dir)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);
	_cleanup_close_ int fd = -1;
	char path[512];

	snprintf(path, sizeof(path), "%s/" ATTACH_PROGRAM_PIN, pin_dir);
	fd = bpf_obj_get(path);
	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

/*
 * Interfaces are looked through in this network namespace only. A program that lives on without its
 * pin is attached in another. The kernel frees one a moment after its last user is gone.
 */
static int is_off(uint32_t program)
{
	const struct timespec pause = {.tv_nsec = GONE_POLL_MS * 1000000L};

	for (int waited_ms = 0; program && waited_ms <= GONE_MS; waited_ms += GONE_POLL_MS) {
		_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program);

		if (fd < 0)
			return CTL_OK;
		if (waited_ms < GONE_MS)
			nanosleep(&pause, NULL);
	}
	if (!program)
		return CTL_OK;
	fprintf(stderr, "sluicectl: the maps are unpinned, but program %u still runs on an interface "
			"of another network namespace: ip link set dev DEVICE xdp off there\n",
		program);
	return CTL_REFUSED;
}

static bool same_directory(const char *a, const char *b)
{
	struct stat sa, sb;

	if (!strcmp(a, b))
		return true;
	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/*
 * Whose directory is it? What an agent of another one forwards is not what was meant.
 * Returns CTL_OK with *ret_agents, or what kept the agent from saying.
 */
static int is_the_agents(const struct ctl *ctl, const char *pin_dir, bool *ret_agents)
{
	json_t *json = NULL;
	const char *dir;
	int r = client_call(ctl, "GET", "/v1/status", NULL, &json);

	if (r != CTL_OK)
		return r;
	dir = json_string_value(json_object_get(json, "pin_dir"));
	*ret_agents = dir && same_directory(dir, pin_dir);
	json_decref(json);
	return CTL_OK;
}

/* Ask the agent; what only root can do is done here. */
static int detach_agent(const struct ctl *ctl)
{
	const char *dir, *result;
	json_t *json = NULL;
	int r = client_call(ctl, "POST", "/v1/detach", NULL, &json);

	if (r != CTL_OK)
		return r;
	dir = json_string_value(json_object_get(json, "pin_dir"));
	result = json_string_value(json_object_get(json, "result"));
	if (!result || strcmp(result, "detached")) {
		r = detach_pinned(dir ? dir : ATTACH_PIN_DIR, AGENT_ENDS_MS);
		if (r == CTL_OK)
			clear_delivery();
	}
	json_decref(json);
	return r;
}

static int say(const struct ctl *ctl, const char *text)
{
	if (ctl->json)
		puts("{\"result\": \"detached\"}");
	else
		printf("detached: %s\n", text);
	return CTL_OK;
}

int cmd_detach(const struct ctl *ctl, int argc, char **argv)
{
	const char *pin_dir = NULL;
	bool agent = client_reaches(ctl), agents = true;
	uint32_t program;
	int r = CTL_OK;

	if (argc == 2 && !strcmp(argv[0], "--pin-dir")) {
		pin_dir = argv[1];
	} else if (argc) {
		fprintf(stderr, "Usage: sluicectl detach [--pin-dir DIR]\n");
		return CTL_USAGE;
	}
	if (agent && pin_dir)
		r = is_the_agents(ctl, pin_dir, &agents);
	if (r != CTL_OK)
		return r;
	if (agent && agents) {
		r = detach_agent(ctl);
		return r != CTL_OK ? r : say(ctl, "forwarding has stopped, and the agent with it");
	}
	program = pinned_program(pin_dir ? pin_dir : ATTACH_PIN_DIR);
	r = detach_pinned(pin_dir ? pin_dir : ATTACH_PIN_DIR, 0);
	if (r == CTL_OK)
		r = is_off(program);
	if (r != CTL_OK)
		return r;
	if (agent)
		return say(ctl, "what was pinned there is gone; the agent, which is of another "
				"directory, goes on");
	clear_delivery();
	return say(ctl, "forwarding has stopped (no agent was running)");
}
