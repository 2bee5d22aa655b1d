#ifndef DANELAW_TESTS_MAIL_HOST_H
#define DANELAW_TESTS_MAIL_HOST_H

/* A mail host on a loopback port, as well or as badly behaved as a test wants it. */
#include "base/thread.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { HOST_GUESTS_MAX = 256 };

/* What it does once it has said 220 to STARTTLS. */
enum host_tls { HOST_SHAKES = 0, HOST_SILENT, HOST_HANGS_UP, HOST_TALKS_PLAIN, HOST_CUTS_SHORT, HOST_DRIPS, HOST_FLOODS };

#define HOST_GREETING "220 mx.example ESMTP\r\n"
#define HOST_EHLO "250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
#define HOST_STARTTLS "220 2.0.0 go ahead\r\n"

/* Its words: NULL: none, ever; "": it hangs up instead. */
struct host_manner {
    const char *greeting, *ehlo, *starttls;
    const char *again;              /* said over and over behind the greeting */
    bool leaves;                    /* right behind the greeting */
    bool drips;                     /* each octet of `again` by itself, after a while */
    bool held;                      /* greets nobody before host_release() */
    enum host_tls tls;
    int version;                    /* at most; 0: any */
    bool rsa, ecdsa;                /* its certificates */
    bool mute_in_tls;               /* hears QUIT, and says nothing */
};

struct guest {
    struct mail_host *host;
    int fd;
    bool open;                      /* guarded by the host's lock */
    pthread_t thread;
};

struct mail_host {
    struct host_manner manner;
    int listener;
    uint16_t port;
    SSL_CTX *ctx;
    pthread_t thread;
    atomic_int visits, stuck, quits;        /* stuck: those who are being kept waiting, or were */
    struct mutex lock;
    struct signal released;
    bool held, closing;
    char sni[256], helo[300];               /* of the latest visit */
    struct guest guests[HOST_GUESTS_MAX];
    size_t guest_count;
};

/* Polite, with a certificate of each kind. */
extern const struct host_manner host_polite;

/* Makes keys and certificates. */
int hosts_set_up(void **state);
int hosts_tear_down(void **state);
X509 *host_certificate(bool ecdsa);         /* borrowed */

/* Listens at an address, `127.0.0.1`, `0.0.0.0` or `::1`; backlog as in listen(). Nobody is let in before host_start(). */
void host_listen(struct mail_host *h, const struct host_manner *m, const char *address, int backlog);
void host_start(struct mail_host *h);
void host_release(struct mail_host *h);
void host_close(struct mail_host *h);
/* Where it is, under any of its addresses. */
struct sockaddr_storage host_at(const char *address);
/* Until a count of the host's is reached; fails the test after a long while. */
void host_await(atomic_int *count, int least);

#endif
