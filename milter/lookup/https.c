/*
 * One thread drives libcurl's multi interface. Other threads leave transfers in `inbox` and wake it; everything else
 * belongs to the thread. It is started with the first transfer: many sites never meet a policy.
 */
#include "lookup/https.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

enum { HEAD_MAX = 64 * 1024, POLL_MS = 1000, HTTP_OK = 200, CONNECT_SECONDS = 20 };

struct transfer {
    TAILQ_ENTRY(transfer) link;
    struct policy_landing *at;
    char *host;
    struct curl_slist *resolve;
    CURL *easy;                     /* NULL: waiting */
    struct text body;
    size_t head;                    /* bytes of all headers, interim answers included */
    bool coded;                     /* came with a content coding */
    char error[CURL_ERROR_SIZE];
};

TAILQ_HEAD(transfers, transfer);

static const char stop_words[] = "the daemon stops";

struct https {
    const char *ca_file;
    uint32_t port, timeout;         /* frozen */
    uint64_t body_max;              /* frozen */
    struct mutex lock;
    struct transfers inbox GUARDED_BY(lock);
    size_t inbox_count GUARDED_BY(lock);
    bool started GUARDED_BY(lock), stop GUARDED_BY(lock);
    pthread_t thread;
    CURLM *multi;
    struct transfers running;       /* https thread only */
    size_t running_count;
};

struct https *https_new(const struct settings *set)
{
    struct https *h = mem_zero(sizeof(*h));

    h->ca_file = set->sts.ca_file;
    h->port = set->sts.port;
    h->timeout = set->sts.timeout;
    h->body_max = set->sts.body;
    mutex_init(&h->lock);
    TAILQ_INIT(&h->inbox);
    TAILQ_INIT(&h->running);
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_raw, free, mem_raw_grow, mem_text, mem_array) != CURLE_OK)
        mem_out();                      /* with our memory no option stays unset for want of it */
    h->multi = curl_multi_init();
    if (h->multi == NULL)
        mem_out();
    return h;
}

static void transfer_free(struct transfer *t)
{
    curl_slist_free_all(t->resolve);
    text_done(&t->body);
    free(t->host);
    free(t);
}

/* The end of a transfer, told and freed. */
static void land(struct transfer *t, enum fetch_state state, const char *why)
{
    struct policy_file file = { .state = state, .body = text_words(&t->body), .length = t->body.length };

    text_printable(why, false, file.why, sizeof(file.why));
    t->at->arrive(t->at, &file);
    transfer_free(t);
}

/* What libcurl calls */

static size_t on_body(char *bytes, size_t one, size_t length, void *transfer)
{
    struct transfer *t = transfer;

    (void)one;
    return text_add(&t->body, bytes, length) ? length : 0;      /* 0 ends the transfer */
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t on_header(char *line, size_t one, size_t length, void *transfer)
{
    static const char name[] = "content-encoding:";
    static const char plain[] = "identity";
    struct transfer *t = transfer;
    size_t at = sizeof(name) - 1, end = length;

    (void)one;
    t->head += length;
    if (t->head > HEAD_MAX)             /* libcurl would keep them all */
        return 0;
    if (length < at || strncasecmp(line, name, at) != 0)
        return length;
    while (at < end && is_blank(line[at]))
        at++;
    while (end > at && is_blank(line[end - 1]))
        end--;
    if (end - at != sizeof(plain) - 1 || strncasecmp(line + at, plain, end - at) != 0)
        t->coded = true;
    return length;
}

/* RFC 8461 3.3: the name must stand in a subjectAltName; libcurl alone would take one in the CN, too. */
static CURLcode on_ssl(CURL *easy, void *context, void *transfer)
{
    X509_VERIFY_PARAM *rules = SSL_CTX_get0_param(context);
    struct transfer *t = transfer;

    (void)easy;
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(rules, t->host, 0) == 1 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* Options */

static void set_transport(const struct https *h, struct transfer *t)
{
    CURL *c = t->easy;

    curl_easy_setopt(c, CURLOPT_RESOLVE, t->resolve);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)h->timeout);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)(h->timeout < CONNECT_SECONDS ? h->timeout : CONNECT_SECONDS));
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_ssl);
    curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, t);
    if (*h->ca_file != '\0') {
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);      /* else the system's folder would be trusted, too */
    }
}

static void set_reading(const struct https *h, struct transfer *t)
{
    CURL *c = t->easy;

    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)h->body_max);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "danelaw/" PACKAGE_VERSION);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
}

static void start(struct https *h, struct transfer *t)
{
    char url[512];

    t->easy = curl_easy_init();
    if (t->easy == NULL)
        mem_out();
    snprintf(url, sizeof(url), "https://%s:%u/.well-known/mta-sts.txt", t->host, h->port);
    curl_easy_setopt(t->easy, CURLOPT_URL, url);
    set_transport(h, t);
    set_reading(h, t);
    TAILQ_INSERT_TAIL(&h->running, t, link);
    h->running_count++;
    if (curl_multi_add_handle(h->multi, t->easy) != CURLM_OK)
        mem_out();
}

/* The verdict */

static bool is_text_plain(const char *type)
{
    static const char plain[] = "text/plain";
    size_t length = sizeof(plain) - 1;

    return type != NULL && strncasecmp(type, plain, length) == 0 && strchr("; \t", type[length]) != NULL;
}

/* An answer came; is it one that counts? */
static enum fetch_state weigh(const struct transfer *t, char *why, size_t size)
{
    const char *type = NULL;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
    if (status >= 300 && status < 400)
        snprintf(why, size, "the policy host redirects (HTTP %ld); RFC 8461 3.3 forbids to follow", status);
    else if (status != HTTP_OK)
        snprintf(why, size, "the policy host answers HTTP %ld", status);
    else if (!is_text_plain(type))
        snprintf(why, size, "the policy has the media type %.60s, not text/plain", type == NULL ? "(none)" : type);
    else if (t->coded)
        snprintf(why, size, "the policy has a content coding that nobody asked for");
    else
        return FETCH_GOOD;
    return FETCH_REFUSED;
}

static void explain_size(const struct https *h, bool head, char *why, size_t size)
{
    uint64_t most = head ? HEAD_MAX : h->body_max;
    bool whole = most % 1024 == 0;

    snprintf(why, size, "the %s more than %" PRIu64 " %s", head ? "header of the answer has" : "policy has",
             whole ? most / 1024 : most, whole ? "KiB" : "octets");
}

/* No answer, or none to the end. */
static enum fetch_state explain(const struct https *h, const struct transfer *t, CURLcode code, char *why, size_t size)
{
    const char *words = t->error[0] == '\0' ? curl_easy_strerror(code) : t->error;
    long verified = X509_V_OK;

    if (t->head > HEAD_MAX || t->body.full || code == CURLE_FILESIZE_EXCEEDED) {
        explain_size(h, t->head > HEAD_MAX, why, size);
        return FETCH_REFUSED;
    }
    if (code != CURLE_PEER_FAILED_VERIFICATION) {
        snprintf(why, size, "%.180s", code == CURLE_ABORTED_BY_CALLBACK ? stop_words : words);
        return FETCH_FAILED;
    }
    curl_easy_getinfo(t->easy, CURLINFO_SSL_VERIFYRESULT, &verified);
    if (verified == X509_V_ERR_HOSTNAME_MISMATCH)       /* the CN may well have the name */
        snprintf(why, size, "SSL certificate problem: no subjectAltName for %.120s", t->host);
    else
        snprintf(why, size, "%.180s", words);
    return FETCH_CERTIFICATE;
}

static void end(struct https *h, struct transfer *t, CURLcode code)
{
    enum fetch_state state;
    char why[192] = "";

    state = code == CURLE_OK ? weigh(t, why, sizeof(why)) : explain(h, t, code, why, sizeof(why));
    curl_multi_remove_handle(h->multi, t->easy);
    curl_easy_cleanup(t->easy);
    TAILQ_REMOVE(&h->running, t, link);
    h->running_count--;
    land(t, state, why);
}

/* The thread */

/* Takes what may run now; true: it is time to stop. */
static bool take_in(struct https *h)
{
    struct transfer *t;
    bool stop;

    for (;;) {
        mutex_lock(&h->lock);
        stop = h->stop;
        t = h->running_count < HTTPS_RUNNING_MAX ? TAILQ_FIRST(&h->inbox) : NULL;
        if (t != NULL && !stop) {
            TAILQ_REMOVE(&h->inbox, t, link);
            h->inbox_count--;
        }
        mutex_unlock(&h->lock);
        if (t == NULL || stop)
            return stop;
        start(h, t);
    }
}

static void move_on(struct https *h)
{
    struct transfer *t;
    CURLMsg *news;
    int count;

    curl_multi_perform(h->multi, &count);
    while ((news = curl_multi_info_read(h->multi, &count)) != NULL) {
        if (news->msg == CURLMSG_DONE && curl_easy_getinfo(news->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
            end(h, t, news->data.result);
    }
}

static void *https_body(void *argument)
{
    struct https *h = argument;
    struct transfer *t;

    while (!take_in(h)) {               /* before the poll: whoever got a free place keeps it from sleeping */
        curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL);
        move_on(h);
    }
    while ((t = TAILQ_FIRST(&h->running)) != NULL)
        end(h, t, CURLE_ABORTED_BY_CALLBACK);
    while ((t = TAILQ_FIRST(&h->inbox)) != NULL) {      /* nobody adds to it any more */
        TAILQ_REMOVE(&h->inbox, t, link);
        land(t, FETCH_FAILED, stop_words);
    }
    return NULL;
}

static struct transfer *transfer_new(const struct https *h, const char *host, const char *addresses,
                                     struct policy_landing *at)
{
    struct transfer *t = mem_zero(sizeof(*t));
    struct text entry;

    t->at = at;
    t->host = mem_text(host);
    text_init(&t->body, (size_t)h->body_max);
    text_init(&entry, 4096);
    text_print(&entry, "+%s:%u:%s", host, h->port, addresses);      /* +: libcurl forgets them after a minute */
    t->resolve = curl_slist_append(NULL, text_words(&entry));
    text_done(&entry);
    if (t->resolve == NULL)
        mem_out();
    return t;
}

/* Into the inbox; false: there is no room, or we are shut. */
static bool post(struct https *h, struct transfer *t)
{
    bool welcome;

    mutex_lock(&h->lock);
    welcome = !h->stop && h->inbox_count < HTTPS_WAITING_MAX;
    if (welcome) {
        TAILQ_INSERT_TAIL(&h->inbox, t, link);
        h->inbox_count++;
        if (!h->started)
            thread_start(&h->thread, "https", https_body, h);
        h->started = true;
    }
    mutex_unlock(&h->lock);
    return welcome;
}

void https_get(struct https *h, const char *host, const char *addresses, struct policy_landing *at)
{
    struct transfer *t = transfer_new(h, host, addresses, at);

    if (post(h, t))
        curl_multi_wakeup(h->multi);
    else
        land(t, FETCH_FAILED, "too many policies are being fetched, or the daemon stops");
}

void https_shut(struct https *h)
{
    bool started;

    mutex_lock(&h->lock);
    h->stop = true;
    started = h->started;
    mutex_unlock(&h->lock);
    curl_multi_wakeup(h->multi);
    if (started)
        pthread_join(h->thread, NULL);
}

void https_free(struct https *h)
{
    if (h == NULL)
        return;
    curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    mutex_done(&h->lock);
    free(h);
}
