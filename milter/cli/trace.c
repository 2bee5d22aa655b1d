#include "cli/cli.h"

int cli_trace(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "trace is being built");
}
