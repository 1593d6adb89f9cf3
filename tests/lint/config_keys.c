/*
 * config_keys.c - print every configuration key, one per line, for the lint of the same name
 *
 * path TAB type TAB default TAB required|optional TAB meaning; the default is empty when there is
 * none.
 */
#include <stdio.h>

#include "config/config.h"

static void config_keys_on_key(const struct config_schema_entry *entry, void *arg)
{
	fprintf(arg, "%s\t%s\t%s\t%s\t%s\n", entry->path, entry->type,
		entry->fallback ? entry->fallback : "", entry->required ? "required" : "optional",
		entry->doc ? entry->doc : "");
}

int main(void)
{
	config_schema_walk(config_keys_on_key, stdout);
	return 0;
}
