#include "cli/cli.h"

int cli_doctor(const struct cli *c)
{
    (void)c;
    return cli_fail(CLI_USAGE, "doctor is being built");
}
