#ifndef DANELAW_CONFIG_VALUES_H
#define DANELAW_CONFIG_VALUES_H

#include "base/settings.h"

#include <stdio.h>

/* Values in words and back. Pure. */
enum { VALUES_PRINT_SIZE = 40 };

bool values_number(const char *spoken, uint64_t *ret);
bool values_duration(const char *spoken, uint64_t *ret);    /* seconds; "15m", "90" */
bool values_size(const char *spoken, uint64_t *ret);        /* octets; "64M" */
bool values_mode(const char *spoken, uint64_t *ret);        /* "0660" */
/* As one would write it, in quotes where it needs some. Returns ret. */
char *values_print(enum setting_kind kind, uint64_t value, char ret[static VALUES_PRINT_SIZE]);

bool values_has_word(const char *words, const char *word);  /* words are parted by blanks; NULL: none */
/* `"one", "two" or "three"`. Returns ret. */
char *values_choices(const char *words, char *ret, size_t size);
bool values_utf8(const char *text);

#endif
