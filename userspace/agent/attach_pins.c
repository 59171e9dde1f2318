/* SPDX-License-Identifier: BSD-2-Clause */
/* Pin directory: where it is, whether it is a bpffs, who holds it, what is in it. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "userspace/agent/attach_priv.h"
#include "userspace/lib/cleanup.h"

#define BPFFS_DIR "/sys/fs/bpf"

static bool on_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Mount the standard bpffs if dir lies below it and it is not there. */
static int mount_bpffs(const char *dir, struct attach_error *err)
{
	size_t n = strlen(BPFFS_DIR);

	if (strncmp(dir, BPFFS_DIR, n) || dir[n] != '/' || on_bpffs(BPFFS_DIR))
		return 0;
	if (mount("bpf", BPFFS_DIR, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return attach_fail(err, -errno,
				   "cannot mount a bpf file system on " BPFFS_DIR
				   ": %s; mount it before the start",
				   strerror(errno));
	return 0;
}

/* mkdir -p, but only inside a bpffs: a directory elsewhere could not hold pins. */
static int make_dir(const char *dir, struct attach_error *err)
{
	_cleanup_free_ char *copy = NULL;
	char *parent;
	int r;

	if (access(dir, F_OK) == 0)
		return 0;
	copy = strdup(dir);
	if (!copy)
		return -ENOMEM;
	parent = dirname(copy);
	if (access(parent, F_OK) < 0) {
		r = make_dir(parent, err);
		if (r < 0)
			return r;
	}
	if (!on_bpffs(parent))
		return attach_fail(err, -EINVAL,
				   "pin_dir %s: %s is not on a bpf file system; mount one there "
				   "(mount -t bpf bpf DIR) or choose a directory below " BPFFS_DIR,
				   dir, parent);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return attach_fail(err, -errno, "cannot create %s: %s", dir, strerror(errno));
	return 0;
}

/* Holder of a flock() on st, from /proc/locks; 0 if it is not found (another pid namespace). */
static long holder_pid(const struct stat *st)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/locks", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned int major_nr, minor_nr;
		unsigned long inode;
		char kind[16];
		long pid;

		/* "1: FLOCK  ADVISORY  WRITE 4711 00:1d:123 0 EOF" */
		if (sscanf(line, "%*u: %15s %*s %*s %ld %x:%x:%lu", kind, &pid, &major_nr,
			   &minor_nr, &inode) == 5 &&
		    !strcmp(kind, "FLOCK") && inode == st->st_ino &&
		    major_nr == major(st->st_dev) && minor_nr == minor(st->st_dev))
			return pid;
	}
	return 0;
}

static int busy(const char *dir, const struct stat *st, struct attach_error *err)
{
	long pid = holder_pid(st);

	if (pid > 0)
		return attach_fail(err, -EBUSY, "%s is in use by another agent, pid %ld", dir, pid);
	return attach_fail(err, -EBUSY, "%s is in use by another agent", dir);
}

int attach_pins_lock_existing(const char *dir, int *ret_fd, struct attach_error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat mine, now, parent;
	char up[PATH_MAX];

	if (snprintf(up, sizeof(up), "%s/..", dir) >= (int)sizeof(up))
		return attach_fail(err, -ENAMETOOLONG, "pin_dir %s: too long", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return attach_fail(err, -errno, "cannot open %s: %s", dir, strerror(errno));
	if (!on_bpffs(dir))
		return attach_fail(err, -EINVAL, "pin_dir %s is not on a bpf file system", dir);
	if (fstat(fd, &mine) < 0 || stat(up, &parent) < 0)
		return attach_fail(err, -errno, "cannot look at %s: %s", dir, strerror(errno));
	if (mine.st_dev != parent.st_dev)
		return attach_fail(err, -EINVAL,
				   "pin_dir %s is the root of its file system; choose a directory "
				   "of its own below it",
				   dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? busy(dir, &mine, err)
					    : attach_fail(err, -errno, "cannot lock %s: %s", dir,
							  strerror(errno));
	/* a detach may have removed it between open and lock */
	if (stat(dir, &now) < 0 || now.st_ino != mine.st_ino)
		return -ESTALE;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/*
 * The root of a bpffs may be writable by everybody (mounted without mode=), and whoever owns the
 * directory can take the pins away, or put others in their place.
 */
static int check_owner(int fd, const char *dir, struct attach_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return attach_fail(err, -errno, "cannot look at %s: %s", dir, strerror(errno));
	if (st.st_uid != geteuid())
		return attach_fail(err, -EPERM,
				   "pin_dir %s belongs to user %u, who could take the maps away; "
				   "remove it before the start",
				   dir, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return attach_fail(err, -EPERM,
				   "pin_dir %s can be written by others (mode %03o); chmod go-w it",
				   dir, st.st_mode & 0777);
	return 0;
}

int attach_pins_lock(const char *dir, int *ret_fd, struct attach_error *err)
{
	int r = -ESTALE;

	for (int tries = 0; r == -ESTALE && tries < 10; tries++) {
		r = mount_bpffs(dir, err);
		if (r >= 0)
			r = make_dir(dir, err);
		if (r >= 0)
			r = attach_pins_lock_existing(dir, ret_fd, err);
	}
	if (r == -ESTALE)
		return attach_fail(err, r, "%s is removed again and again", dir);
	return r < 0 ? r : check_owner(*ret_fd, dir, err);
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

bool attach_pins_name(const char *dir, unsigned int n, char *ret_name)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		if (is_dot(e->d_name) || n-- > 0)
			continue;
		snprintf(ret_name, NAME_MAX + 1, "%s", e->d_name);
		found = true;
	}
	if (d)
		closedir(d);
	return found;
}

int attach_pins_remove(const char *dir, const char *last, struct attach_error *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return attach_fail(err, -errno, "cannot read %s: %s", dir, strerror(errno));
	while (r == 0 && (e = readdir(d))) {
		if (is_dot(e->d_name) || (last && !strcmp(e->d_name, last)))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			r = attach_fail(err, -errno, "cannot remove %s/%s: %s", dir, e->d_name,
					strerror(errno));
	}
	if (r == 0 && last && unlinkat(dirfd(d), last, 0) < 0 && errno != ENOENT)
		r = attach_fail(err, -errno, "cannot remove %s/%s: %s", dir, last, strerror(errno));
	closedir(d);
	return r;
}
