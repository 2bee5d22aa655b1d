#include "config/reader.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

FILE *source_file(const char *path, struct fault *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    FILE *file;

    if (fd < 0 || fstat(fd, &about) != 0) {
        fault_set(why, "cannot open: %s", strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        fault_set(why, "is not a regular file");
    } else if ((about.st_mode & S_IWOTH) != 0) {
        fault_set(why, "anybody may write to it, and so loosen every rule; run chmod o-w on it");
    } else {
        file = fdopen(fd, "r");
        if (file != NULL)
            return file;
        fault_set(why, "cannot open: %s", strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

const char *source_join(struct arena *memory, const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *joined;

    if (name[0] == '/')
        return arena_text(memory, name);
    joined = arena_take(memory, size);
    snprintf(joined, size, "%s%s%s", folder, strcmp(folder, "/") == 0 ? "" : "/", name);
    return joined;
}

/* libconfig 1.5 keeps the name as @include spells it, later ones the path. */
static const char *shown_file(const struct source *s, struct reader *r, const char *spoken)
{
    size_t length = strlen(s->folder);

    if (spoken == NULL || strcmp(spoken, s->path) == 0)
        return s->path;
    if (strncmp(spoken, s->folder, length) == 0 && spoken[length] == '/')
        return arena_text(r->scratch, spoken);
    return source_join(r->scratch, s->folder, spoken);
}

/* libconfig 1.5 gives a text the line of what stands behind it, since another text might have continued it. */
static unsigned real_line(const struct source *s, const char *file, unsigned line)
{
    size_t i;

    for (i = 0; i < s->late_count; i++) {
        if (s->late[i].line == line && strcmp(s->late[i].file, file) == 0)
            return s->late[i].real;
    }
    return line;
}

struct spot source_spot(struct source *s, struct reader *r, const config_setting_t *at)
{
    struct spot spot = { .file = s->path };

    if (at == NULL || config_setting_is_root(at))
        return spot;
    if (s->shown == NULL || s->spoken != config_setting_source_file(at)) {
        s->spoken = config_setting_source_file(at);
        s->shown = shown_file(s, r, s->spoken);
    }
    spot.file = s->shown;
    spot.line = (unsigned)config_setting_source_line(at);
    if (config_setting_type(at) == CONFIG_TYPE_STRING && config_setting_name(at) == NULL)
        spot.line = real_line(s, spot.file, spot.line);
    return spot;
}

static void parse_fault(struct source *s, struct reader *r)
{
    const char *said = config_error_text(&s->tree), *words = said;
    struct spot at = { .file = shown_file(s, r, config_error_file(&s->tree)),
                       .line = (unsigned)config_error_line(&s->tree) };

    if (said == NULL || strcmp(said, "file I/O error") == 0) {
        faults_add(r, (struct spot){ .file = s->path }, "cannot be read");
        return;
    }
    if (strcmp(said, "syntax error") == 0)
        words = "syntax error here or shortly before: a bracket, quote, semicolon or comma is missing or one too many";
    else if (strcmp(said, "duplicate setting name") == 0)
        words = "a setting of this name stands here twice; remove one of them";
    else if (strcmp(said, "mismatched element type in array") == 0)
        words = "the entries of a list are of different kinds; write a list of texts, [ \"one\", \"two\" ]";
    faults_add(r, at, "%s", words);
}

bool source_open(struct source *s, struct reader *r, const char *path, const char *folder)
{
    *s = (struct source){ .path = arena_text(r->scratch, path), .folder = folder };
    config_init(&s->tree);
    config_set_include_dir(&s->tree, folder);
    if (!scan_source(s, r))
        return false;
    if (config_read_file(&s->tree, path) == CONFIG_TRUE)
        return true;
    parse_fault(s, r);
    return false;
}

void source_close(struct source *s)
{
    config_destroy(&s->tree);
    free(s->late);
    s->late = NULL;
    s->late_count = s->late_room = 0;
}
