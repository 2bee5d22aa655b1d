#include "server/gate.h"

#include "base/thread.h"

static struct {
    struct mutex lock;
    struct signal empty, never;
    size_t inside GUARDED_BY(lock);
    bool shut GUARDED_BY(lock);
} gate;

void gate_open(void)
{
    mutex_init(&gate.lock);
    signal_init(&gate.empty);
    signal_init(&gate.never);
}

void gate_enter(void)
{
    mutex_lock(&gate.lock);
    while (gate.shut)
        signal_wait(&gate.never, &gate.lock);
    gate.inside++;
    mutex_unlock(&gate.lock);
}

void gate_leave(void)
{
    mutex_lock(&gate.lock);
    gate.inside--;
    if (gate.inside == 0)
        signal_all(&gate.empty);
    mutex_unlock(&gate.lock);
}

void gate_shut(void)
{
    mutex_lock(&gate.lock);
    gate.shut = true;
    mutex_unlock(&gate.lock);
}

void gate_await(void)
{
    mutex_lock(&gate.lock);
    while (gate.inside > 0)
        signal_wait(&gate.empty, &gate.lock);
    mutex_unlock(&gate.lock);
}
