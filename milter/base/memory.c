#include "base/memory.h"

#include <string.h>
#include <unistd.h>

_Noreturn void mem_out(void)
{
    static const char words[] = "danelaw: out of memory\n";
    ssize_t told = write(STDERR_FILENO, words, sizeof(words) - 1);

    (void)told;
    abort();
}

void *mem_array(size_t count, size_t size)
{
    void *got = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);

    if (got == NULL)
        mem_out();
    return got;
}

void *mem_zero(size_t size)
{
    return mem_array(1, size);
}

void *mem_grow(void *old, size_t count, size_t size)
{
    void *got = reallocarray(old, count == 0 ? 1 : count, size == 0 ? 1 : size);

    if (got == NULL)
        mem_out();
    return got;
}

char *mem_text(const char *text)
{
    char *got = strdup(text);

    if (got == NULL)
        mem_out();
    return got;
}
