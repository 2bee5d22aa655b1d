#include "server/gate.h"

#include "base/thread.h"

#include <stdatomic.h>
#include <stddef.h>

/*
 * Who enters counts himself first and looks at `shut` then; who shuts it does so first and looks at the count then: each sees
 * the other. While the gate is open nobody takes the lock.
 */
static struct {
    atomic_size_t inside;
    atomic_bool shut;
    struct mutex lock;
    struct signal empty, never;
} gate;

void gate_open(void)
{
    mutex_init(&gate.lock);
    signal_init(&gate.empty);
    signal_init(&gate.never);
}

void gate_enter(void)
{
    atomic_fetch_add(&gate.inside, 1);
    if (!atomic_load(&gate.shut))
        return;
    gate_leave();
    mutex_lock(&gate.lock);
    while (atomic_load(&gate.shut))
        signal_wait(&gate.never, &gate.lock);
    mutex_unlock(&gate.lock);
}

void gate_leave(void)
{
    if (atomic_fetch_sub(&gate.inside, 1) != 1 || !atomic_load(&gate.shut))
        return;
    mutex_lock(&gate.lock);
    signal_all(&gate.empty);
    mutex_unlock(&gate.lock);
}

void gate_shut(void)
{
    atomic_store(&gate.shut, true);
}

void gate_await(void)
{
    mutex_lock(&gate.lock);
    while (atomic_load(&gate.inside) > 0)
        signal_wait(&gate.empty, &gate.lock);
    mutex_unlock(&gate.lock);
}
