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
#include "main/process.h"

static int check(const struct options *options)
{
    struct tls_setup *tls = pooler_load(options);
    bool good = tls != NULL;
    if (good && !options->quiet)
        printf("%s: the configuration is good\n", options->config_file);
    tls_setup_destroy(tls);
    config_destroy(config_use(NULL));
    return good ? 0 : 1;
}

int main(int argc, char *argv[])
{
    struct options options = options_read(argc, argv);
    struct tls_setup *tls;
    struct pooler *pooler;

    process_forbid_core_dumps(); /* before any secret is read */
    if (options.check)
        return check(&options);
    tls = pooler_load(&options);
    if (tls == NULL)
        log_fatal("cannot load config file");
    pooler = pooler_create(&options, tls);
    pooler_run(pooler);
    pooler_destroy(pooler);
    return 0;
}
