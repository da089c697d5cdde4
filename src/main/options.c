/*
 * options.c - the command line.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "main/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>
#include <openssl/crypto.h>

#include "config/config.h"
#include "net/resolver.h"

enum { OPTION_PRINT_SAMPLE = 1000, OPTION_PRINT_MANUAL };

static const struct option long_options[] = {
    {"daemon", no_argument, NULL, 'd'},
    {"quiet", no_argument, NULL, 'q'},
    {"reboot", no_argument, NULL, 'R'},
    {"user", required_argument, NULL, 'u'},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {"check", no_argument, NULL, 't'},
    {"print-sample", no_argument, NULL, OPTION_PRINT_SAMPLE},
    {"print-manual", no_argument, NULL, OPTION_PRINT_MANUAL},
    {NULL, 0, NULL, 0},
};

const char *version_text(void)
{
    return "PgBouncer " PGBOUNCER_VERSION " (" PACKAGE_NAME " " PACKAGE_VERSION ")";
}

void version_libraries(const char *method, char *ret_text, unsigned size)
{
    snprintf(ret_text, size, "libevent %s (%s), adns: %s, tls: %s", event_get_version(), method,
             resolver_library(), OpenSSL_version(OPENSSL_VERSION));
}

static void print_version(void)
{
    printf("%s\nlibevent %s\nadns: %s\ntls: %s\n", version_text(), event_get_version(),
           resolver_library(), OpenSSL_version(OPENSSL_VERSION));
#ifdef HAVE_LIBSYSTEMD
    printf("systemd: yes\n");
#endif
}

static void print_help(const char *program)
{
    printf("%s is a connection pooler for PostgreSQL.\n"
           "\n"
           "Usage:\n"
           "  %s [OPTION]... CONFIG_FILE\n"
           "\n"
           "Options:\n"
           "  -d, --daemon         run in the background (needs a pidfile)\n"
           "  -q, --quiet          write nothing to the terminal\n"
           "  -t, --check          test the configuration, say what is wrong, and exit\n"
           "  -u, --user=USERNAME  run as this system user\n"
           "  -v, --verbose        log more; twice: still more\n"
           "  -R, --reboot         accepted; taking over from a running process is not supported\n"
           "  -V, --version        show the version and exit\n"
           "  -h, --help           show this help and exit\n"
           "      --print-sample   print a configuration file with every setting and exit\n",
           program, program);
}

NO_RETURN static void usage_error(const char *program)
{
    fprintf(stderr, "Try \"%s --help\" for more information.\n", program);
    exit(1);
}

static void read_option(int option, struct options *options, const char *program)
{
    switch (option) {
    case 'd':
        options->daemon = true;
        break;
    case 'q':
        options->quiet = true;
        break;
    case 'R':
        break; /* a running instance is found by its Unix socket and pidfile */
    case 't':
        options->check = true;
        break;
    case 'u':
        options->user = optarg;
        break;
    case 'v':
        options->verbose++;
        break;
    case 'V':
        print_version();
        exit(0);
    case 'h':
        print_help(program);
        exit(0);
    case OPTION_PRINT_SAMPLE:
        config_print_sample();
        exit(0);
    case OPTION_PRINT_MANUAL:
        config_print_manual();
        exit(0);
    default:
        usage_error(program);
    }
}

struct options options_read(int argc, char *argv[])
{
    struct options options = {0};
    int option;
    while ((option = getopt_long(argc, argv, "dqRtu:vVh", long_options, NULL)) != -1)
        read_option(option, &options, argv[0]);
    if (argc - optind != 1) {
        fprintf(stderr, "%s: no configuration file specified\n", argv[0]);
        usage_error(argv[0]);
    }
    options.config_file = argv[optind];
    return options;
}
