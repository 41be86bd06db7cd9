// SPDX-License-Identifier: GPL-2.0
/* vpipectl: files of sysfs, debugfs and /proc/sys */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpipectl.h"

/* The first line, without its end */
bool attribute_read(const char *dir, const char *name, char *value, size_t size)
{
	char path[DEVICE_PATH_MAX + 300];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(value, size, f);
	fclose(f);
	if (ok)
		value[strcspn(value, "\n")] = '\0';
	return ok;
}

bool attribute_number(const char *dir, const char *name, long long *value)
{
	char text[64], *end;

	if (!attribute_read(dir, name, text, sizeof(text)))
		return false;
	*value = strtoll(text, &end, 10);
	return end != text && !*end;
}

/* false: errno says why */
bool attribute_write(const char *path, const char *value)
{
	ssize_t n = strlen(value), done;
	int fd, err;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, value, n);
	err = errno;
	close(fd);
	errno = done < 0 ? err : EIO;
	return done == n;
}
