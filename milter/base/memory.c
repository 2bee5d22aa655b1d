#include "base/memory.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

_Noreturn void mem_out(void)
{
    log_error("out of memory; the process ends");       /* takes none itself */
    log_flush();
    abort();
}

_Noreturn void mem_lack(const char *what)
{
    log_error("there can't be %s: %s; the process ends", what, strerror(errno));
    log_flush();
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

void *mem_raw(size_t size)
{
    void *got = malloc(size == 0 ? 1 : size);

    if (got == NULL)
        mem_out();
    return got;
}

void *mem_raw_grow(void *old, size_t size)
{
    return mem_grow(old, size, 1);
}

char *mem_text(const char *text)
{
    char *got = strdup(text);

    if (got == NULL)
        mem_out();
    return got;
}
