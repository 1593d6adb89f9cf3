/* err.c - names, classes and sentences of the one error enum, all from ERR_TABLE */
#include "base/base.h"

struct err_entry {
	const char *name;
	const char *text;
	enum err_class class;
};

static const struct err_entry table[ERR_COUNT] = {
#define X(n, c, t) [ERR_##n] = { #n, t, ERR_CLASS_##c },
	ERR_TABLE(X)
#undef X
};

/* The enum's names in lower case, made by the compiler's own spelling: one string per entry. */
#define ERR_NAME_MAX 32
static char lower[ERR_COUNT][ERR_NAME_MAX];

__attribute__((constructor)) static void err_names_init(void)
{
	for (size_t i = 0; i < ERR_COUNT; i++)
		for (size_t k = 0; table[i].name[k] && k + 1 < ERR_NAME_MAX; k++)
			lower[i][k] = (char)ascii_lower((uint8_t)table[i].name[k]);
}

const char *err_name(enum err e)
{
	return (unsigned)e < ERR_COUNT ? lower[e] : "unknown";
}

const char *err_text(enum err e)
{
	return (unsigned)e < ERR_COUNT ? table[e].text : "unknown error";
}

enum err_class err_class(enum err e)
{
	return (unsigned)e < ERR_COUNT ? table[e].class : ERR_CLASS_OURS;
}
