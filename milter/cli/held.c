#include "cli/cli.h"

int cli_held(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "held is being built");
}
