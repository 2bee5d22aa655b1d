#include "mail_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PATIENCE_MS = 120 * 1000, DRIP_MS = 20, DAY = 86400 };

const struct host_manner host_polite = { .greeting = HOST_GREETING, .ehlo = HOST_EHLO, .starttls = HOST_STARTTLS,
                                         .rsa = true, .ecdsa = true };

/* Certificates: [0] RSA, [1] ECDSA */

static EVP_PKEY *keys[2];
static X509 *certificates[2];

static X509 *certify(EVP_PKEY *key)
{
    X509 *x = X509_new();

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -DAY);
    X509_gmtime_adj(X509_getm_notAfter(x), DAY);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"mx.example", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    return x;
}

int hosts_set_up(void **state)
{
    (void)state;
    keys[0] = EVP_RSA_gen(2048);
    keys[1] = EVP_EC_gen("P-256");
    certificates[0] = certify(keys[0]);
    certificates[1] = certify(keys[1]);
    return 0;
}

int hosts_tear_down(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < 2; i++) {
        X509_free(certificates[i]);
        EVP_PKEY_free(keys[i]);
    }
    return 0;
}

X509 *host_certificate(bool ecdsa)
{
    return certificates[ecdsa];
}

static SSL_CTX *make_ctx(const struct host_manner *m)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(ctx, 0);
    SSL_CTX_set_max_proto_version(ctx, m->version);
    if (m->rsa)
        assert_int_equal(1, SSL_CTX_use_cert_and_key(ctx, certificates[0], keys[0], NULL, 1));
    if (m->ecdsa)
        assert_int_equal(1, SSL_CTX_use_cert_and_key(ctx, certificates[1], keys[1], NULL, 1));
    return ctx;
}

/* A guest's thread */

static bool say(const struct guest *g, const char *words, size_t length)
{
    return send(g->fd, words, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Until the guest leaves. */
static void keep_waiting(struct guest *g)
{
    char bytes[512];

    atomic_fetch_add(&g->host->stuck, 1);
    while (recv(g->fd, bytes, sizeof(bytes), 0) > 0)
        continue;
}

/* false: it is over. */
static bool speak(struct guest *g, const char *words)
{
    if (words == NULL)
        keep_waiting(g);
    return words != NULL && *words != '\0' && say(g, words, strlen(words));
}

/* As fast as the guest takes it, or drop by drop, until it has had enough. */
static void repeat(struct guest *g, const char *words, bool drips)
{
    size_t at = 0, length = strlen(words);

    atomic_fetch_add(&g->host->stuck, 1);
    while (drips ? say(g, words + at++ % length, 1) : say(g, words, length))
        poll(NULL, 0, drips ? DRIP_MS : 0);
}

static bool hear(const struct guest *g, char *line, size_t size)
{
    size_t length = 0;

    while (length + 1 < size && recv(g->fd, line + length, 1, 0) == 1) {
        if (line[length++] == '\n') {
            line[length] = '\0';
            return true;
        }
    }
    return false;
}

static void note(struct mail_host *h, char *kept, size_t size, const char *words)
{
    mutex_lock(&h->lock);
    snprintf(kept, size, "%s", words == NULL ? "" : words);
    mutex_unlock(&h->lock);
}

static void shake(struct guest *g)
{
    struct mail_host *h = g->host;
    SSL *ssl = SSL_new(h->ctx);
    char line[64];

    SSL_set_fd(ssl, g->fd);
    if (SSL_accept(ssl) == 1) {
        note(h, h->sni, sizeof(h->sni), SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
        if (SSL_read(ssl, line, sizeof(line)) == 6 && memcmp(line, "QUIT\r\n", 6) == 0) {
            atomic_fetch_add(&h->quits, 1);
            if (h->manner.mute_in_tls)
                keep_waiting(g);
            else
                SSL_write(ssl, "221 bye\r\n", 9);
            SSL_read(ssl, line, sizeof(line));
        }
    }
    SSL_free(ssl);
}

static void begin_tls(struct guest *g)
{
    static const char hello[] = "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03";     /* the start of 16 KiB */
    static const char requests[] = "\x16\x03\x03\x00\x04\x00\x00\x00\x00";          /* HelloRequest, for nothing */
    static const char plain[] = "554 5.7.0 what is this?\r\n";
    char bytes[2048];

    if (g->host->manner.tls == HOST_SHAKES)
        shake(g);
    else if (recv(g->fd, bytes, sizeof(bytes), 0) > 0) {
        switch (g->host->manner.tls) {
        case HOST_SILENT:
            keep_waiting(g);
            break;
        case HOST_TALKS_PLAIN:
            speak(g, plain);
            break;
        case HOST_CUTS_SHORT:
            say(g, hello, sizeof(hello) - 1);
            break;
        case HOST_DRIPS:
            say(g, hello, sizeof(hello) - 1);
            repeat(g, "x", true);
            break;
        case HOST_FLOODS:
            while (say(g, requests, sizeof(requests) - 1))
                continue;
            break;
        case HOST_HANGS_UP:
        case HOST_SHAKES:
            break;
        }
    }
}

static void serve(struct guest *g)
{
    struct mail_host *h = g->host;
    const struct host_manner *m = &h->manner;
    char line[300];

    mutex_lock(&h->lock);
    while (h->held && !h->closing)
        signal_wait(&h->released, &h->lock);
    mutex_unlock(&h->lock);
    if (!speak(g, m->greeting) || m->leaves)
        return;
    if (m->again != NULL)
        repeat(g, m->again, m->drips);
    while (hear(g, line, sizeof(line))) {
        if (strncmp(line, "EHLO ", 5) == 0) {
            note(h, h->helo, sizeof(h->helo), line + 5);
            if (!speak(g, m->ehlo))
                return;
        } else if (strcmp(line, "STARTTLS\r\n") == 0) {
            if (!speak(g, m->starttls))
                return;
            if (*m->starttls == '2') {
                begin_tls(g);
                return;
            }
        } else if (strcmp(line, "QUIT\r\n") == 0) {
            atomic_fetch_add(&h->quits, 1);
            speak(g, "221 bye\r\n");
            return;
        }
    }
}

static void *receive_guest(void *guest)
{
    struct guest *g = guest;
    struct mail_host *h = g->host;

    serve(g);
    mutex_lock(&h->lock);
    g->open = false;
    close(g->fd);
    mutex_unlock(&h->lock);
    return NULL;
}

/* The host's thread */

static void *let_in(void *host)
{
    struct mail_host *h = host;
    int fd;

    while ((fd = accept(h->listener, NULL, NULL)) >= 0 && h->guest_count < HOST_GUESTS_MAX) {
        struct guest *g = &h->guests[h->guest_count++];

        *g = (struct guest){ .host = h, .fd = fd, .open = true };
        atomic_fetch_add(&h->visits, 1);
        thread_start(&g->thread, "guest", receive_guest, g);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

struct sockaddr_storage host_at(const char *address)
{
    struct sockaddr_storage at = { .ss_family = strchr(address, ':') == NULL ? AF_INET : AF_INET6 };
    void *octets = at.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&at)->sin_addr
                                           : (void *)&((struct sockaddr_in6 *)&at)->sin6_addr;

    assert_int_equal(1, inet_pton(at.ss_family, address, octets));
    return at;
}

void host_listen(struct mail_host *h, const struct host_manner *m, const char *address, int backlog)
{
    struct sockaddr_storage at = host_at(address);
    socklen_t size = sizeof(at);

    memset(h, 0, sizeof(*h));
    h->manner = *m;
    h->held = m->held;
    h->ctx = make_ctx(m);
    mutex_init(&h->lock);
    signal_init(&h->released);
    h->listener = socket(at.ss_family, SOCK_STREAM, 0);
    assert_int_equal(0, bind(h->listener, (struct sockaddr *)&at, size));
    assert_int_equal(0, listen(h->listener, backlog));
    assert_int_equal(0, getsockname(h->listener, (struct sockaddr *)&at, &size));
    h->port = ntohs(((struct sockaddr_in *)&at)->sin_port);         /* at the same place in both families */
}

void host_start(struct mail_host *h)
{
    thread_start(&h->thread, "mailhost", let_in, h);
}

void host_release(struct mail_host *h)
{
    mutex_lock(&h->lock);
    h->held = false;
    signal_all(&h->released);
    mutex_unlock(&h->lock);
}

void host_close(struct mail_host *h)
{
    size_t i;

    shutdown(h->listener, SHUT_RDWR);
    if (h->thread != 0)
        pthread_join(h->thread, NULL);
    mutex_lock(&h->lock);
    h->closing = true;
    signal_all(&h->released);
    for (i = 0; i < h->guest_count; i++) {
        if (h->guests[i].open)
            shutdown(h->guests[i].fd, SHUT_RDWR);
    }
    mutex_unlock(&h->lock);
    for (i = 0; i < h->guest_count; i++)
        pthread_join(h->guests[i].thread, NULL);
    close(h->listener);
    SSL_CTX_free(h->ctx);
    signal_done(&h->released);
    mutex_done(&h->lock);
}

void host_await(atomic_int *count, int least)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (atomic_load(count) < least && clock_ms() < until)
        poll(NULL, 0, 5);
    assert_true(atomic_load(count) >= least);
}
