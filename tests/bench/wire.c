/*
 * wire.c - HTTP/1.1 framing and TLS reads and writes for the benchmark's client and server
 */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_LAST, CHUNK_TRAILER };

void wire_begin(struct wire *w, bool answer)
{
	memset(w, 0, offsetof(struct wire, body));
	w->body = w->left = 0;
	w->chunk = CHUNK_SIZE;
	w->answer = answer;
	w->in_body = w->chunked = w->until_end = w->done = w->bad = false;
}

const char *wire_field(const struct wire *w, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = strstr(w->head, "\r\n"); p != NULL; p = strstr(p, "\r\n")) {
		p += 2;
		if (strncasecmp(p, name, n) == 0 && p[n] == ':')
			return p + n + 1 + strspn(p + n + 1, " ");
	}
	return NULL;
}

static void head_end(struct wire *w)
{
	const char *length = wire_field(w, "content-length");
	const char *coding = wire_field(w, "transfer-encoding");

	w->in_body = true;
	w->chunked = coding != NULL && strncasecmp(coding, "chunked", 7) == 0;
	if (length != NULL)
		w->left = strtoull(length, NULL, 10);
	else if (!w->chunked)
		w->until_end = w->answer;
	w->done = !w->chunked && !w->until_end && w->left == 0;
}

static size_t feed_head(struct wire *w, const char *data, size_t n)
{
	size_t before = w->head_n, take = WIRE_HEAD_MAX - 1 - before;
	char *end;

	if (take > n)
		take = n;
	memcpy(w->head + before, data, take);
	w->head[before + take] = 0;
	end = strstr(w->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
	if (end == NULL) {
		w->head_n = before + take;
		w->bad = take < n;
		return take;
	}
	w->head_n = (size_t)(end - w->head) + 4;
	w->head[w->head_n - 2] = 0;
	head_end(w);
	return w->head_n - before;
}

static size_t feed_plain(struct wire *w, size_t n)
{
	size_t take = w->until_end || n < w->left ? n : (size_t)w->left;

	w->body += take;
	if (w->until_end)
		return take;
	w->left -= take;
	return take;
}

static void chunk_size_digit(struct wire *w, char c)
{
	if (c >= '0' && c <= '9')
		w->left = w->left * 16 + (uint64_t)(c - '0');
	else if ((c | 32) >= 'a' && (c | 32) <= 'f')
		w->left = w->left * 16 + (uint64_t)((c | 32) - 'a' + 10);
	else if (c == '\n')
		w->chunk = w->left != 0 ? CHUNK_DATA : CHUNK_LAST;
}

/* One byte of framing, or as much of the data as there is. */
static size_t feed_chunk(struct wire *w, const char *data, size_t n)
{
	size_t take = 1;

	switch (w->chunk) {
	case CHUNK_SIZE:
		chunk_size_digit(w, *data);
		break;
	case CHUNK_DATA:
		take = feed_plain(w, n);
		if (w->left == 0)
			w->chunk = CHUNK_DATA_END;
		break;
	case CHUNK_DATA_END:
		if (*data == '\n')
			w->chunk = CHUNK_SIZE;
		break;
	case CHUNK_LAST:	/* at the start of a line: an empty one ends the message */
		if (*data == '\n')
			w->done = true;
		else if (*data != '\r')
			w->chunk = CHUNK_TRAILER;
		break;
	default:
		if (*data == '\n')
			w->chunk = CHUNK_LAST;
	}
	return take;
}

size_t wire_feed(struct wire *w, const char *data, size_t n)
{
	size_t eaten = 0;

	while (eaten < n && !w->done && !w->bad) {
		if (!w->in_body) {
			eaten += feed_head(w, data + eaten, n - eaten);
		} else if (w->chunked) {
			eaten += feed_chunk(w, data + eaten, n - eaten);
		} else {
			eaten += feed_plain(w, n - eaten);
			w->done = !w->until_end && w->left == 0;
		}
	}
	return eaten;
}

static enum wire_io after(SSL *ssl, int rc)
{
	int why = SSL_get_error(ssl, rc);

	ERR_clear_error();
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? WIRE_WAIT : WIRE_END;
}

enum wire_io wire_read(SSL *ssl, char *buf, size_t cap, size_t *n)
{
	int rc = SSL_read_ex(ssl, buf, cap, n);

	return rc == 1 ? WIRE_OK : after(ssl, rc);
}

enum wire_io wire_write(SSL *ssl, const char *data, size_t want, size_t *n)
{
	*n = 0;
	while (*n < want) {
		size_t went = 0;
		int rc = SSL_write_ex(ssl, data + *n, want - *n, &went);

		if (rc != 1)
			return after(ssl, rc);
		*n += went;
	}
	return WIRE_OK;
}

void wire_close(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	SSL_shutdown(ssl);
	ERR_clear_error();	/* or the next connection would be blamed for it */
	SSL_free(ssl);
	close(fd);
}

double wire_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void wire_die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}
