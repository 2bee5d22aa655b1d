/*
 * Tries all inputs of a corpus, each also cut short at every octet. usage: TARGET [FILE|FOLDER]...; preset: the folder of
 * the target's own name in tests/fuzz/corpus. With -DLIBFUZZER it is empty: libFuzzer brings a main() of its own.
 */
#ifndef LIBFUZZER

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUT_MOST = 1024 * 1024, CUT_MOST = 4096 };

static size_t tried;

/* From a block of exactly this size, so that a sanitizer sees any step past it. */
static void try(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);

    if (copy == NULL)
        abort();
    if (length > 0)
        memcpy(copy, bytes, length);
    LLVMFuzzerTestOneInput(copy, length);
    free(copy);
}

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "re");
    uint8_t *bytes = malloc(INPUT_MOST);
    size_t length, cut;

    if (file == NULL || bytes == NULL) {
        perror(path);
        exit(1);
    }
    length = fread(bytes, 1, INPUT_MOST, file);
    fclose(file);
    try(bytes, length);
    for (cut = 0; length <= CUT_MOST && cut < length; cut++)
        try(bytes, cut);
    free(bytes);
    tried++;
}

static void replay(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *found;
    char inner[4096];

    if (folder == NULL) {
        replay_file(path);
        return;
    }
    while ((found = readdir(folder)) != NULL) {
        if (found->d_name[0] == '.')
            continue;
        if (snprintf(inner, sizeof(inner), "%s/%s", path, found->d_name) < (int)sizeof(inner))
            replay_file(inner);
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *source = getenv("srcdir");
    char preset[4096];
    int i;

    snprintf(preset, sizeof(preset), "%s/tests/fuzz/corpus/%s", source == NULL ? "." : source,
             slash == NULL ? argv[0] : slash + 1);
    for (i = 1; i < argc; i++)
        replay(argv[i]);
    if (argc == 1)
        replay(preset);
    printf("%zu inputs\n", tried);
    return tried > 0 ? 0 : 1;
}

#endif
