/*
 * main.c - the order of the start.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>

#include "base/log.h"
#include "config/config.h"
#include "main/options.h"
#include "main/pooler.h"

static int check(const struct options *options)
{
    bool good = pooler_load(options);
    if (good && !options->quiet)
        printf("%s: the configuration is good\n", options->config_file);
    config_destroy(config_use(NULL));
    return good ? 0 : 1;
}

int main(int argc, char *argv[])
{
    struct options options = options_read(argc, argv);
    struct pooler *pooler;

    if (options.check)
        return check(&options);
    if (!pooler_load(&options))
        log_fatal("cannot load config file");
    pooler = pooler_create(&options);
    pooler_run(pooler);
    pooler_destroy(pooler);
    return 0;
}
