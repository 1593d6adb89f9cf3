/*
 * channel.c - messages between master and children
 *
 * SEQPACKET keeps messages whole: a child that dies in the middle of a sentence leaves no half line
 * in the audit file. The first byte is the type. Descriptors travel in the same message.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum err channel_pair(int fds[2])
{
	/*
	 * A message must fit the send buffer; the kernel doubles the number for its own
	 * book-keeping.
	 */
	const int room = 2 * (int)CHANNEL_MESSAGE_MAX;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return ERR_IO;
	for (int i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0)
			(void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return ERR_OK;
}

union channel_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
};

enum err channel_send(int fd, const struct channel_message *m)
{
	uint8_t type = (uint8_t)m->type;
	struct iovec iov[2] = {
		{ &type, 1 },
		{ (void *)(uintptr_t)m->body.p, m->body.n },
	};
	union channel_control control = { 0 };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = m->body.n ? 2 : 1 };

	if (m->body.n >= CHANNEL_MESSAGE_MAX || m->n_fds > CHANNEL_FDS_MAX)
		return ERR_TOO_LONG;
	if (m->n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * m->n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * m->n_fds);
		memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->n_fds);
	}
	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return ERR_OK;
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == ENOBUFS)
			return ERR_AGAIN;
		return errno == EMSGSIZE ? ERR_TOO_LONG : ERR_CLOSED;
	}
}

static void take_fds(struct msghdr *msg, struct channel_message *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->n_fds < CHANNEL_FDS_MAX)
				m->fds[m->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

void channel_close_fds(struct channel_message *m)
{
	for (size_t i = 0; i < m->n_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->n_fds = 0;
}

enum err channel_receive(int fd, uint8_t *buffer, size_t cap, struct channel_message *m)
{
	struct iovec iov = { buffer, cap };
	union channel_control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;

	*m = (struct channel_message){ 0 };
	do {
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? ERR_AGAIN : ERR_CLOSED;
	take_fds(&msg, m);
	if (n == 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		channel_close_fds(m);
		return n == 0 ? ERR_CLOSED : ERR_BAD_VALUE;
	}
	m->type = (enum channel_type)buffer[0];
	m->body = bytes_of(buffer + 1, (size_t)n - 1);
	return ERR_OK;
}
