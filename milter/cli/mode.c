#include "cli/cli.h"

int cli_mode(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "mode is being built");
}
