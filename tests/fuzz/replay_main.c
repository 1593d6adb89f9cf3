/*
 * replay_main.c - run a fuzzer's entry point over its corpus, without libFuzzer
 *
 * Every argument is a file or a folder of files. The empty input always runs first, so a fuzzer
 * without a corpus is exercised too. Each input is handed over in memory of exactly its size, so
 * that the address sanitizer sees a read past its end.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long replayed;

static int replay_file(const char *path, size_t size)
{
	uint8_t *data = calloc(size ? size : 1, 1);
	FILE *f = fopen(path, "rb");
	int rc = 1;

	if (data && f && fread(data, 1, size, f) == size) {
		LLVMFuzzerTestOneInput(data, size);
		replayed++;
		rc = 0;
	} else {
		fprintf(stderr, "%s: cannot be read\n", path);
	}
	if (f)
		fclose(f);
	free(data);
	return rc;
}

static int replay_path(const char *path)
{
	char name[4096];
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int rc = 0;

	if (stat(path, &st) != 0)
		return 0; /* no corpus kept yet */
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	dir = opendir(path);
	if (!dir)
		return 1;
	while ((entry = readdir(dir)) != NULL) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (stat(name, &st) == 0 && S_ISREG(st.st_mode))
			rc |= replay_file(name, (size_t)st.st_size);
	}
	closedir(dir);
	return rc;
}

int main(int argc, char **argv)
{
	uint8_t *nothing = calloc(1, 1);
	int rc = 0;

	if (!nothing)
		return 1;
	LLVMFuzzerTestOneInput(nothing, 0);
	free(nothing);
	for (int i = 1; i < argc; i++)
		rc |= replay_path(argv[i]);
	printf("%lu inputs replayed\n", replayed);
	return rc;
}
