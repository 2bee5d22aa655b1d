#include "lookup/probe_smtp.h"

#include "lookup/probe_reply.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 4096, COMMAND_SIZE = 512 };

struct step {
    const char *name, *command;
    int good;
};

/* What comes behind a reply was not asked for: the host doesn't speak SMTP, or somebody else speaks for it. */
static bool hear(struct wire *w, struct reply *ret, struct fault *why)
{
    char chunk[CHUNK];
    size_t got;

    *ret = (struct reply){ .state = REPLY_MORE };
    do {
        if (!wire_receive(w, chunk, sizeof(chunk), &got, why))
            return false;
        if (reply_read(ret, chunk, got) < got && ret->state == REPLY_WHOLE)
            return fault_set(why, "the host says more than it was asked");
    } while (ret->state == REPLY_MORE);
    return ret->state == REPLY_WHOLE || fault_set(why, "%s", ret->why);
}

/* PROBE_SEEN: the host said what it should. */
static enum probe_state take_step(struct wire *w, const struct step *s, struct reply *ret, struct fault *why)
{
    struct fault inner;

    if (!wire_send(w, s->command, strlen(s->command), &inner) || !hear(w, ret, &inner)) {
        fault_set(why, "%s: %.160s", s->name, inner.text);
        return PROBE_UNREACHABLE;
    }
    if (ret->code == s->good)
        return PROBE_SEEN;
    fault_set(why, "%s: %s", s->name, ret->words);
    return ret->code >= 400 ? PROBE_REFUSED : PROBE_UNREACHABLE;
}

/* RFC 5321 4.1.3. An address that can't be had is no reason to stay at home. */
static void spell_own_address(const struct wire *w, char *ret, size_t size)
{
    struct sockaddr_storage own = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof(own);
    char spelled[INET6_ADDRSTRLEN];

    snprintf(ret, size, "localhost");
    if (getsockname(w->fd, (struct sockaddr *)&own, &length) != 0)
        return;
    if (own.ss_family == AF_INET &&
        inet_ntop(AF_INET, &((struct sockaddr_in *)&own)->sin_addr, spelled, sizeof(spelled)) != NULL)
        snprintf(ret, size, "[%s]", spelled);
    else if (own.ss_family == AF_INET6 &&
             inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&own)->sin6_addr, spelled, sizeof(spelled)) != NULL)
        snprintf(ret, size, "[IPv6:%s]", spelled);
}

static enum probe_state greet(struct wire *w, const char *helo, struct reply *ret, struct fault *why)
{
    char own[INET6_ADDRSTRLEN + 16], command[COMMAND_SIZE];
    enum probe_state state = take_step(w, &(struct step){ "greeting", "", 220 }, ret, why);

    if (state != PROBE_SEEN)
        return state;
    spell_own_address(w, own, sizeof(own));
    snprintf(command, sizeof(command), "EHLO %.300s\r\n", *helo == '\0' ? own : helo);
    return take_step(w, &(struct step){ "EHLO", command, 250 }, ret, why);
}

enum probe_state smtp_open(struct wire *w, const char *helo, bool *ret_in_step, struct fault *why)
{
    struct reply reply;
    enum probe_state state = greet(w, helo, &reply, why);

    *ret_in_step = state != PROBE_UNREACHABLE;
    if (state != PROBE_SEEN)
        return state;
    if (!reply.starttls) {
        fault_set(why, "the host does not offer STARTTLS");
        return PROBE_NO_STARTTLS;
    }
    state = take_step(w, &(struct step){ "STARTTLS", "STARTTLS\r\n", 220 }, &reply, why);
    *ret_in_step = state == PROBE_REFUSED;
    return state == PROBE_SEEN ? PROBE_TLS_FAILED : state;
}

void smtp_quit(struct wire *w)
{
    static const char quit[] = "QUIT\r\n";
    struct reply reply;

    if (wire_send(w, quit, sizeof(quit) - 1, NULL))
        hear(w, &reply, NULL);
}
