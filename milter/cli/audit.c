#include "cli/cli.h"

int cli_audit(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "audit is being built");
}
