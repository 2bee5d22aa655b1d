#include "cli/cli.h"

int cli_sweep(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "sweep is being built");
}
