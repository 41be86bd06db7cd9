/* SPDX-License-Identifier: GPL-2.0 */
/* stream.h: one end of a connection, both directions of which are the pattern. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>
#include <stdint.h>

struct stream {
	int fd;
	uint64_t sent, received;	/* bytes, since it was opened */
	int eof, error;			/* the end was read; the first errno */
	unsigned int errors;
};

/* The pattern begins anew after so many bytes (2^62 if nobody says otherwise). */
extern uint64_t stream_period;
void stream_pattern(uint64_t at, void *to, size_t len);

/* Are these the next bytes of the stream?  Dies if not. */
void stream_check(struct stream *s, const void *got, size_t len);
/* Send so many; false on an error, which is noted. */
int stream_send(struct stream *s, uint64_t len);
/* Receive so many, with flags; false on an error or the end.  What came was right. */
int stream_recv(struct stream *s, uint64_t len, int flags);
/* What recv() has now; never waits. */
void stream_drain(struct stream *s);
void stream_error(struct stream *s, int error);

/*
 * "sent":,"received":,"eof":,"errors":,"errno":, and of tcp_info (as the kernel calls them)
 * "retrans":,"reordered":,"out_of_order":,"dsack":,"segments_in":,"segments_out":,"rtt_us":
 */
void stream_print(struct stream *s);

/*
 * A connection out of nothing (TCP_REPAIR): local port = remote port, and the sequence
 * numbers are these.  Sends no frame; the other end must do the same before one is sent.
 */
int stream_forge(const char *host, const char *port, uint32_t snd, uint32_t rcv);

#endif /* STREAM_H */
