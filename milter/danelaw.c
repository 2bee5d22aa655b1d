/* danelaw(1): the administrator's command. Everything it can do stands in cli/. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
