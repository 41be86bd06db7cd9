// SPDX-License-Identifier: MIT
/*
 * The lab's hand in each machine: runs shell commands for whoever is at the
 * other end of a stream, many at once.
 *
 *   labd /dev/vportNpM   serve a virtio-serial port
 *   labd PORT            serve TCP connections; commands die with theirs
 */
#define _GNU_SOURCE
#include "labproto.h"

#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define COMMANDS_MAX 256

struct command {
	uint32_t chan;
	pid_t pid;
	int pidfd, in, out, err;	/* -1: closed */
	char *queued;			/* stdin not yet taken */
	size_t queued_len;
	bool queued_eof;
};

static struct command commands[COMMANDS_MAX];
static int ncommands;
static int stream;

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static struct command *command_find(uint32_t chan)
{
	for (int i = 0; i < ncommands; i++)
		if (commands[i].chan == chan)
			return &commands[i];
	return NULL;
}

static void command_free(struct command *c)
{
	close_fd(&c->pidfd);
	close_fd(&c->in);
	close_fd(&c->out);
	close_fd(&c->err);
	free(c->queued);
	*c = commands[--ncommands];
}

static void command_start(uint32_t chan, const char *line)
{
	int in[2], out[2], error[2];
	struct command *c;
	uint32_t status = 126;
	pid_t pid;

	if (ncommands == COMMANDS_MAX || pipe2(in, O_CLOEXEC) ||
	    pipe2(out, O_CLOEXEC) || pipe2(error, O_CLOEXEC) ||
	    (pid = fork()) < 0) {
		lab_send(stream, chan, LAB_EXIT, &status, sizeof(status));
		return;
	}
	if (!pid) {
		setsid();
		signal(SIGPIPE, SIG_DFL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(error[1], 2);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	close(error[1]);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(error[0], F_SETFL, O_NONBLOCK);

	c = &commands[ncommands++];
	*c = (struct command){
		.chan = chan, .pid = pid, .pidfd = pidfd_open(pid, 0),
		.in = in[1], .out = out[0], .err = error[0],
	};
}

static void command_feed(struct command *c)
{
	ssize_t n = write(c->in, c->queued, c->queued_len);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {	/* it does not want any more */
		c->queued_len = 0;
		close_fd(&c->in);
		return;
	}
	c->queued_len -= n;
	memmove(c->queued, c->queued + n, c->queued_len);
}

/* Returns false when there is nothing more for now. */
static bool command_forward(struct command *c, int *fd, enum lab_type type)
{
	char buf[LAB_DATA_MAX];
	ssize_t n;

	if (*fd < 0)
		return false;
	n = read(*fd, buf, sizeof(buf));
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		close_fd(fd);
		return false;
	}
	lab_send(stream, c->chan, type, buf, n);
	return true;
}

/* What the command has left running may keep the pipes: do not wait for it. */
static void command_reap(struct command *c)
{
	uint32_t code;
	int status;

	if (waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	while (command_forward(c, &c->out, LAB_STDOUT))
		;
	while (command_forward(c, &c->err, LAB_STDERR))
		;
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	lab_send(stream, c->chan, LAB_EXIT, &code, sizeof(code));
	command_free(c);
}

static void kill_all(void)
{
	while (ncommands) {
		kill(-commands[0].pid, SIGKILL);
		waitpid(commands[0].pid, NULL, 0);
		command_free(&commands[0]);
	}
}

static void handle(struct lab_frame *f)
{
	struct command *c = command_find(f->h.chan);
	char line[LAB_DATA_MAX + 1];

	switch (f->h.type) {
	case LAB_RUN:
		memcpy(line, f->data, f->h.len);
		line[f->h.len] = 0;
		if (!c)
			command_start(f->h.chan, line);
		break;
	case LAB_STDIN:
		if (!c || c->in < 0)
			break;
		if (!f->h.len) {
			c->queued_eof = true;
			break;
		}
		c->queued = realloc(c->queued, c->queued_len + f->h.len);
		if (!c->queued)
			err(1, "realloc");
		memcpy(c->queued + c->queued_len, f->data, f->h.len);
		c->queued_len += f->h.len;
		break;
	case LAB_KILL:
		if (c)
			kill(-c->pid, SIGKILL);
		break;
	}
}

/* Returns false when the other end is gone. */
static bool receive(void)
{
	static struct lab_frame f;
	static size_t have;
	ssize_t n;

	n = read(stream, (char *)&f + have, sizeof(f) - have);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		have = 0;
		return false;
	}
	have += n;
	while (have >= sizeof(f.h) && have >= sizeof(f.h) + f.h.len) {
		size_t len = sizeof(f.h) + f.h.len;

		if (f.h.len > LAB_DATA_MAX)
			errx(1, "bad frame");
		handle(&f);
		have -= len;
		memmove(&f, (char *)&f + len, have);
	}
	return true;
}

/* Serve until the other end is gone. */
static void serve(void)
{
	static struct pollfd p[1 + 4 * COMMANDS_MAX];

	for (;;) {
		int n = ncommands;

		p[0] = (struct pollfd){ stream, POLLIN };
		for (int i = 0; i < n; i++) {
			struct command *c = &commands[i];
			struct pollfd *q = &p[1 + 4 * i];

			if (c->queued_eof && !c->queued_len)
				close_fd(&c->in);
			q[0] = (struct pollfd){ c->queued_len ? c->in : -1, POLLOUT };
			q[1] = (struct pollfd){ c->out, POLLIN };
			q[2] = (struct pollfd){ c->err, POLLIN };
			q[3] = (struct pollfd){ c->pidfd, POLLIN };
		}
		if (poll(p, 1 + 4 * n, -1) < 0)
			continue;
		for (int i = n - 1; i >= 0; i--) {	/* reaping moves the last here */
			struct command *c = &commands[i];
			struct pollfd *q = &p[1 + 4 * i];

			if (q[0].revents)
				command_feed(c);
			if (q[1].revents)
				command_forward(c, &c->out, LAB_STDOUT);
			if (q[2].revents)
				command_forward(c, &c->err, LAB_STDERR);
			if (q[3].revents)
				command_reap(c);
		}
		if (p[0].revents && !receive())
			return;
	}
}

static void serve_port(const char *path)
{
	stream = open(path, O_RDWR | O_CLOEXEC);
	if (stream < 0)
		err(1, "%s", path);
	for (;;) {
		serve();
		kill_all();
		usleep(20000);	/* hung up: the port has no other way to wait */
	}
}

static void serve_tcp(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(s, (void *)&a, sizeof(a)) || listen(s, 64))
		err(1, "port %d", port);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		stream = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		if (stream < 0)
			continue;
		if (!fork()) {
			signal(SIGCHLD, SIG_DFL);
			setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			serve();
			kill_all();
			_exit(0);
		}
		close(stream);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		errx(2, "usage: labd PATH | PORT");
	signal(SIGPIPE, SIG_IGN);
	if (argv[1][0] == '/')
		serve_port(argv[1]);
	serve_tcp(atoi(argv[1]));
}
