/*
 * stream.c - DNS messages over a stream (RFC 1035 4.2.2, RFC 7766)
 *
 * Two bytes of length, then the message; any number of them, cut anywhere. One message at a time is
 * gathered in the stream's own room.
 */
#include "gateway/dns/dns_internal.h"

void dns_stream_init(struct dns_stream *s)
{
	s->have_len = 0;
	s->have = 0;
}

enum err dns_stream_feed(struct dns_stream *s, struct bytes in, size_t *eaten, struct bytes *msg)
{
	size_t at = 0;
	size_t length, take;

	*eaten = 0;
	while (s->have_len < 2 && at < in.n)
		s->len[s->have_len++] = in.p[at++];
	*eaten = at;
	if (s->have_len < 2)
		return ERR_AGAIN;
	length = (size_t)(s->len[0] << 8 | s->len[1]);
	if (length == 0)
		return ERR_BAD_VALUE;
	if (length > DNS_STREAM_QUERY_MAX)
		return ERR_TOO_LONG;
	take = length - s->have;
	if (take > in.n - at)
		take = in.n - at;
	if (take > 0)
		memcpy(s->msg + s->have, in.p + at, take);
	s->have = (uint16_t)(s->have + take);
	*eaten = at + take;
	if (s->have < length)
		return ERR_AGAIN;
	*msg = bytes_of(s->msg, length);
	dns_stream_init(s);
	return ERR_OK;
}

enum err dns_stream_frame(struct bytes msg, struct buf *out)
{
	uint8_t *at;

	if (msg.n > UINT16_MAX)
		return ERR_TOO_LONG;
	TRY(buf_reserve(out, 2 + msg.n, &at));
	at[0] = (uint8_t)(msg.n >> 8);
	at[1] = (uint8_t)msg.n;
	if (msg.n > 0)
		memcpy(at + 2, msg.p, msg.n);
	buf_commit(out, 2 + msg.n);
	return ERR_OK;
}
