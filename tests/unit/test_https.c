/*
 * Policies fetched from a web server of our own on loopback addresses, with certificates made here and names that only
 * our name server knows. The first label of a domain says what its policy host is like: see certify() for certificates,
 * answers[] and speak() for what it says, addresses_of() for where it is.
 *
 * All tests run in an environment that tries to lead libcurl astray; see set_up().
 */
#include "lookup/https.h"
#include "lookup/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "name_server.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define TEXT "Content-Type: text/plain\r\n"
#define OK "HTTP/1.1 200 OK\r\n" TEXT
#define POLICY "version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 86400\n"

enum { HOST_SIZE = 300, DAY = 86400, LIMIT = 64 * 1024 };

/* What the process asks of its libraries, counted on its way: libcurl's calls end here first. */

static atomic_int system_lookups, folders_trusted;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)ret;
    atomic_fetch_add(&system_lookups, 1);
    return EAI_NONAME;
}

int X509_STORE_load_path(X509_STORE *store, const char *path)
{
    int (*load)(X509_STORE *, const char *);

    *(void **)&load = dlsym(RTLD_NEXT, "X509_STORE_load_path");
    atomic_fetch_add(&folders_trusted, 1);
    return load(store, path);
}

/* The web server */

static struct {
    char folder[64], ca_file[96], both_file[96];
    EVP_PKEY *key;                      /* everyone's */
    X509 *ca, *foreign;
    SSL_CTX *ctx, *old_ctx;
    uint16_t port;
    int stop[2];
    pthread_t thread;
    atomic_int clients, busy, busiest, requests, strange;
} web;

enum door { DOOR_TLS = 0, DOOR_TLS6, DOOR_OLD_TLS, DOOR_GARBAGE, DOOR_SILENT, DOOR_CLOSING, DOORS };

static struct {
    int fd;
    const char *address;
} doors[DOORS] = { { -1, "127.0.0.1" }, { -1, "::1" },       { -1, "127.0.0.3" },
                   { -1, "127.0.0.4" }, { -1, "127.0.0.5" }, { -1, "127.0.0.6" } };

/* Where the policy hosts are; nobody listens at 127.0.0.2. NULL: nowhere. */
static const char *addresses_of(const char *label, int type)
{
    static const struct {
        const char *label, *v4, *v6;
    } places[] = {
        { "six.", NULL, "::1" },                        { "mixed.", "127.0.0.2", "::1" },
        { "second.", "127.0.0.2 127.0.0.1", NULL },     { "refused.", "127.0.0.2", NULL },
        { "nowhere.", NULL, NULL },                     { "oldtls.", "127.0.0.3", NULL },
        { "garbage.", "127.0.0.4", NULL },              { "mute.", "127.0.0.5", NULL },
        { "closing.", "127.0.0.6", NULL },              { "astray.", "127.0.0.2", NULL },
        { "half.", "127.0.0.1", NULL },
        { "many.", "127.0.0.2 127.0.0.7 127.0.0.8 127.0.0.9 127.0.0.10 127.0.0.11 127.0.0.12 127.0.0.13 127.0.0.14",
          "::2" },
    };
    size_t i;

    for (i = 0; i < COUNT_OF(places); i++) {
        if (begins(label, places[i].label))
            return type == A ? places[i].v4 : places[i].v6;
    }
    return type == A ? "127.0.0.1" : NULL;
}

static bool answer_body(struct packet *p, const char *name, int type, bool by_tcp)
{
    const char *label = begins(name, "mta-sts.") ? name + 8 : name, *list;
    uint8_t bytes[16];
    size_t start, size;
    char one[64];

    (void)by_tcp;
    if (begins(label, "dead.") || (begins(label, "half.") && type == AAAA))
        return false;
    if (begins(label, "fail.")) {
        p->bytes[3] = (uint8_t)((p->bytes[3] & 0xf0) | SERVFAIL);
        return true;
    }
    if (label == name || begins(label, "gone.") || (type != A && type != AAAA)) {
        deny(p, NXDOMAIN);
        return true;
    }
    list = addresses_of(label, type);
    if (list == NULL)
        deny(p, 0);
    for (; list != NULL && *list != '\0'; list += size + (list[size] == ' ')) {
        size = strcspn(list, " ");
        snprintf(one, sizeof(one), "%.*s", (int)size, list);
        inet_pton(type == A ? AF_INET : AF_INET6, one, bytes);
        start = put_record(p, 6, name, type, 300);
        memcpy(p->bytes + p->length, bytes, type == A ? 4 : 16);
        p->length += type == A ? 4 : 16;
        end_record(p, start);
    }
    return true;
}

/* Certificates */

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

/* san: DNS:NAME or NULL. issuer NULL: itself. */
static X509 *make_certificate(const char *cn, const char *san, long from, long until, X509 *issuer, const char *usage)
{
    static atomic_int serial = 1;
    X509 *x = X509_new();

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), atomic_fetch_add(&serial, 1));
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), until);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer == NULL ? x : issuer));
    X509_set_pubkey(x, web.key);
    if (usage == NULL)
        extend(x, NID_basic_constraints, "critical,CA:TRUE");
    else
        extend(x, NID_ext_key_usage, usage);
    if (san != NULL)
        extend(x, NID_subject_alt_name, san);
    X509_sign(x, web.key, EVP_sha256());
    return x;
}

/* The certificate for the host that the client names. */
static int certify(SSL *ssl, void *argument)
{
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), *label, *usage = "serverAuth";
    long from = -DAY, until = DAY;
    char cn[64] = "policy host", san[HOST_SIZE];
    X509 *issuer = web.ca, *x;
    bool bare = false;

    (void)argument;
    if (host == NULL || !begins(host, "mta-sts."))
        return 0;
    label = host + 8;
    snprintf(san, sizeof(san), "DNS:%s", host);
    if (begins(label, "selfsigned."))
        issuer = NULL;
    else if (begins(label, "foreign."))
        issuer = web.foreign;
    else if (begins(label, "wrongname."))
        snprintf(san, sizeof(san), "DNS:mta-sts.other.example");
    else if (begins(label, "parentname."))
        snprintf(san, sizeof(san), "DNS:%s", label);
    else if (begins(label, "expired."))
        until = -3600;
    else if (begins(label, "early."))
        from = 3600;
    else if (begins(label, "cnonly.") || begins(label, "cnother."))
        snprintf(cn, sizeof(cn), "%s", host);
    else if (begins(label, "wildcard."))
        snprintf(san, sizeof(san), "DNS:*.%s", label);
    else if (begins(label, "toowild."))
        snprintf(san, sizeof(san), "DNS:*.example");
    else if (begins(label, "halfwild."))
        snprintf(san, sizeof(san), "DNS:mta-*.%s", label);
    else if (begins(label, "client."))
        usage = "clientAuth";
    if (begins(label, "cnother."))
        snprintf(san, sizeof(san), "DNS:www.cnother.example");
    bare = begins(label, "cnonly.");
    x = make_certificate(cn, bare ? NULL : san, from, until, issuer, usage);
    SSL_use_certificate(ssl, x);
    SSL_use_PrivateKey(ssl, web.key);
    X509_free(x);
    return 1;
}

/* What it says */

static bool say(SSL *ssl, const char *bytes, size_t length)
{
    return SSL_write(ssl, bytes, (int)length) > 0;
}

static bool put(SSL *ssl, const char *words)
{
    return say(ssl, words, strlen(words));
}

static const struct {
    const char *label, *bytes;
} answers[] = {
    { "good.", OK "Content-Length: 59\r\n\r\n" POLICY },
    { "cr.", OK "Content-Length: 4\r\n\r\na\r\nb" },
    { "identity.", OK "Content-Encoding: \tidentity \r\nContent-Length: 2\r\n\r\nok" },
    { "charset.", "HTTP/1.1 200 OK\r\ncontent-type: Text/Plain;charset=utf-8\r\nContent-Length: 2\r\n\r\nok" },
    { "chunked.", OK "Transfer-Encoding: chunked\r\n\r\n3\r\nver\r\n5\r\nsion:\r\n0\r\n\r\n" },
    { "old.", "HTTP/1.0 200 OK\r\n" TEXT "\r\nto the end" },
    { "interim.", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK "Content-Length: 2\r\n\r\nok" },
    { "empty.", OK "Content-Length: 0\r\n\r\n" },
    { "moved.", "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.good.example/.well-known/mta-sts.txt\r\n" TEXT
                "Content-Length: 2\r\n\r\nok" },
    { "found.", "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n" TEXT "Content-Length: 2\r\n\r\nok" },
    { "missing.", "HTTP/1.1 404 Not Found\r\n" TEXT "Content-Length: 2\r\n\r\nok" },
    { "broken.", "HTTP/1.1 500 Oh\r\n" TEXT "Content-Length: 2\r\n\r\nok" },
    { "nothing.", "HTTP/1.1 204 No Content\r\n" TEXT "\r\n" },
    { "partial.", "HTTP/1.1 206 Partial\r\n" TEXT "Content-Length: 2\r\n\r\nok" },
    { "typeless.", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
    { "html.", "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 2\r\n\r\nok" },
    { "plainer.", "HTTP/1.1 200 OK\r\nContent-Type: text/plainer\r\nContent-Length: 2\r\n\r\nok" },
    { "rude.", "HTTP/1.1 200 OK\r\nContent-Type: a/\x1b[31m\xc3\xa9\r\nContent-Length: 2\r\n\r\nok" },
    { "gzip.", OK "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b" },
    { "twice.", OK "content-encoding: identity, gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b" },
    { "short.", OK "Content-Length: 59\r\n\r\nversion: STSv1\n" },
    { "cutchunk.", OK "Transfer-Encoding: chunked\r\n\r\n30\r\nversion: STSv1\n" },
    { "ancient.", "version: STSv1\nmode: none\n" },
    { "noise.", "\x01\x02\x03\xff\xfe SSH-2.0-OpenSSH\r\n\r\n" },
    { "hangup.", "" },
};

static void send_body(SSL *ssl, size_t length, bool chunked)
{
    char line[64];
    size_t size;

    put(ssl, OK);
    snprintf(line, sizeof(line), chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: %zu\r\n\r\n", length);
    put(ssl, line);
    for (; length > 0; length -= size) {
        static const char block[1000] = { [0 ... 999] = 'x' };

        size = length < sizeof(block) ? length : sizeof(block);
        snprintf(line, sizeof(line), "%zx\r\n", size);
        if (chunked)
            put(ssl, line);
        if (!say(ssl, block, size))
            return;
        if (chunked)
            put(ssl, "\r\n");
    }
    if (chunked)
        put(ssl, "0\r\n\r\n");
}

/* Until the client has had enough of it. */
static void repeat(SSL *ssl, const char *first, const char *again, int pause_ms)
{
    bool on = put(ssl, first);

    while (on) {
        poll(NULL, 0, pause_ms);
        on = put(ssl, again);
    }
}

/* Until the client goes away. */
static void stay_silent(int fd)
{
    char bytes[512];

    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        continue;
}

/* Holds the client for a while, and counts how many are held at once. */
static void count_busy(void)
{
    int now = atomic_fetch_add(&web.busy, 1) + 1, most = atomic_load(&web.busiest);

    while (now > most && !atomic_compare_exchange_weak(&web.busiest, &most, now))
        continue;
    poll(NULL, 0, 400);
    atomic_fetch_sub(&web.busy, 1);
}

static void speak(SSL *ssl, const char *label)
{
    size_t i;

    for (i = 0; i < COUNT_OF(answers); i++) {
        if (begins(label, answers[i].label)) {
            put(ssl, answers[i].bytes);
            return;
        }
    }
    if (begins(label, "crowd"))
        count_busy();
    if (begins(label, "full."))
        send_body(ssl, LIMIT, false);
    else if (begins(label, "fullchunks."))
        send_body(ssl, LIMIT, true);
    else if (begins(label, "over."))
        send_body(ssl, LIMIT + 1, false);
    else if (begins(label, "overchunks."))
        send_body(ssl, LIMIT + 1, true);
    else if (begins(label, "endless."))
        repeat(ssl, OK "\r\n", POLICY, 0);
    else if (begins(label, "headers."))
        repeat(ssl, OK, "X-Again: and again and again and again and again\r\n", 0);
    else if (begins(label, "interims."))
        repeat(ssl, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Hints\r\nLink: </somewhere-else>\r\n\r\n", 0);
    else if (begins(label, "drip."))
        repeat(ssl, OK "Content-Length: 60000\r\n\r\n", "x", 50);
    else if (begins(label, "silent"))
        stay_silent(SSL_get_fd(ssl));
    else
        put(ssl, answers[0].bytes);
}

/* Exactly what RFC 8461 3.3 lets us ask for? */
static bool is_proper(const char *request, const char *host)
{
    char wanted[HOST_SIZE];

    snprintf(wanted, sizeof(wanted), "\r\nHost: %s:%u\r\n", host, web.port);
    return begins(request, "GET /.well-known/mta-sts.txt HTTP/1.1\r\n") && strstr(request, wanted) != NULL &&
           strcasestr(request, "\r\nAccept-Encoding:") == NULL && strcasestr(request, "\r\nAuthorization:") == NULL;
}

static bool read_request(SSL *ssl, char *ret, size_t size)
{
    size_t used = 0;

    do {
        int got = used + 1 < size ? SSL_read(ssl, ret + used, (int)(size - used - 1)) : 0;

        if (got <= 0)
            return false;
        used += (size_t)got;
        ret[used] = '\0';
    } while (strstr(ret, "\r\n\r\n") == NULL);
    return true;
}

static void serve_tls(int fd, SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    char request[2048];
    const char *host;

    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && read_request(ssl, request, sizeof(request))) {
        host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        atomic_fetch_add(&web.requests, 1);
        if (!is_proper(request, host))
            atomic_fetch_add(&web.strange, 1);
        speak(ssl, host + 8);
        if (!begins(host + 8, "cutoff."))
            SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    ERR_clear_error();
}

struct client {
    int fd;
    enum door door;
};

static void *serve_client(void *argument)
{
    static const char garbage[] = "220 mail.example ESMTP\r\n";
    struct client *c = argument;

    switch (c->door) {
    case DOOR_TLS:
    case DOOR_TLS6:
        serve_tls(c->fd, web.ctx);
        break;
    case DOOR_OLD_TLS:
        serve_tls(c->fd, web.old_ctx);
        break;
    case DOOR_GARBAGE:
        send(c->fd, garbage, sizeof(garbage) - 1, MSG_NOSIGNAL);
        stay_silent(c->fd);
        break;
    case DOOR_SILENT:
        stay_silent(c->fd);
        break;
    case DOOR_CLOSING:
    case DOORS:
        break;
    }
    close(c->fd);
    free(c);
    atomic_fetch_sub(&web.clients, 1);
    return NULL;
}

static void *open_doors(void *argument)
{
    struct pollfd fds[DOORS + 1];
    struct client *c;
    pthread_t thread;
    int i;

    for (i = 0; i < DOORS; i++)
        fds[i] = (struct pollfd){ doors[i].fd, POLLIN, 0 };
    fds[DOORS] = (struct pollfd){ web.stop[0], POLLIN, 0 };
    while (poll(fds, DOORS + 1, -1) > 0 && fds[DOORS].revents == 0) {
        for (i = 0; i < DOORS; i++) {
            int fd = fds[i].revents == 0 ? -1 : accept(fds[i].fd, NULL, NULL);

            if (fd < 0)
                continue;
            c = mem_zero(sizeof(*c));
            *c = (struct client){ fd, (enum door)i };
            atomic_fetch_add(&web.clients, 1);
            thread_start(&thread, "client", serve_client, c);
            pthread_detach(thread);
        }
    }
    return argument;
}

static int listen_at(const char *address, uint16_t port)
{
    bool six = strchr(address, ':') != NULL;
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    const struct sockaddr *at = six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    int fd = socket(at->sa_family, SOCK_STREAM, 0), on = 1;

    inet_pton(at->sa_family, address, six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, at, six ? sizeof(v6) : sizeof(v4)) == 0 && listen(fd, 1024) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool all_listen(void)
{
    struct sockaddr_in at;
    socklen_t size = sizeof(at);
    size_t i;

    doors[0].fd = listen_at(doors[0].address, 0);
    getsockname(doors[0].fd, (struct sockaddr *)&at, &size);
    web.port = ntohs(at.sin_port);
    for (i = 1; i < DOORS; i++) {
        doors[i].fd = listen_at(doors[i].address, web.port);
        if (doors[i].fd < 0 && i != DOOR_TLS6)
            return false;
    }
    return true;
}

static void write_certificates(const char *path, X509 *one, X509 *two)
{
    FILE *file = fopen(path, "we");

    PEM_write_X509(file, one);
    if (two != NULL)
        PEM_write_X509(file, two);
    fclose(file);
}

static int make_web(void)
{
    snprintf(web.folder, sizeof(web.folder), "/tmp/danelaw-https-XXXXXX");
    if (mkdtemp(web.folder) == NULL || pipe(web.stop) != 0 || !all_listen())
        return -1;
    snprintf(web.ca_file, sizeof(web.ca_file), "%s/ca.pem", web.folder);
    snprintf(web.both_file, sizeof(web.both_file), "%s/both.pem", web.folder);
    web.key = EVP_EC_gen("P-256");
    web.ca = make_certificate("Our own CA", NULL, -DAY, DAY, NULL, NULL);
    web.foreign = make_certificate("Somebody's CA", NULL, -DAY, DAY, NULL, NULL);
    write_certificates(web.ca_file, web.ca, NULL);
    write_certificates(web.both_file, web.ca, web.foreign);
    web.ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_cert_cb(web.ctx, certify, NULL);
    web.old_ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_cert_cb(web.old_ctx, certify, NULL);
    SSL_CTX_set_security_level(web.old_ctx, 0);
    SSL_CTX_set_min_proto_version(web.old_ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(web.old_ctx, TLS1_1_VERSION);
    return 0;
}

static int set_up(void **state)
{
    static const char *const proxies[] = { "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "http_proxy" };
    size_t i;

    OPENSSL_init_ssl(0, NULL);
    if (make_web() != 0)
        return -1;
    for (i = 0; i < COUNT_OF(proxies); i++)
        setenv(proxies[i], "http://127.0.0.2:1", 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    setenv("SSL_CERT_FILE", web.both_file, 1);
    setenv("SSL_CERT_DIR", web.folder, 1);
    setenv("CURL_CA_BUNDLE", web.both_file, 1);
    setenv("HOME", web.folder, 1);
    thread_start(&web.thread, "web", open_doors, NULL);
    return server_start(state);
}

static int tear_down(void **state)
{
    size_t i;

    close(web.stop[1]);
    pthread_join(web.thread, NULL);
    close(web.stop[0]);
    while (atomic_load(&web.clients) > 0)
        poll(NULL, 0, 10);
    for (i = 0; i < DOORS; i++)
        close(doors[i].fd);
    SSL_CTX_free(web.ctx);
    SSL_CTX_free(web.old_ctx);
    X509_free(web.ca);
    X509_free(web.foreign);
    EVP_PKEY_free(web.key);
    unlink(web.ca_file);
    unlink(web.both_file);
    rmdir(web.folder);
    return server_stop(state);
}

/* The one that waits */

struct waiter {
    struct policy_landing landing;
    enum fetch_state state;
    char why[192], *body;
    size_t length;
    int times;
    int64_t asked, took;
    pthread_t thread;
    struct crowd *crowd;
};

static void arrive(struct policy_landing *self, const struct policy_file *file)
{
    struct waiter *w = (struct waiter *)self;

    w->state = file->state;
    memcpy(w->why, file->why, sizeof(w->why));
    w->length = file->length;
    w->body = mem_zero(file->length + 1);
    memcpy(w->body, file->body == NULL ? "" : file->body, file->length);
    w->took = clock_ms() - w->asked;
    w->thread = pthread_self();
    w->times++;
    crowd_count(w->crowd);
}

static void waiter_init(struct waiter *w, struct crowd *c)
{
    *w = (struct waiter){ .landing = { .arrive = arrive }, .asked = clock_ms(), .crowd = c };
}

static void fetch(struct lookup *l, struct waiter *w, struct crowd *c, const char *name)
{
    struct domain d;

    waiter_init(w, c);
    assert_true(domain_parse(name, &d, NULL));
    l->fetch_policy(l, &d, &w->landing);
}

static struct settings settings_of(uint32_t timeout)
{
    static char forward[32];
    static const char *items[] = { forward };
    static const char *anchor[] = { "elsewhere.invalid. IN DS 1 13 2 "      /* the system's would want a signed root */
                                    "0000000000000000000000000000000000000000000000000000000000000000" };
    struct settings set = { .resolver = { .trust_anchor_file = "", .root_hints = "", .when_broken = "", .timeout = 30,
                                          .trust_anchor = { .items = anchor, .count = 1 },
                                          .cache = 8 * 1024 * 1024, .forward = { .items = items, .count = 1 } },
                            .sts = { .ca_file = web.ca_file, .port = web.port, .timeout = timeout, .body = LIMIT },
                            .probe = { .helo = "", .bind = "", .concurrency = 1, .timeout = 30 } };

    snprintf(forward, sizeof(forward), "127.0.0.1@%u", server.port);
    return set;
}

static struct lookup *open_with(const struct settings *set)
{
    struct lookup *l;
    struct fault why;

    if (!dns_open(set, &l, &why))
        fail_msg("%s", why.text);
    return l;
}

static struct lookup *open_lookup(uint32_t timeout)
{
    struct settings set = settings_of(timeout);

    return open_with(&set);
}

/* One policy, alone. The body is the caller's. */
static struct waiter fetch_with(const struct settings *set, const char *name)
{
    struct lookup *l = open_with(set);
    struct waiter w;
    struct crowd c;

    crowd_init(&c);
    fetch(l, &w, &c, name);
    crowd_wait(&c, 1);
    l->close(l);
    crowd_done(&c);
    assert_int_equal(w.times, 1);
    return w;
}

struct expected {
    const char *name;
    enum fetch_state state;
    const char *words;              /* of the body where it is good, else of the reason */
};

static void check(const struct waiter *w, const struct expected *e)
{
    const char *words = e->state == FETCH_GOOD ? w->body : w->why;

    if (w->times != 1 || w->state != e->state || strstr(words, e->words) == NULL)
        fail_msg("%s: state %d, not %d; \"%.200s\" does not say \"%s\"; why \"%s\"", e->name, w->state, e->state, words,
                 e->words, w->why);
    if (e->state == FETCH_GOOD)
        assert_string_equal(w->why, "");
}

/* All at once, as it happens in the house. */
static void check_with(const struct settings *set, const struct expected *list, size_t count)
{
    struct waiter *w = mem_array(count, sizeof(*w));
    struct lookup *l = open_with(set);
    struct crowd c;
    size_t i;

    crowd_init(&c);
    for (i = 0; i < count; i++)
        fetch(l, &w[i], &c, list[i].name);
    crowd_wait(&c, count);
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < count; i++)
        check(&w[i], &list[i]);
    for (i = 0; i < count; i++)
        free(w[i].body);
    free(w);
    assert_int_equal(atomic_load(&web.strange), 0);
    assert_int_equal(atomic_load(&system_lookups), 0);
}

static void check_all(const struct expected *list, size_t count)
{
    struct settings set = settings_of(30);

    check_with(&set, list, count);
}

#define CHECK(list) check_all(list, COUNT_OF(list))

/* What is good */

static void a_proper_policy_comes_as_it_was_written(void **state)
{
    static const struct expected list[] = {
        { "good.example", FETCH_GOOD, POLICY },         { "cr.example", FETCH_GOOD, "a\r\nb" },
        { "identity.example", FETCH_GOOD, "ok" },       { "charset.example", FETCH_GOOD, "ok" },
        { "chunked.example", FETCH_GOOD, "version:" },  { "old.example", FETCH_GOOD, "to the end" },
        { "interim.example", FETCH_GOOD, "ok" },        { "empty.example", FETCH_GOOD, "" },
        { "wildcard.example", FETCH_GOOD, POLICY },     { "deep.er.good.example", FETCH_GOOD, POLICY },
        { "xn--mnchen-3ya.example", FETCH_GOOD, POLICY },
    };

    (void)state;
    CHECK(list);
}

static void a_dead_address_does_not_hide_the_next(void **state)
{
    static const struct expected second = { "second.example", FETCH_GOOD, POLICY };

    (void)state;
    check_all(&second, 1);
}

static void ipv6_serves_as_well(void **state)
{
    static const struct expected list[] = { { "six.example", FETCH_GOOD, POLICY }, { "mixed.example", FETCH_GOOD, POLICY } };

    (void)state;
    if (doors[DOOR_TLS6].fd < 0)
        skip();
    CHECK(list);
}

static void an_address_of_one_family_is_enough(void **state)
{
    static const struct expected half = { "half.example", FETCH_GOOD, POLICY };     /* its AAAA never comes */
    struct settings set = settings_of(30);

    (void)state;
    set.resolver.timeout = 3;
    check_with(&set, &half, 1);
}

static void the_longest_name_is_no_danger(void **state)
{
    char name[254];
    struct expected longest = { name, FETCH_FAILED, "address" };
    size_t i;

    (void)state;
    for (i = 0; i < 253; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[253] = '\0';
    check_all(&longest, 1);
}

/* Certificates */

static void a_bad_certificate_is_called_one(void **state)
{
    static const struct expected list[] = {
        { "selfsigned.example", FETCH_CERTIFICATE, "self-signed certificate" },
        { "foreign.example", FETCH_CERTIFICATE, "unable to get local issuer certificate" },
        { "expired.example", FETCH_CERTIFICATE, "certificate has expired" },
        { "early.example", FETCH_CERTIFICATE, "certificate is not yet valid" },
        { "wrongname.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.wrongname.example" },
        { "parentname.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.parentname.example" },
        { "cnonly.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.cnonly.example" },
        { "cnother.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.cnother.example" },
        { "toowild.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.toowild.example" },
        { "halfwild.example", FETCH_CERTIFICATE, "no subjectAltName for mta-sts.halfwild.example" },
        { "client.example", FETCH_CERTIFICATE, "unsuitable certificate purpose" },
    };
    int requests = atomic_load(&web.requests);

    (void)state;
    CHECK(list);
    assert_int_equal(atomic_load(&web.requests), requests);     /* nobody got so far as to ask */
}

static void beside_a_ca_file_the_systems_authorities_do_not_count(void **state)
{
    static const struct expected good = { "good.example", FETCH_GOOD, POLICY };
    int before = atomic_load(&folders_trusted);

    (void)state;
    check_all(&good, 1);
    assert_int_equal(atomic_load(&folders_trusted), before);
}

static void without_a_ca_file_only_the_systems_authorities_count(void **state)
{
    struct settings set = settings_of(30);
    int before = atomic_load(&folders_trusted);
    struct waiter w;

    (void)state;
    set.sts.ca_file = "";               /* and SSL_CERT_FILE, which has ours, is nobody's business */
    w = fetch_with(&set, "good.example");
    free(w.body);
    assert_int_not_equal(w.state, FETCH_GOOD);
    if (w.state == FETCH_CERTIFICATE && curl_version_info(CURLVERSION_NOW)->capath != NULL)
        assert_true(atomic_load(&folders_trusted) > before);    /* else the test above would prove nothing */
}

static void a_ca_file_that_is_not_there_is_named(void **state)
{
    struct settings set = settings_of(30);
    struct waiter w;

    (void)state;
    set.sts.ca_file = "/nonexistent/ca.pem";
    w = fetch_with(&set, "good.example");
    free(w.body);
    assert_int_equal(w.state, FETCH_FAILED);
    assert_non_null(strstr(w.why, "/nonexistent/ca.pem"));
}

static void tls_before_1_2_is_too_old(void **state)
{
    static const struct expected old = { "oldtls.example", FETCH_FAILED, "protocol" };

    (void)state;
    check_all(&old, 1);
}

/* Answers */

static void other_answers_are_refused(void **state)
{
    static const struct expected list[] = {
        { "moved.example", FETCH_REFUSED, "redirects (HTTP 301)" },
        { "found.example", FETCH_REFUSED, "redirects (HTTP 302)" },
        { "missing.example", FETCH_REFUSED, "HTTP 404" },
        { "broken.example", FETCH_REFUSED, "HTTP 500" },
        { "nothing.example", FETCH_REFUSED, "HTTP 204" },
        { "partial.example", FETCH_REFUSED, "HTTP 206" },
        { "typeless.example", FETCH_REFUSED, "media type (none), not text/plain" },
        { "html.example", FETCH_REFUSED, "media type text/html; charset=utf-8, not text/plain" },
        { "plainer.example", FETCH_REFUSED, "media type text/plainer, not text/plain" },
        { "rude.example", FETCH_REFUSED, "media type a/?[31m??, not text/plain" },
        { "gzip.example", FETCH_REFUSED, "content coding" },
        { "twice.example", FETCH_REFUSED, "content coding" },
    };
    int requests = atomic_load(&web.requests);

    (void)state;
    CHECK(list);
    assert_int_equal(atomic_load(&web.requests) - requests, COUNT_OF(list));        /* no redirect was followed */
}

static void a_policy_of_64_kib_is_the_largest(void **state)
{
    static const struct expected list[] = {
        { "full.example", FETCH_GOOD, "x" },
        { "fullchunks.example", FETCH_GOOD, "x" },
        { "over.example", FETCH_REFUSED, "the policy has more than 64 KiB" },
        { "overchunks.example", FETCH_REFUSED, "the policy has more than 64 KiB" },
        { "endless.example", FETCH_REFUSED, "the policy has more than 64 KiB" },
        { "headers.example", FETCH_REFUSED, "the header of the answer has more than 64 KiB" },
        { "interims.example", FETCH_REFUSED, "the header of the answer has more than 64 KiB" },
    };
    struct settings set = settings_of(30);
    struct waiter w = fetch_with(&set, "full.example");

    (void)state;
    assert_int_equal(w.length, LIMIT);
    free(w.body);
    CHECK(list);
}

static void the_largest_policy_is_the_sites_to_say(void **state)
{
    static const struct expected small[] = {
        { "full.example", FETCH_REFUSED, "the policy has more than 65535 octets" },
        { "fullchunks.example", FETCH_REFUSED, "the policy has more than 65535 octets" },
        { "endless.example", FETCH_REFUSED, "the policy has more than 65535 octets" },
        { "headers.example", FETCH_REFUSED, "the header of the answer has more than 64 KiB" },
    };
    static const struct expected large[] = {
        { "over.example", FETCH_GOOD, "x" },
        { "overchunks.example", FETCH_GOOD, "x" },
        { "endless.example", FETCH_REFUSED, "the policy has more than 65537 octets" },
    };
    struct settings set = settings_of(30);

    (void)state;
    set.sts.body = LIMIT - 1;
    check_with(&set, small, COUNT_OF(small));
    set.sts.body = LIMIT + 1;
    check_with(&set, large, COUNT_OF(large));
}

static void half_a_policy_is_none(void **state)
{
    static const struct expected list[] = {
        { "short.example", FETCH_FAILED, "" },
        { "cutchunk.example", FETCH_FAILED, "" },
        { "hangup.example", FETCH_FAILED, "" },
    };

    (void)state;
    CHECK(list);
}

static void what_is_no_http_has_failed(void **state)
{
    static const struct expected list[] = {
        { "ancient.example", FETCH_FAILED, "HTTP/0.9" }, { "noise.example", FETCH_FAILED, "HTTP/0.9" },
        { "garbage.example", FETCH_FAILED, "SSL" },      { "closing.example", FETCH_FAILED, "" },
    };

    (void)state;
    CHECK(list);
}

/* No way there */

static void hosts_out_of_reach_have_failed(void **state)
{
    static const struct expected list[] = {
        { "refused.example", FETCH_FAILED, "mta-sts.refused.example" },
        { "many.example", FETCH_FAILED, "mta-sts.many.example" },
        { "nowhere.example", FETCH_FAILED, "mta-sts.nowhere.example has no address" },
        { "gone.example", FETCH_FAILED, "mta-sts.gone.example has no address" },
        { "fail.example", FETCH_FAILED, "the address of mta-sts.fail.example can not be had: the name servers answer SERVFAIL" },
        { "astray.localhost.example", FETCH_FAILED, "mta-sts.astray" },
    };

    (void)state;
    CHECK(list);
}

static void a_dead_name_server_has_the_resolvers_timeout(void **state)
{
    static const struct expected dead = { "dead.example", FETCH_FAILED,
                                          "the address of mta-sts.dead.example can not be had: no answer within 1 s" };
    struct settings set = settings_of(30);

    (void)state;
    set.resolver.timeout = 1;
    check_with(&set, &dead, 1);
}

static void slow_hosts_have_the_timeout_in_all(void **state)
{
    static const char *const names[] = { "drip.example", "silent.example", "mute.example" };
    struct lookup *l = open_lookup(1);
    struct waiter w[COUNT_OF(names)];
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    for (i = 0; i < COUNT_OF(names); i++)
        fetch(l, &w[i], &c, names[i]);
    crowd_wait(&c, COUNT_OF(names));
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < COUNT_OF(names); i++) {
        struct expected late = { names[i], FETCH_FAILED, "time" };     /* out, at one stage or another */

        check(&w[i], &late);
        assert_in_range(w[i].took, 900, 30000);
        free(w[i].body);
    }
}

/* How it works */

static void a_slow_host_does_not_hold_up_the_others(void **state)
{
    struct lookup *l = open_lookup(30);
    struct waiter slow, quick;
    struct crowd c, d;

    (void)state;
    crowd_init(&c);
    crowd_init(&d);
    fetch(l, &slow, &c, "silent.example");
    poll(NULL, 0, 50);
    fetch(l, &quick, &d, "good.example");
    crowd_wait(&d, 1);
    assert_int_equal(quick.state, FETCH_GOOD);
    assert_false(pthread_equal(quick.thread, pthread_self()));
    l->close(l);
    assert_int_equal(slow.state, FETCH_FAILED);
    crowd_done(&c);
    crowd_done(&d);
    free(slow.body);
    free(quick.body);
}

enum { MANY = 300 };

static void fetch_many(struct lookup *l, struct waiter *w, struct crowd *c, const char *label)
{
    char name[64];
    size_t i;

    for (i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%s%zu.example", label, i);
        fetch(l, &w[i], c, name);
    }
}

static void free_many(struct waiter *w)
{
    size_t i;

    for (i = 0; i < MANY; i++)
        free(w[i].body);
    free(w);
}

static void of_hundreds_only_so_many_run_at_once(void **state)
{
    struct waiter *w = mem_array(MANY, sizeof(*w));
    struct lookup *l = open_lookup(60);
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    atomic_store(&web.busiest, 0);
    fetch_many(l, w, &c, "crowd");
    crowd_wait(&c, MANY);
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < MANY; i++) {
        if (w[i].state != FETCH_GOOD)
            fail_msg("crowd%zu: %s", i, w[i].why);
        assert_int_equal(w[i].times, 1);
    }
    assert_in_range(atomic_load(&web.busiest), 2, HTTPS_RUNNING_MAX);
    free_many(w);
}

/* How long it takes until somebody has a place, and his policy, while all places are taken for a second; -1: he has none. */
static int64_t time_for_a_free_place(void)
{
    static char addresses[] = "127.0.0.5";
    struct settings set = settings_of(1);
    struct https *h = https_new(&set);
    struct waiter *w = mem_array(HTTPS_RUNNING_MAX + 1, sizeof(*w));
    struct crowd c;
    int64_t took;
    size_t i;

    crowd_init(&c);
    for (i = 0; i < HTTPS_RUNNING_MAX; i++) {
        waiter_init(&w[i], &c);
        https_get(h, "mta-sts.mute.example", addresses, &w[i].landing);
    }
    waiter_init(&w[i], &c);
    https_get(h, "mta-sts.good.example", "127.0.0.1", &w[i].landing);
    crowd_wait(&c, HTTPS_RUNNING_MAX + 1);
    https_shut(h);
    https_free(h);
    crowd_done(&c);
    took = w[i].state == FETCH_GOOD ? w[i].took : -1;
    for (i = 0; i <= HTTPS_RUNNING_MAX; i++)
        free(w[i].body);
    free(w);
    return took;
}

/* A place that becomes free while nothing else happens is given away at once: on a busy machine, now and then. */
static void who_waits_gets_a_free_place_at_once(void **state)
{
    int64_t until = clock_ms() + 60000, took;

    (void)state;
    do
        took = time_for_a_free_place();
    while ((took < 0 || took > 1800) && clock_ms() < until);
    assert_in_range(took, 900, 1800);
}

/* The end */

static void closing_lets_transfers_arrive_whether_open_or_waiting(void **state)
{
    struct waiter *w = mem_array(MANY, sizeof(*w));
    struct lookup *l = open_lookup(180);
    int before = atomic_load(&web.requests);
    int64_t begun;
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    fetch_many(l, w, &c, "silent");
    for (begun = clock_ms(); atomic_load(&web.requests) - before < HTTPS_RUNNING_MAX && clock_ms() - begun < 60000;)
        poll(NULL, 0, 10);
    assert_int_equal(atomic_load(&web.requests) - before, HTTPS_RUNNING_MAX);
    begun = clock_ms();
    l->close(l);
    assert_in_range(clock_ms() - begun, 0, 60000);
    assert_int_equal(c.count, MANY);
    crowd_done(&c);
    for (i = 0; i < MANY; i++) {
        assert_int_equal(w[i].times, 1);
        assert_int_equal(w[i].state, FETCH_FAILED);
        assert_string_equal(w[i].why, "the daemon stops");
        assert_false(pthread_equal(w[i].thread, pthread_self()));
    }
    free_many(w);
}

static void closing_lets_everyone_arrive_wherever_they_are(void **state)
{
    struct waiter w[4];
    struct lookup *l;
    struct crowd c;
    size_t i;
    int ms;

    (void)state;
    for (ms = 0; ms < 30; ms++) {       /* in DNS, between DNS and HTTPS, in HTTPS */
        l = open_lookup(60);
        crowd_init(&c);
        fetch(l, &w[0], &c, "dead.example");
        fetch(l, &w[1], &c, "silent.example");
        fetch(l, &w[2], &c, "good.example");
        fetch(l, &w[3], &c, "nowhere.example");
        poll(NULL, 0, ms);
        l->close(l);
        assert_int_equal(c.count, COUNT_OF(w));
        crowd_done(&c);
        assert_int_equal(w[0].state, FETCH_FAILED);
        assert_int_equal(w[1].state, FETCH_FAILED);
        for (i = 0; i < COUNT_OF(w); i++) {
            assert_int_equal(w[i].times, 1);
            free(w[i].body);
        }
    }
}

struct stubborn {
    struct waiter waiter, again;
    struct lookup *lookup;
};

static void arrive_and_fetch_again(struct policy_landing *self, const struct policy_file *file)
{
    struct stubborn *s = (struct stubborn *)self;

    fetch(s->lookup, &s->again, s->waiter.crowd, "silent.example");
    arrive(self, file);
}

static void a_landing_may_fetch_again_even_while_closing(void **state)
{
    static const char *const names[] = { "silent.example", "dead.example" };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(names); i++) {
        struct stubborn s = { .lookup = open_lookup(60) };
        struct domain d;
        struct crowd c;

        crowd_init(&c);
        waiter_init(&s.waiter, &c);
        s.waiter.landing.arrive = arrive_and_fetch_again;
        assert_true(domain_parse(names[i], &d, NULL));
        s.lookup->fetch_policy(s.lookup, &d, &s.waiter.landing);
        poll(NULL, 0, 100);
        s.lookup->close(s.lookup);
        assert_int_equal(c.count, 2);
        crowd_done(&c);
        assert_int_equal(s.waiter.state, FETCH_FAILED);
        assert_int_equal(s.again.state, FETCH_FAILED);
        free(s.waiter.body);
        free(s.again.body);
    }
}

static void who_comes_after_the_end_is_told_inside_the_call(void **state)
{
    struct settings set = settings_of(30);
    struct https *h = https_new(&set);
    struct waiter w;
    struct crowd c;

    (void)state;
    crowd_init(&c);
    https_shut(h);
    waiter_init(&w, &c);
    https_get(h, "mta-sts.good.example", "127.0.0.1", &w.landing);
    assert_int_equal(w.times, 1);
    assert_int_equal(w.state, FETCH_FAILED);
    assert_non_null(strstr(w.why, "the daemon stops"));
    assert_true(pthread_equal(w.thread, pthread_self()));
    https_free(h);
    https_free(NULL);
    crowd_done(&c);
    free(w.body);
}

static void the_system_was_never_asked_for_a_name(void **state)
{
    (void)state;
    assert_int_equal(atomic_load(&system_lookups), 0);
    assert_int_equal(atomic_load(&web.strange), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proper_policy_comes_as_it_was_written),
        cmocka_unit_test(a_dead_address_does_not_hide_the_next),
        cmocka_unit_test(ipv6_serves_as_well),
        cmocka_unit_test(an_address_of_one_family_is_enough),
        cmocka_unit_test(the_longest_name_is_no_danger),
        cmocka_unit_test(a_bad_certificate_is_called_one),
        cmocka_unit_test(beside_a_ca_file_the_systems_authorities_do_not_count),
        cmocka_unit_test(without_a_ca_file_only_the_systems_authorities_count),
        cmocka_unit_test(a_ca_file_that_is_not_there_is_named),
        cmocka_unit_test(tls_before_1_2_is_too_old),
        cmocka_unit_test(other_answers_are_refused),
        cmocka_unit_test(a_policy_of_64_kib_is_the_largest),
        cmocka_unit_test(the_largest_policy_is_the_sites_to_say),
        cmocka_unit_test(half_a_policy_is_none),
        cmocka_unit_test(what_is_no_http_has_failed),
        cmocka_unit_test(hosts_out_of_reach_have_failed),
        cmocka_unit_test(a_dead_name_server_has_the_resolvers_timeout),
        cmocka_unit_test(slow_hosts_have_the_timeout_in_all),
        cmocka_unit_test(a_slow_host_does_not_hold_up_the_others),
        cmocka_unit_test(of_hundreds_only_so_many_run_at_once),
        cmocka_unit_test(who_waits_gets_a_free_place_at_once),
        cmocka_unit_test(closing_lets_transfers_arrive_whether_open_or_waiting),
        cmocka_unit_test(closing_lets_everyone_arrive_wherever_they_are),
        cmocka_unit_test(a_landing_may_fetch_again_even_while_closing),
        cmocka_unit_test(who_comes_after_the_end_is_told_inside_the_call),
        cmocka_unit_test(the_system_was_never_asked_for_a_name),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
