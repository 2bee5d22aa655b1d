#include "cli/daemon.h"

#include "base/memory.h"
#include "base/settings.h"
#include "cli/output.h"

#include <errno.h>
#include <libconfig.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 120 };          /* between two lines; a reload of very many connectors takes its time */

static const char *preset_socket(void)
{
    const struct setting_group *group;
    const struct setting *s;

    for (group = settings_groups; group->name != NULL; group++) {
        for (s = group->settings; s->name != NULL; s++) {
            if (s->offset == offsetof(struct settings, control.socket))
                return s->preset;
        }
    }
    return "";
}

/*
 * Only the socket counts here, and it is looked for without judging the rest: a daemon must be reachable although its
 * configuration has become bad. Gives the text, or NULL with ret_exit. ret_guessed: the file can't even be parsed.
 */
static char *socket_setting(const struct cli *c, bool *ret_guessed, int *ret_exit)
{
    AUTO(free) char *copy = mem_text(c->config);
    const char *spoken = NULL;
    char *found;
    config_t raw;

    *ret_guessed = false;
    if (access(c->config, R_OK) != 0) {
        if (c->config_given) {
            *ret_exit = cli_fail(CLI_CONFIG, "%s: cannot read: %s", c->config, strerror(errno));
            return NULL;
        }
        return mem_text(preset_socket());
    }
    config_init(&raw);
    config_set_include_dir(&raw, dirname(copy));
    *ret_guessed = config_read_file(&raw, c->config) != CONFIG_TRUE;
    if (*ret_guessed)
        cli_remark("%s:%d: %s; looking for the daemon at %s", config_error_file(&raw) == NULL ? c->config : config_error_file(&raw),
                   config_error_line(&raw), config_error_text(&raw), preset_socket());
    else
        config_lookup_string(&raw, "control.socket", &spoken);
    found = mem_text(spoken == NULL ? preset_socket() : spoken);
    config_destroy(&raw);
    return found;
}

static int unreachable(const char *path, int error)
{
    if (error == ENOENT)
        return cli_fail(CLI_UNREACHABLE, "there is no socket %s: danelawd is not running, or it reads another configuration (-c)", path);
    if (error == ECONNREFUSED)
        return cli_fail(CLI_UNREACHABLE, "nobody answers at %s: danelawd is not running", path);
    if (error == EACCES || error == EPERM)
        return cli_fail(CLI_UNREACHABLE, "%s: permission denied; root, the daemon's user and the group of control.socket_group "
                        "may ask it", path);
    return cli_fail(CLI_UNREACHABLE, "%s: %s; is danelawd running?", path, strerror(error));
}

/* false: no socket can be called so. */
static bool address_of(const char *spoken, struct sockaddr_un *ret)
{
    const char *path = spoken;

    if (strncmp(path, "unix:", 5) == 0)
        path += 5;
    else if (strncmp(path, "local:", 6) == 0)
        path += 6;
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (path[0] != '/' || strlen(path) >= sizeof(ret->sun_path))
        return false;
    strcpy(ret->sun_path, path);
    return true;
}

/* The connected descriptor, or -1 with errno. */
static int dial(const struct sockaddr_un *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0) {
        error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

bool daemon_listens(const struct settings *set)
{
    struct sockaddr_un to;
    int fd = address_of(set->control.socket, &to) ? dial(&to) : -1;

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* The connected descriptor, or -1 with ret_exit. */
static int reach(const char *spoken, int *ret_exit)
{
    const struct timeval patience = { .tv_sec = ANSWER_SECONDS };
    struct sockaddr_un to;
    int fd;

    if (!address_of(spoken, &to)) {
        *ret_exit = cli_fail(CLI_CONFIG, "control.socket: \"%s\" is no \"unix:/path\" of at most %zu characters", spoken,
                             sizeof(to.sun_path) - 1);
        return -1;
    }
    fd = dial(&to);
    if (fd < 0) {
        *ret_exit = unreachable(to.sun_path, errno);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

/* Root may act for somebody by sudo(8); the daemon writes down whom he names. */
static void add_claim(json_t *request)
{
    const char *login = getenv("SUDO_USER");

    if (geteuid() == 0 && login != NULL)
        json_object_set_new(request, "sudo", output_text(login));
}

/* Takes request. */
static bool send_request(FILE *wire, json_t *request)
{
    bool sent;

    add_claim(request);
    sent = json_dumpf(request, wire, JSON_COMPACT) == 0 && fputc('\n', wire) != EOF && fflush(wire) == 0;
    json_decref(request);
    return sent;
}

/* One line of the answer; true: it was the last. */
static bool take_line(const struct cli *c, const json_t *item, struct daemon_reader *reader, int *ret_exit)
{
    const json_t *last = json_object_get(item, "exit");
    const char *error = output_member(item, "error", NULL);

    if (json_is_integer(last)) {
        if (error != NULL)
            cli_remark("%s", error);
        *ret_exit = (int)json_integer_value(last);
        return true;
    }
    if (c->json)
        output_json(item);
    else
        reader->item(reader, item);
    return false;
}

static int read_answer(const struct cli *c, FILE *wire, struct daemon_reader *reader)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool done = false;
    int exit = CLI_TEMPORARY;

    while (!done && (length = getline(&line, &room, wire)) > 0) {
        json_t *item = json_loadb(line, (size_t)length, 0, NULL);

        if (item == NULL)
            break;
        done = take_line(c, item, reader, &exit);
        json_decref(item);
    }
    free(line);
    return done ? exit : cli_fail(CLI_TEMPORARY, "the daemon broke off its answer; its log may say why");
}

int daemon_ask_at(const struct cli *c, const char *socket, json_t *request, struct daemon_reader *reader)
{
    int exit, fd = reach(socket, &exit);
    FILE *wire;

    if (fd < 0) {
        json_decref(request);
        return exit;
    }
    wire = fdopen(fd, "r+e");
    if (wire == NULL)
        mem_out();
    if (send_request(wire, request))
        exit = read_answer(c, wire, reader);
    else
        exit = cli_fail(CLI_TEMPORARY, "the daemon does not take the question: %s", strerror(errno));
    fclose(wire);
    return exit;
}

int daemon_ask(const struct cli *c, json_t *request, struct daemon_reader *reader)
{
    int exit = CLI_UNREACHABLE;
    bool guessed;
    AUTO(free) char *spoken = socket_setting(c, &guessed, &exit);

    if (spoken == NULL) {
        json_decref(request);
        return exit;
    }
    exit = daemon_ask_at(c, spoken, request, reader);
    return guessed && exit == CLI_UNREACHABLE ? CLI_CONFIG : exit;
}
