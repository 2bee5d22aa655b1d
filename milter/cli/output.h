#ifndef DANELAW_CLI_OUTPUT_H
#define DANELAW_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * What the command shows. Nothing that a stranger wrote reaches the terminal with control characters in it.
 */

enum { OUTPUT_SPAN_SIZE = 64 };

/* One line. */
void output_json(const json_t *item);
/* Text as JSON; bytes that are no UTF-8 become `?`. */
json_t *output_text(const char *text);
/* A text member, or otherwise where it is null or missing. */
const char *output_member(const json_t *item, const char *key, const char *otherwise);
/* Fit for a terminal: control characters become `?`. */
void output_put(const char *text);
/* As output_put(), in a line of its own behind a label; the following lines of a long text are indented as far. */
void output_field(const char *label, const char *text);
/* A list of texts, parted by commas; nothing: otherwise. Gives the text. */
char *output_list(const json_t *list, const char *otherwise);

/* Seconds for people, in the two units that matter. Returns ret. */
char *output_span(int64_t seconds, char ret[static OUTPUT_SPAN_SIZE]);

/* A table whose columns are as wide as they need to be; of those that may shrink the widest give way to the page. */
struct table;

enum { TABLE_COLUMNS_MAX = 10 };

/* headings ends with NULL; the first `shrinking` columns may be cut. */
struct table *table_new(const char *const headings[], size_t shrinking);
void table_add(struct table *t, const char *const cells[]);     /* copies */
void table_print(struct table *t);
/* The same, and forgets the rows, so that more can follow below them without headings. */
void table_flush(struct table *t);
void table_free(struct table *t);

#endif
