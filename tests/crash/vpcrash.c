// SPDX-License-Identifier: GPL-2.0
/*
 * vpcrash: what the crash tests do in dom0.
 *
 *   vpcrash stain DEVICE            all of it becomes the marker 0xAA
 *   vpcrash write FILE OFFSET LEN AT    the pattern from AT on into the file
 *   vpcrash list LOG                the log of dm-log-writes, one JSON object an entry
 *   vpcrash replay LOG DEVICE FROM TO [volatile:SEED|volatile:none] [without:N]...
 *     The writes of the entries [FROM, TO), onto the device.  "volatile" says that no
 *     flush came after them: FUA writes are made, and of the others none, or some, some
 *     of these in part: what a cache that loses its power may leave.
 *     "without": not that entry's
 *   vpcrash check FOLDER            are its files as standard input allows?
 *     file NAME needed|optional MIN MAX     its size; parts of it follow:
 *     part OFFSET LEN ALLOWED...            of each sector, one of these: "zero", or AT
 *     (the pattern's, where the part begins).  Prints {"file":,"at":,"found":} of what is
 *     not, and {"files":,"bytes":,"zeros":} at its end
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../programs/pattern.h"

#define MARKER	0xaa
#define SECTOR	512
#define CHUNK	(1 << 20)

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static void *buffer(size_t size)
{
	void *to = aligned_alloc(4096, size);

	if (!to)
		errx(1, "no memory");
	return to;
}

/* Past the page cache: device mapper writes below it. */
static int open_device(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void read_at(int fd, void *to, size_t len, uint64_t at)
{
	if (pread(fd, to, len, (off_t)at) != (ssize_t)len)
		err(1, "reading %zu bytes at %" PRIu64, len, at);
}

static void write_at(int fd, const void *from, size_t len, uint64_t at)
{
	if (pwrite(fd, from, len, (off_t)at) != (ssize_t)len)
		err(1, "writing %zu bytes at %" PRIu64, len, at);
}

static int cmd_stain(int argc, char **argv)
{
	unsigned char *data = buffer(CHUNK);
	int fd = open_device(argv[1], O_WRONLY);
	off_t size = lseek(fd, 0, SEEK_END);

	(void)argc;
	memset(data, MARKER, CHUNK);
	for (off_t at = 0; at < size; at += CHUNK)
		write_at(fd, data, size - at < CHUNK ? (size_t)(size - at) : CHUNK, (uint64_t)at);
	return close(fd);
}

static int cmd_write(int argc, char **argv)
{
	size_t len = number(argv[3]);
	unsigned char *data = buffer((len + 4096) & ~4095UL);
	int fd = open(argv[1], O_WRONLY | O_CREAT, 0644);

	(void)argc;
	if (fd < 0)
		err(1, "%s", argv[1]);
	pattern(number(argv[4]), data, len);
	write_at(fd, data, len, number(argv[2]));
	return close(fd);
}

/* --- the log of dm-log-writes: a sector that tells of it, then entries ------------------ */

enum { FLUSH = 1, FUA = 2, DISCARD = 4, MARK = 8 };

struct log {
	int fd;
	uint64_t entries, next;		/* how many there are; the number of the next one */
	uint64_t at;			/* bytes, of the next one */
	uint32_t sector;		/* bytes */
	unsigned char *head, *data;	/* of the entry that was read last, a sector; its bytes */
	size_t room;
	uint64_t to, len, flags;	/* bytes on the device */
	char mark[SECTOR];
};

static uint64_t word(const unsigned char *head, int n)
{
	uint64_t value;

	memcpy(&value, head + 8 * n, 8);
	return value;
}

static void log_open(struct log *log, const char *path)
{
	memset(log, 0, sizeof(*log));
	log->fd = open_device(path, O_RDONLY);
	log->head = buffer(4096);
	read_at(log->fd, log->head, 4096, 0);
	if (word(log->head, 0) != 0x6a736677736872ULL || word(log->head, 1) != 1)
		errx(1, "%s: not a log of writes", path);
	log->entries = word(log->head, 2);
	log->sector = (uint32_t)word(log->head, 3);
	log->at = log->sector;
}

static bool log_next(struct log *log)
{
	uint64_t text;

	if (log->next == log->entries)
		return false;
	read_at(log->fd, log->head, log->sector, log->at);
	log->to = word(log->head, 0) * log->sector;
	log->len = word(log->head, 1) * log->sector;
	log->flags = word(log->head, 2);
	text = log->flags & MARK ? word(log->head, 3) : 0;
	if (text >= sizeof(log->mark) || log->flags & DISCARD)
		errx(1, "entry %" PRIu64 ": a discard, or too long a mark", log->next);
	memcpy(log->mark, log->head + 32, text);
	log->mark[text] = 0;
	log->at += log->sector + log->len;
	log->next++;
	return true;
}

/* The bytes of the entry that log_next has read. */
static const unsigned char *log_data(struct log *log)
{
	if (log->len > log->room) {
		free(log->data);
		log->room = (log->len + CHUNK - 1) / CHUNK * CHUNK;
		log->data = buffer(log->room);
	}
	read_at(log->fd, log->data, log->len, log->at - log->len);
	return log->data;
}

static int cmd_list(int argc, char **argv)
{
	struct log log;
	uint64_t at;

	(void)argc;
	log_open(&log, argv[1]);
	while (log_next(&log)) {
		printf("{\"flush\":%d,\"fua\":%d,\"sector\":%" PRIu64 ",\"bytes\":%" PRIu64,
		       !!(log.flags & FLUSH), !!(log.flags & FUA), log.to / SECTOR, log.len);
		if (log.flags & MARK)
			printf(",\"mark\":\"%s\"", log.mark);
		if (log.len && pattern_find(log_data(&log), log.len, &at))
			printf(",\"at\":%" PRIu64, at);
		printf("}\n");
	}
	return 0;
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/*
 * How much of a write a cache had written when it lost its power.  Filesystems count
 * on it that their own blocks are not torn; of data only sectors are whole.
 */
static uint64_t survives(const struct log *log, const unsigned char *data, uint64_t *random)
{
	uint64_t draw = random_next(random), at;

	if (draw & 1 || !pattern_find(data, log->len, &at))
		return draw & 2 ? log->len : 0;
	return (draw >> 2) % (log->len / log->sector + 1) * log->sector;
}

static int cmd_replay(int argc, char **argv)
{
	uint64_t from, to, len, random = 0, made = 0;
	bool lossy = false, none = false, *without;
	const unsigned char *data;
	struct log log;
	int fd;

	log_open(&log, argv[1]);
	fd = open_device(argv[2], O_WRONLY);
	from = number(argv[3]);
	to = number(argv[4]);
	without = calloc(log.entries + 1, sizeof(*without));
	for (int i = 5; i < argc; i++) {
		if (!strncmp(argv[i], "volatile:", 9)) {
			lossy = true;
			none = !strcmp(argv[i] + 9, "none");
			random = number(argv[i] + 9);
		} else if (!strncmp(argv[i], "without:", 8) && number(argv[i] + 8) < log.entries) {
			without[number(argv[i] + 8)] = true;
		} else {
			errx(1, "unknown: %s", argv[i]);
		}
	}
	while (log.next < to && log_next(&log)) {
		if (log.next <= from || !log.len || without[log.next - 1])
			continue;
		data = log_data(&log);
		len = log.len;
		if (lossy && !(log.flags & FUA))
			len = none ? 0 : survives(&log, data, &random);
		if (len)
			write_at(fd, data, len, log.to);
		made += len;
	}
	printf("{\"bytes\":%" PRIu64 "}\n", made);
	return close(fd);
}

/* --- files after a crash ------------------------------------------------------------------ */

struct check {
	DIR *folder;
	char name[256];
	int fd;				/* of that file; -1: there is none */
	uint64_t size, bytes, zeros, files;
	char *seen[512];		/* names that input has told */
	int nr_seen, wrong;		/* the latter of this file, not all are told */
};

static void found(struct check *check, uint64_t at, const char *what)
{
	if (check->wrong++ < 4)
		printf("{\"file\":\"%s\",\"at\":%" PRIu64 ",\"found\":\"%s\"}\n", check->name, at,
		       what);
}

/* What is there instead of what should be. */
static void found_bytes(struct check *check, uint64_t at, const unsigned char *data, size_t len)
{
	char what[64] = "something else";
	uint64_t from;
	size_t same = 1;

	while (same < len && data[same] == data[0])
		same++;
	if (same == len && data[0] == MARKER)
		strcpy(what, "the marker");
	else if (same == len && !data[0])
		strcpy(what, "zeros");
	else if (pattern_find(data, len, &from))
		sprintf(what, "the pattern from %" PRIu64, from);
	found(check, at, what);
}

static void check_file(struct check *check, const char *line)
{
	uint64_t least, most;
	char needed[16];
	struct stat st;

	if (check->fd >= 0)
		close(check->fd);
	check->wrong = 0;
	if (sscanf(line, "file %255s %15s %" SCNu64 " %" SCNu64, check->name, needed, &least,
		   &most) != 4 || check->nr_seen == sizeof(check->seen) / sizeof(*check->seen))
		errx(1, "not understood: %s", line);
	check->seen[check->nr_seen++] = strdup(check->name);
	check->fd = openat(dirfd(check->folder), check->name, O_RDONLY | O_CLOEXEC);
	if (check->fd < 0 || fstat(check->fd, &st)) {
		if (errno != ENOENT || !strcmp(needed, "needed"))
			found(check, 0, strerror(errno));
		return;
	}
	check->size = (uint64_t)st.st_size;
	check->files++;
	if (check->size < least || check->size > most)
		found(check, check->size, "its end");
}

/* One of the values that `words` allow for these bytes, which are `in` the part. */
static bool allowed(const char *words, uint64_t in, const unsigned char *data, size_t len,
		    bool *zero)
{
	static unsigned char same[CHUNK];
	char *end;

	for (; *words == ' '; words = end) {
		*zero = !strncmp(words, " zero", 5);
		if (*zero) {
			end = (char *)words + 5;
			memset(same, 0, len);
		} else {
			pattern(strtoull(words, &end, 10) + in, same, len);
		}
		if (!memcmp(same, data, len))
			return true;
	}
	return false;
}

static void check_part(struct check *check, const char *line)
{
	static unsigned char data[CHUNK];
	uint64_t offset, len, at, end;
	size_t n, piece;
	int words;
	bool zero;

	if (sscanf(line, "part %" SCNu64 " %" SCNu64 "%n", &offset, &len, &words) != 2)
		errx(1, "not understood: %s", line);
	if (check->fd < 0)
		return;
	end = offset + len < check->size ? offset + len : check->size;
	for (at = offset; at < end; at += n) {
		n = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		if (pread(check->fd, data, n, (off_t)at) != (ssize_t)n) {
			found(check, at, strerror(errno));
			return;
		}
		check->bytes += n;
		if (allowed(line + words, at - offset, data, n, &zero)) {
			check->zeros += zero ? n : 0;
			continue;
		}
		for (size_t i = 0; i < n; i += piece) {
			piece = SECTOR - (at + i) % SECTOR;
			if (piece > n - i)
				piece = n - i;
			if (!allowed(line + words, at - offset + i, data + i, piece, &zero))
				found_bytes(check, at + i, data + i, piece);
			else
				check->zeros += zero ? piece : 0;
		}
	}
}

static void check_others(struct check *check)
{
	struct dirent *entry;
	int i;

	while ((entry = readdir(check->folder))) {
		for (i = 0; i < check->nr_seen && strcmp(check->seen[i], entry->d_name); i++)
			;
		if (i < check->nr_seen || entry->d_name[0] == '.' ||
		    !strcmp(entry->d_name, "lost+found"))
			continue;
		check->wrong = 0;
		snprintf(check->name, sizeof(check->name), "%s", entry->d_name);
		found(check, 0, "a file that nobody made");
	}
}

static int cmd_check(int argc, char **argv)
{
	struct check check = { .folder = opendir(argv[1]), .fd = -1 };
	char line[1024];

	(void)argc;
	if (!check.folder)
		err(1, "%s", argv[1]);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "file ", 5))
			check_file(&check, line);
		else
			check_part(&check, line);
	}
	check_others(&check);
	printf("{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"zeros\":%" PRIu64 "}\n", check.files,
	       check.bytes, check.zeros);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*call)(int argc, char **argv);
	} commands[] = {
		{ "stain", 1, cmd_stain }, { "write", 4, cmd_write }, { "list", 1, cmd_list },
		{ "replay", 4, cmd_replay }, { "check", 1, cmd_check },
	};

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].args)
			return commands[i].call(argc - 1, argv + 1);
	fprintf(stderr, "usage: vpcrash stain|write|list|replay|check ...\n");
	return 2;
}
