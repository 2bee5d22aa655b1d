#include "config/reader.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Past this many lines nobody reads on; what comes after is only counted. */
enum { LINES_MAX = 1000, LINE_SIZE = 1024, REPORT_CEILING = LINES_MAX * (LINE_SIZE + 512) };

void config_report_init(struct config_report *r)
{
    text_init(&r->faults, REPORT_CEILING);
    text_init(&r->hints, REPORT_CEILING);
}

void config_report_done(struct config_report *r)
{
    text_done(&r->faults);
    text_done(&r->hints);
}

/* A file's name may hold anything; what is shown of values is clean already. */
static void clean(char *line)
{
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < ' ' || *line == 0x7f)
            *line = '?';
    }
}

static void add_line(struct text *to, size_t *count, struct spot at, const char *words)
{
    char file[401], line[LINE_SIZE];

    (*count)++;
    if (*count > LINES_MAX)
        return;
    snprintf(file, sizeof(file), "%s", at.file);
    snprintf(line, sizeof(line), "%s", words);
    clean(file);
    clean(line);
    if (at.line == 0)
        text_print(to, "%s: %s\n", file, line);
    else
        text_print(to, "%s:%u: %s\n", file, at.line, line);
    if (*count == LINES_MAX)
        text_print(to, "%s: there is more like this; only the first %d lines are shown\n", file, LINES_MAX);
}

void faults_add(struct reader *r, struct spot at, const char *format, ...)
{
    char words[LINE_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    add_line(&r->report->faults, &r->fault_count, at, words);
}

void faults_hint(struct reader *r, struct spot at, const char *format, ...)
{
    char words[LINE_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    add_line(&r->report->hints, &r->hint_count, at, words);
}

/* `milter.budget: `, `connector "Bank": smtp_dane: `, then the words themselves. */
__attribute__((format(printf, 3, 0)))
static void about(const struct group *g, const char *name, const char *format, va_list args, char *ret)
{
    int length;

    if (name[0] == '\0')
        length = snprintf(ret, LINE_SIZE, "%s%s%.*s: ", g->before, g->name, g->behind[0] == '"' ? 1 : 0, g->behind);
    else
        length = snprintf(ret, LINE_SIZE, "%s%s%s%.64s: ", g->before, g->name, g->behind, name);
    if (length > 0 && length < LINE_SIZE)
        vsnprintf(ret + length, LINE_SIZE - (size_t)length, format, args);
}

static struct spot spot_of(const struct group *g, const config_setting_t *node)
{
    return source_spot(g->source, g->reader, node == NULL ? g->node : node);
}

static config_setting_t *member(const struct group *g, const char *name)
{
    return g->node == NULL || name[0] == '\0' ? NULL : config_setting_get_member(g->node, name);
}

void faults_setting(const struct group *g, const char *name, const char *format, ...)
{
    char words[LINE_SIZE];
    va_list args;

    va_start(args, format);
    about(g, name, format, args, words);
    va_end(args);
    add_line(&g->reader->report->faults, &g->reader->fault_count, spot_of(g, member(g, name)), words);
}

void faults_setting_hint(const struct group *g, const char *name, const char *format, ...)
{
    char words[LINE_SIZE];
    va_list args;

    va_start(args, format);
    about(g, name, format, args, words);
    va_end(args);
    add_line(&g->reader->report->hints, &g->reader->hint_count, spot_of(g, member(g, name)), words);
}

void faults_item(const struct group *g, const char *name, size_t index, const char *format, ...)
{
    config_setting_t *list = member(g, name), *item = NULL;
    char words[LINE_SIZE];
    va_list args;

    if (g->reader->fault_count >= LINES_MAX)
        list = NULL;                /* a line that nobody will see is not worth looking up */
    if (list != NULL && config_setting_is_aggregate(list))
        item = config_setting_get_elem(list, (unsigned)index);
    va_start(args, format);
    about(g, name, format, args, words);
    va_end(args);
    add_line(&g->reader->report->faults, &g->reader->fault_count, spot_of(g, item == NULL ? list : item), words);
}

char *faults_show(const char *value, char ret[static FAULTS_SHOW_SIZE])
{
    size_t at = 0;

    for (; *value != '\0' && at + 4 < FAULTS_SHOW_SIZE; value++, at++) {
        ret[at] = *value;
        if ((unsigned char)*value < 0x20 || *value == 0x7f)
            ret[at] = '?';
    }
    ret[at] = '\0';
    if (*value != '\0')
        strcpy(ret + at, "...");
    return ret;
}

void faults_nearer(struct nearest *n, const char *offered)
{
    size_t distance = text_distance(n->wanted, offered);

    if (n->best == NULL || distance < n->distance) {
        n->best = offered;
        n->distance = distance;
    }
}

char *faults_offer(const struct nearest *n, char ret[static FAULTS_SHOW_SIZE])
{
    size_t length = strlen(n->wanted);

    if (n->best != NULL && n->distance <= (length < 6 ? 2 : length / 2 + 1) && n->distance < length)
        snprintf(ret, FAULTS_SHOW_SIZE, "did you mean \"%s\"?", n->best);
    else
        snprintf(ret, FAULTS_SHOW_SIZE, "danelaw.conf(5) lists what there is");
    return ret;
}
