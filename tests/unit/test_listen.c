#include "server/listen.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96], spec[112];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/danelaw-listen-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/x.sock", folder);
    snprintf(spec, sizeof(spec), "unix:%s", path);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static struct listen_access access_of(mode_t mode)
{
    return (struct listen_access){ .owner = geteuid(), .group = (gid_t)-1, .mode = mode };
}

static int open_good(const char *where, mode_t mode)
{
    struct listen_access access = access_of(mode);
    struct fault why;
    int s = -1;

    if (!listen_open(where, &access, &s, &why))
        fail_msg("%s", why.text);
    assert_true(s >= 0);
    return s;
}

static bool connects(const char *at)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good;

    snprintf(where.sun_path, sizeof(where.sun_path), "%s", at);
    good = connect(s, (struct sockaddr *)&where, sizeof(where)) == 0;
    close(s);
    return good;
}

static void assert_refused(const char *where, const char *words)
{
    struct listen_access access = access_of(0660);
    struct fault why = { "" };
    int s = -77;

    if (listen_open(where, &access, &s, &why))
        fail_msg("\"%s\" was opened", where);
    assert_int_equal(s, -77);
    if (strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
}

static void the_path_of_a_socket_is_found_in_both_spellings(void **state)
{
    (void)state;
    assert_string_equal(listen_path("unix:/run/x"), "/run/x");
    assert_string_equal(listen_path("local:/run/x"), "/run/x");
    assert_null(listen_path("inet:8891@127.0.0.1"));
}

static void a_socket_has_its_mode_and_takes_clients(void **state)
{
    static const mode_t modes[] = { 0660, 0600, 0666 };
    mode_t before = umask(077);
    struct stat seen;
    size_t i;
    int s;

    (void)state;
    for (i = 0; i < COUNT_OF(modes); i++) {
        s = open_good(spec, modes[i]);
        assert_int_equal(stat(path, &seen), 0);
        assert_true(S_ISSOCK(seen.st_mode));
        assert_int_equal(seen.st_mode & 0777, modes[i]);
        assert_true(connects(path));
        assert_true((fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(s, F_GETFD) & FD_CLOEXEC) != 0);
        close(s);
    }
    assert_int_equal(umask(before), 077);               /* and the process keeps its own */
}

static void a_stale_socket_is_replaced(void **state)
{
    int s = open_good(spec, 0660);

    (void)state;
    close(s);
    assert_false(connects(path));
    s = open_good(spec, 0660);
    assert_true(connects(path));
    close(s);
}

static void anything_else_in_the_way_is_refused_and_stays(void **state)
{
    char other[96];
    struct stat seen;
    int s = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    (void)state;
    assert_int_equal(write(s, "precious", 8), 8);
    close(s);
    assert_refused(spec, path);
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_size, 8);
    unlink(path);
    snprintf(other, sizeof(other), "%s/other", folder);
    assert_int_equal(symlink(other, path), 0);
    assert_refused(spec, path);
    assert_int_equal(lstat(path, &seen), 0);
    assert_true(S_ISLNK(seen.st_mode));
    unlink(path);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_refused(spec, path);
    rmdir(path);
}

static void a_socket_where_somebody_serves_is_left_to_him(void **state)
{
    int s;

    (void)state;
    s = open_good(spec, 0600);
    assert_refused(spec, "somebody serves there already");
    assert_true(connects(path));
    close(s);
    close(open_good(spec, 0600));                   /* stale now */
}

static void faults_are_explained(void **state)
{
    char long_spec[300] = "unix:/", missing[128];

    (void)state;
    memset(long_spec + 6, 'x', 200);
    assert_refused(long_spec, "characters");
    snprintf(missing, sizeof(missing), "unix:%s/none/x.sock", folder);
    assert_refused(missing, "none/x.sock");
    assert_refused("inet:8891", "inet:PORT@HOST");
    assert_refused("inet:99999999@127.0.0.1", "inet:99999999@127.0.0.1");
    assert_refused("inet:0x@127.0.0.1", "inet:0x@127.0.0.1");
    assert_refused("inet:8891@no.such.host.invalid", "inet:8891@no.such.host.invalid");
    assert_refused("inet:8891@203.0.113.1", "203.0.113.1");
}

static void a_port_is_opened_and_cannot_be_opened_twice(void **state)
{
    struct sockaddr_in where = { .sin_family = AF_INET };
    socklen_t size = sizeof(where);
    char again[64];
    int s = open_good("inet:0@127.0.0.1", 0660), client;

    (void)state;
    assert_int_equal(getsockname(s, (struct sockaddr *)&where, &size), 0);
    assert_int_equal(ntohl(where.sin_addr.s_addr), INADDR_LOOPBACK);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&where, sizeof(where)), 0);
    close(client);
    snprintf(again, sizeof(again), "inet:%u@127.0.0.1", ntohs(where.sin_port));
    assert_refused(again, again);
    close(s);
}

static void a_group_of_ours_gets_the_socket(void **state)
{
    struct listen_access access = access_of(0660);
    struct stat seen;
    struct fault why;
    int s;

    (void)state;
    access.group = geteuid() == 0 ? 1 : getegid();
    assert_true(listen_open(spec, &access, &s, &why));
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_gid, access.group);
    close(s);
}

/* As root: whoever owns the folder may put a link where the socket was, to have somebody else's file given to him. */
static void a_link_in_the_sockets_place_is_not_followed(void **state)
{
    struct listen_access access = access_of(0666);
    char victim[112];
    struct stat seen;
    struct fault why;
    int file;

    (void)state;
    if (geteuid() != 0)
        skip();
    snprintf(victim, sizeof(victim), "%s/secret", folder);
    file = open(victim, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    unlink(path);
    assert_int_equal(symlink(victim, path), 0);
    assert_false(listen_grant(path, &access, &why));
    assert_int_equal(fstat(file, &seen), 0);
    assert_int_equal(seen.st_mode & 07777, 0600);
    close(file);
    unlink(victim);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_path_of_a_socket_is_found_in_both_spellings, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_socket_has_its_mode_and_takes_clients, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_stale_socket_is_replaced, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(anything_else_in_the_way_is_refused_and_stays, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_socket_where_somebody_serves_is_left_to_him, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(faults_are_explained, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_port_is_opened_and_cannot_be_opened_twice, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_group_of_ours_gets_the_socket, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_link_in_the_sockets_place_is_not_followed, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
