#include "config/reader.h"

#include "base/memory.h"
#include "config/values.h"

#include <limits.h>
#include <string.h>

static void *field(void *target, const struct setting *known)
{
    return (char *)target + known->offset;
}

/* NULL: the texts of the table live for ever. */
static const char *kept(struct arena *memory, const char *text)
{
    return memory == NULL ? text : arena_text(memory, text);
}

static bool spoken_number(const struct setting *known, const char *spoken, uint64_t *ret)
{
    switch (known->kind) {
    case SETTING_DURATION:
        return values_duration(spoken, ret);
    case SETTING_SIZE:
        return values_size(spoken, ret);
    case SETTING_MODE:
        return values_mode(spoken, ret);
    case SETTING_NUMBER:
    case SETTING_TEXT:
    case SETTING_FLAG:
    case SETTING_LIST:
    case SETTING_WORD:
        break;
    }
    return values_number(spoken, ret);
}

static void put_number(const struct setting *known, void *target, uint64_t number)
{
    if (known->kind == SETTING_SIZE)
        *(uint64_t *)field(target, known) = number;
    else
        *(uint32_t *)field(target, known) = (uint32_t)number;
}

/* Texts parted by blanks. */
static void put_words(struct setting_list *list, const char *words, struct arena *memory)
{
    size_t room = strlen(words) / 2 + 1;

    *list = (struct setting_list){ 0 };
    if (words[0] == '\0')
        return;
    list->items = arena_take(memory, room * sizeof(*list->items));
    while (*words != '\0') {
        size_t length = strcspn(words, " ");

        list->items[list->count++] = arena_bytes(memory, words, length);
        words += length + (words[length] != '\0');
    }
}

void groups_preset(const struct setting *known, void *target, struct arena *memory)
{
    uint64_t number = 0;

    for (; known->name != NULL; known++) {
        switch (known->kind) {
        case SETTING_TEXT:
        case SETTING_WORD:
            *(const char **)field(target, known) = known->preset;
            break;
        case SETTING_FLAG:
            *(bool *)field(target, known) = strcmp(known->preset, "true") == 0;
            break;
        case SETTING_LIST:
            put_words(field(target, known), known->preset, memory);
            break;
        case SETTING_NUMBER:
        case SETTING_DURATION:
        case SETTING_SIZE:
        case SETTING_MODE:
            spoken_number(known, known->preset, &number);
            put_number(known, target, number);
            break;
        }
    }
}

static const char *kind_of(const config_setting_t *node)
{
    switch (config_setting_type(node)) {
    case CONFIG_TYPE_GROUP:
        return "a group";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a fraction";
    case CONFIG_TYPE_STRING:
        return "a text";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    default:
        return "a list";
    }
}

/* `write budget = "3s"` */
static bool wrong_kind(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    const char *preset = known->preset[0] == '\0' ? "..." : known->preset;
    char choices[512];

    switch (known->kind) {
    case SETTING_FLAG:
        faults_setting(g, known->name, "is %s; write %s = true or %s = false, without quotes", kind_of(node),
                       known->name, known->name);
        break;
    case SETTING_NUMBER:
        faults_setting(g, known->name, "is %s; write a whole number as in %s = %s", kind_of(node), known->name,
                       preset);
        break;
    case SETTING_LIST:
        faults_setting(g, known->name, "is %s; write a list of texts, %s = [ \"...\", \"...\" ]", kind_of(node),
                       known->name);
        break;
    case SETTING_WORD:
        faults_setting(g, known->name, "is %s; write %s", kind_of(node),
                       values_choices(known->words, choices, sizeof(choices)));
        break;
    case SETTING_MODE:
        faults_setting(g, known->name, "is %s; write the permissions in quotes, %s = \"%s\"", kind_of(node),
                       known->name, preset);
        break;
    case SETTING_TEXT:
    case SETTING_DURATION:
    case SETTING_SIZE:
        faults_setting(g, known->name, "is %s; write a text, %s = \"%s\"", kind_of(node), known->name, preset);
        break;
    }
    return false;
}

static bool read_text(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    const char *text = config_setting_get_string(node);

    if (text == NULL)
        return wrong_kind(g, known, node);
    *(const char **)field(g->target, known) = kept(g->keep ? g->memory : NULL, text);
    return true;
}

static bool read_word(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    const char *word = config_setting_get_string(node);
    char shown[FAULTS_SHOW_SIZE], choices[512];

    if (word == NULL)
        return wrong_kind(g, known, node);
    if (!values_has_word(known->words, word)) {
        values_choices(known->words, choices, sizeof(choices));
        faults_setting(g, known->name, "\"%s\" is not known; write %s", faults_show(word, shown), choices);
        return false;
    }
    *(const char **)field(g->target, known) = kept(g->keep ? g->memory : NULL, word);
    return true;
}

static bool read_flag(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    if (config_setting_type(node) != CONFIG_TYPE_BOOL)
        return wrong_kind(g, known, node);
    *(bool *)field(g->target, known) = config_setting_get_bool(node) != 0;
    return true;
}

static bool out_of_range(const struct group *g, const struct setting *known)
{
    char least[VALUES_PRINT_SIZE], most[VALUES_PRINT_SIZE];

    values_print(known->kind, known->least, least);
    values_print(known->kind, known->most, most);
    if (known->most == 0)
        faults_setting(g, known->name, "is out of range; write at least %s", least);
    else
        faults_setting(g, known->name, "is out of range; write %s to %s", least, most);
    return false;
}

static bool read_number(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    int type = config_setting_type(node);
    uint64_t ceiling = known->kind == SETTING_SIZE ? UINT64_MAX : UINT32_MAX, number;
    const char *text = config_setting_get_string(node);
    char shown[FAULTS_SHOW_SIZE];

    if (type == CONFIG_TYPE_STRING && known->kind != SETTING_NUMBER) {
        if (!spoken_number(known, text, &number)) {
            faults_setting(g, known->name, "\"%s\" can't be read; write it as in \"%s\"", faults_show(text, shown),
                           known->preset);
            return false;
        }
    } else if ((type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) && known->kind != SETTING_MODE) {
        if (config_setting_get_int64(node) < 0)
            return out_of_range(g, known);
        number = (uint64_t)config_setting_get_int64(node);
    } else {
        return wrong_kind(g, known, node);
    }
    if (number > ceiling || number < known->least || (known->most > 0 && number > known->most))
        return out_of_range(g, known);
    put_number(known, g->target, number);
    return true;
}

static bool read_list(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    struct setting_list list = { 0 };
    size_t count, i;
    bool good = true;

    if (!config_setting_is_array(node) && !config_setting_is_list(node))
        return wrong_kind(g, known, node);
    count = (size_t)config_setting_length(node);
    list.items = count == 0 ? NULL : arena_take(g->memory, count * sizeof(*list.items));
    for (i = 0; i < count; i++) {
        const config_setting_t *item = config_setting_get_elem(node, (unsigned)i);
        const char *text = config_setting_get_string(item);

        if (text == NULL) {
            faults_item(g, known->name, i, "entry %zu is %s; write a text in quotes", i + 1, kind_of(item));
            good = false;
        } else {
            list.items[list.count++] = kept(g->keep ? g->memory : NULL, text);
        }
    }
    if (good)
        *(struct setting_list *)field(g->target, known) = list;
    return good;
}

static bool read_value(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    switch (known->kind) {
    case SETTING_TEXT:
        return read_text(g, known, node);
    case SETTING_WORD:
        return read_word(g, known, node);
    case SETTING_FLAG:
        return read_flag(g, known, node);
    case SETTING_LIST:
        return read_list(g, known, node);
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_SIZE:
    case SETTING_MODE:
        break;
    }
    return read_number(g, known, node);
}

static bool unknown(const struct group *g, const struct setting *known, const char *name)
{
    struct nearest near = { .wanted = name };
    char offer[FAULTS_SHOW_SIZE];

    for (; known->name != NULL; known++)
        faults_nearer(&near, known->name);
    faults_setting(g, name, "unknown setting; %s", faults_offer(&near, offer));
    return false;
}

const struct setting *groups_find(const struct setting *known, const char *name)
{
    while (known->name != NULL && strcmp(known->name, name) != 0)
        known++;
    return known->name == NULL ? NULL : known;
}

bool groups_read_member(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    const char *name = config_setting_name(node);
    const struct setting *it = groups_find(known, name);

    if (it == NULL)
        return unknown(g, known, name);
    return read_value(g, it, node);
}

bool groups_read(const struct group *g, const struct setting *known)
{
    int count = config_setting_length(g->node), i;
    bool good = true;

    for (i = 0; i < count; i++)
        good = groups_read_member(g, known, config_setting_get_elem(g->node, (unsigned)i)) && good;
    return good;
}

bool groups_is(const struct group *g, const char *example)
{
    if (config_setting_is_group(g->node))
        return true;
    faults_setting(g, "", "is %s; write a group, %s", kind_of(g->node), example);
    return false;
}

bool groups_has(const struct group *g, const char *name)
{
    return g->node != NULL && config_setting_get_member(g->node, name) != NULL;
}
