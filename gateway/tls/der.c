/*
 * der.c - strict DER (X.690 10): forwards for reading, backwards for writing
 *
 * Reading takes one element after the other from a view and never looks past its end. Refused:
 * indefinite and over-long lengths, tags above 30 (none of them occurs in what we read).
 */
#include "gateway/tls/tls_internal.h"

bool der_next(struct bytes *in, uint8_t *tag, struct bytes *body, struct bytes *whole)
{
	size_t head = 2, n;

	if (in->n < 2 || (in->p[0] & 0x1f) == 0x1f)
		return false;
	n = in->p[1];
	if (n >= 0x80) {
		size_t digits = n & 0x7f;

		if (digits == 0 || digits > 3 || in->n < 2 + digits || in->p[2] == 0)
			return false;
		n = 0;
		for (size_t i = 0; i < digits; i++)
			n = n << 8 | in->p[2 + i];
		if (n < 0x80)
			return false;
		head += digits;
	}
	if (in->n - head < n)
		return false;
	*tag = in->p[0];
	*body = bytes_of(in->p + head, n);
	if (whole)
		*whole = bytes_of(in->p, head + n);
	*in = bytes_of(in->p + head + n, in->n - head - n);
	return true;
}

bool der_take_if(struct bytes *in, uint8_t tag, struct bytes *body)
{
	uint8_t found;

	return in->n && in->p[0] == tag && der_next(in, &found, body, NULL);
}

bool der_take(struct bytes *in, uint8_t tag, struct bytes *body)
{
	return der_take_if(in, tag, body);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar. */
static int64_t days_from_civil(int64_t y, unsigned int m, unsigned int d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (int64_t)(153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int *y, unsigned int *m, unsigned int *d)
{
	int64_t era, doe, yoe, doy, mp;

	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = z - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = (unsigned int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (unsigned int)(mp < 10 ? mp + 3 : mp - 9);
	*y = (int)(yoe + era * 400 + (*m <= 2));
}

static bool two_digits(struct bytes *in, unsigned int max, unsigned int *v)
{
	if (in->n < 2 || in->p[0] < '0' || in->p[0] > '9' || in->p[1] < '0' || in->p[1] > '9')
		return false;
	*v = (in->p[0] - '0') * 10u + (in->p[1] - '0');
	*in = bytes_of(in->p + 2, in->n - 2);
	return *v <= max;
}

bool der_time(uint8_t tag, struct bytes body, uint64_t *unix_time)
{
	unsigned int century, yy, mon, day, h, m, s;
	int64_t days;

	if (tag == DER_GENERALIZED_TIME) {
		if (!two_digits(&body, 99, &century) || !two_digits(&body, 99, &yy))
			return false;
	} else if (tag == DER_UTC_TIME) {
		if (!two_digits(&body, 99, &yy))
			return false;
		century = yy < 50 ? 20 : 19;
	} else {
		return false;
	}
	if (!two_digits(&body, 12, &mon) || !two_digits(&body, 31, &day) ||
	    !two_digits(&body, 23, &h) || !two_digits(&body, 59, &m) ||
	    !two_digits(&body, 59, &s) || mon == 0 || day == 0 ||
	    !bytes_eq(body, BYTES_LIT("Z")))
		return false;
	days = days_from_civil((int64_t)century * 100 + yy, mon, day);
	/* Before 1970 is long over, whatever the date. */
	*unix_time = days < 0 ? 0 : (uint64_t)days * 86400 + h * 3600u + m * 60u + s;
	return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

void der_writer_init(struct der_writer *w, uint8_t *base, size_t cap)
{
	*w = (struct der_writer){ .base = base, .at = cap, .cap = cap };
}

void der_put(struct der_writer *w, struct bytes raw)
{
	if (w->full || raw.n > w->at) {
		w->full = true;
		return;
	}
	w->at -= raw.n;
	if (raw.n)
		memcpy(w->base + w->at, raw.p, raw.n);
}

void der_put_u8(struct der_writer *w, uint8_t v)
{
	der_put(w, bytes_of(&v, 1));
}

void der_wrap(struct der_writer *w, uint8_t tag, size_t end)
{
	size_t n = end - w->at;

	if (n >= 0x10000) {
		w->full = true;
	} else if (n >= 0x100) {
		der_put_u8(w, (uint8_t)n);
		der_put_u8(w, (uint8_t)(n >> 8));
		der_put_u8(w, 0x82);
	} else {
		der_put_u8(w, (uint8_t)n);
		if (n >= 0x80)
			der_put_u8(w, 0x81);
	}
	der_put_u8(w, tag);
}

void der_put_tlv(struct der_writer *w, uint8_t tag, struct bytes body)
{
	size_t end = w->at;

	der_put(w, body);
	der_wrap(w, tag, end);
}

/* RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on */
void der_put_time(struct der_writer *w, uint64_t unix_time)
{
	unsigned int mon, day, secs = (unsigned int)(unix_time % 86400);
	char text[32];
	int year, n;

	civil_from_days((int64_t)(unix_time / 86400), &year, &mon, &day);
	if (year > 9999) {
		w->full = true;
		return;
	}
	n = snprintf(text, sizeof(text), "%04d%02u%02u%02u%02u%02uZ", year, mon, day, secs / 3600,
		     secs / 60 % 60, secs % 60);
	if (year < 2050)
		der_put_tlv(w, DER_UTC_TIME, bytes_of(text + 2, (size_t)n - 2));
	else
		der_put_tlv(w, DER_GENERALIZED_TIME, bytes_of(text, (size_t)n));
}
