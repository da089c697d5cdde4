/*
 * pooler.c - puts the rooms together, and looks after signals, reload and shutdown.
 *
 * SPDX-License-Identifier: ISC
 */
#include "main/pooler.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "auth/offload.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/slab.h"
#include "client/client.h"
#include "config/config.h"
#include "console/console.h"
#include "main/process.h"
#include "net/farewell.h"
#include "net/listener.h"
#include "net/loop.h"
#include "pool/pools.h"
#include "relay/cancel.h"
#include "relay/session.h"

static const int handled_signals[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};

struct pooler {
    struct options options;
    struct loop *loop;           /* owns */
    struct pools *pools;         /* owns */
    struct offload *offload;     /* owns */
    struct clients *clients;     /* owns */
    struct cancels cancels;
    struct console console;
    struct listeners *listeners; /* owns */
    struct event *signals[countof(handled_signals)]; /* own */
    struct task hang_up; /* SIGHUP has come */
    struct drain drain;  /* of a shutdown that waits for servers */
};

/* ---- configuration ---- */

static void say(const struct options *options, enum log_level level, const char *line)
{
    if (options->check)
        fprintf(stderr, "%s: %s\n", level == LEVEL_ERROR ? "error" : "warning", line);
    else
        log_write(level, NULL, "%s", line);
}

static void say_report(const struct options *options, const struct config_report *report)
{
    for (size_t i = 0; i < report->error_count; i++)
        say(options, LEVEL_ERROR, report->errors[i]);
    for (size_t i = 0; i < report->warning_count; i++)
        say(options, LEVEL_WARNING, report->warnings[i]);
}

static bool configure_log(const struct options *options)
{
    const struct settings *settings = settings_current();
    struct log_options log = {.to_stderr = !options->quiet,
                              .file = settings->logfile,
                              .to_syslog = settings->syslog,
                              .syslog_ident = settings->syslog_ident,
                              .syslog_facility = settings->syslog_facility,
                              .verbose = settings->verbose};
    return log_configure(&log);
}

static void open_log(const struct options *options)
{
    if (!configure_log(options))
        log_fatal("Cannot open logfile: '%s': %s", settings_current()->logfile, strerror(errno));
}

/* Before the log file is opened, so that it belongs to the user. */
static void become_user(const struct options *options)
{
    const char *user = options->user != NULL ? options->user : settings_current()->user;
    if (user != NULL && user[0] != '\0')
        process_become_user(user);
    process_refuse_root();
}

/* A configuration with the TLS contexts that it asks for: both, or neither. */
static struct config *load(const char *file, const struct config *previous, int verbose,
                           struct tls_setup **ret_tls, struct config_report *report)
{
    struct config *config = config_load(file, previous, verbose, report);
    *ret_tls = config != NULL ? tls_setup_create(config, report) : NULL;
    if (*ret_tls != NULL)
        return config;
    config_destroy(config);
    return NULL;
}

struct tls_setup *pooler_load(const struct options *options)
{
    struct config_report report;
    struct tls_setup *tls;
    struct config *config = load(options->config_file, NULL, options->verbose, &tls, &report);
    if (config != NULL) {
        struct config *old = config_use(config);
        config_destroy(old);
        if (!options->check) {
            become_user(options);
            open_log(options);
        }
    }
    say_report(options, &report);
    config_report_release(&report);
    return tls;
}

/* ---- reload ---- */

static void on_database_removed(void *argument, struct database *database)
{
    struct pooler *pooler = argument;
    clients_end_database(pooler->clients, database, "database removed");
    cancels_end_database(&pooler->cancels, database);
}

static void log_changes(const struct settings *before, const struct settings *now)
{
    for (size_t i = 0; i < settings_count; i++) {
        struct buffer old = {0}, new = {0};
        const struct setting *setting = &settings_table[i];
        bool had = settings_print(before, setting, &old), has = settings_print(now, setting, &new);
        buffer_append(&old, "", 1);
        buffer_append(&new, "", 1);
        if (had != has || strcmp((const char *) old.data, (const char *) new.data) != 0)
            log_info(NULL, "setting %s changed from \"%s\" to \"%s\"", setting->name,
                     (const char *) old.data, (const char *) new.data);
        buffer_release(&old);
        buffer_release(&new);
    }
}

static void set_listener_options(struct listeners *listeners)
{
    struct socket_options options = pools_socket_options();
    listeners_set_options(listeners, &options);
    listeners_set_defer_accept(listeners, settings_current()->tcp_defer_accept);
}

/* What is outside the pools and follows the settings. */
static void apply_settings(struct pooler *pooler)
{
    log_set_verbose(settings_current()->verbose);
    set_listener_options(pooler->listeners);
}

static bool reopen_log(const struct pooler *pooler)
{
    if (configure_log(&pooler->options))
        return true;
    log_error(NULL, "could not open logfile '%s': %s; the old one stays in use",
              settings_current()->logfile, strerror(errno));
    return false;
}

static bool reload(void *owner)
{
    struct pooler *pooler = owner;
    struct config_report report;
    struct tls_setup *tls;
    struct config *config =
        load(settings_current()->conffile, config_current(), 0, &tls, &report);
    bool good = config != NULL;
    if (good) {
        struct config *old = config_use(config);
        log_changes(&old->settings, settings_current());
        pools_use_tls(pooler->pools, tls,
                      settings_differ(&old->settings, settings_current(), "server_tls"));
        pools_bind(pooler->pools, on_database_removed, pooler);
        clients_renew_limits(pooler->clients);
        apply_settings(pooler);
        config_destroy(old);
    }
    good = reopen_log(pooler) && good; /* also after a failure: the file may have been rotated */
    say_report(&pooler->options, &report);
    config_report_release(&report);
    if (config == NULL)
        log_error(NULL, "config file loading failed, the running configuration stays in force");
    return good;
}

/* After SET of a TLS setting. NULL, or what the console says. */
static const char *renew_tls(struct pooler *pooler, bool reconnect)
{
    struct config_report report = {0};
    struct tls_setup *tls = tls_setup_create(config_current(), &report);
    say_report(&pooler->options, &report);
    config_report_release(&report);
    if (tls == NULL)
        return "TLS settings could not be applied, still using old configuration";
    pools_use_tls(pooler->pools, tls, reconnect);
    return NULL;
}

static const char *on_setting_changed(void *owner, const char *name)
{
    struct pooler *pooler = owner;
    apply_settings(pooler);
    pools_refresh(pooler->pools);
    clients_renew_limits(pooler->clients);
    if (strncmp(name, "client_tls", 10) == 0 || strncmp(name, "server_tls", 10) == 0)
        return renew_tls(pooler, name[0] == 's');
    return NULL;
}

/* ---- shutdown ---- */

static void on_servers_gone(struct task *task)
{
    struct drain *drain = container_of(task, struct drain, task);
    struct pooler *pooler = container_of(drain, struct pooler, drain);
    if (drain->result != DRAIN_DONE || pooler->pools->shutdown != SHUTDOWN_WAIT_FOR_SERVERS)
        return;
    log_info(NULL, "server connections dropped, exiting");
    loop_stop(pooler->loop);
}

static void on_client_gone(struct clients *clients)
{
    struct pooler *pooler = clients->owner;
    if (pooler->pools->shutdown != SHUTDOWN_WAIT_FOR_CLIENTS || clients->count > 0 ||
        pooler->loop->stopping)
        return;
    log_info(NULL, "client connections dropped, exiting");
    loop_stop(pooler->loop);
}

static void shut_down(void *owner, enum shutdown_mode mode)
{
    struct pooler *pooler = owner;
    struct pools *pools = pooler->pools;
    if (mode == SHUTDOWN_NONE) {
        loop_stop(pooler->loop);
        return;
    }
    process_notify("STOPPING=1");
    pools_cancel_drain(pools, &pooler->drain);
    pools->shutdown = mode;
    listeners_close_tcp(pooler->listeners);
    if (mode == SHUTDOWN_WAIT_FOR_SERVERS) {
        pools_pause(pools, NULL, NULL);
        pools_wait_for_drain(pools, &pooler->drain, DRAIN_PAUSE, NULL);
    } else if (pools->pause != NULL) {
        pools_resume(pools, NULL);
    }
    on_client_gone(pooler->clients);
}

/* ---- signals ---- */

static void on_terminate(struct pooler *pooler, int number)
{
    bool term = number == SIGTERM;
    if (pooler->pools->shutdown != SHUTDOWN_NONE) {
        log_info(NULL, "got %s while shutting down, fast exit", term ? "SIGTERM" : "SIGINT");
        loop_stop(pooler->loop);
        return;
    }
    log_info(NULL, term ? "got SIGTERM, shutting down, waiting for all clients disconnect"
                        : "got SIGINT, shutting down, waiting for all servers connections to be "
                          "released");
    shut_down(pooler, term ? SHUTDOWN_WAIT_FOR_CLIENTS : SHUTDOWN_WAIT_FOR_SERVERS);
}

/*
 * Once per turn, however many signals have come: libevent reports each of them, and those that
 * arrive during a reload would make the next one begin before anybody else has had his turn.
 */
static void on_hang_up(struct task *task)
{
    struct pooler *pooler = container_of(task, struct pooler, hang_up);
    char state[80];
    log_info(NULL, "got SIGHUP, re-reading config");
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long) clock_now_us());
    process_notify(state);
    (void) reload(pooler);
    process_notify("READY=1");
}

static void on_pause(struct pooler *pooler)
{
    if (pooler->pools->pause != NULL) {
        log_info(NULL, "got SIGUSR1, but already paused/suspended");
        return;
    }
    log_info(NULL, "got SIGUSR1, pausing all activity");
    pools_pause(pooler->pools, NULL, NULL);
}

static void on_continue(struct pooler *pooler)
{
    if (pooler->pools->shutdown != SHUTDOWN_NONE) {
        log_info(NULL, "got SIGUSR2 while shutting down, ignoring");
    } else if (pooler->pools->pause == NULL) {
        log_info(NULL, "got SIGUSR2, but not paused/suspended");
    } else {
        log_info(NULL, "got SIGUSR2, continuing from PAUSE");
        pools_resume(pooler->pools, NULL);
    }
}

static void on_signal(evutil_socket_t number, short what UNUSED, void *argument)
{
    struct pooler *pooler = argument;
    switch (number) {
    case SIGHUP:
        loop_post(pooler->loop, &pooler->hang_up);
        break;
    case SIGQUIT:
        log_info(NULL, "got SIGQUIT, fast exit");
        loop_stop(pooler->loop);
        break;
    case SIGUSR1:
        on_pause(pooler);
        break;
    case SIGUSR2:
        on_continue(pooler);
        break;
    default:
        on_terminate(pooler, (int) number);
        break;
    }
}

static void add_signals(struct pooler *pooler)
{
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < countof(handled_signals); i++) {
        /* libevent puts this back at the end: a late signal must not turn a clean exit into a death. */
        signal(handled_signals[i], SIG_IGN);
        pooler->signals[i] =
            evsignal_new(pooler->loop->base, handled_signals[i], on_signal, pooler);
        if (pooler->signals[i] == NULL || event_add(pooler->signals[i], NULL) != 0)
            log_fatal("could not set up signals");
    }
}

/* ---- assembly ---- */

static void on_client_ready(struct client *client, const uint8_t *bytes, size_t size)
{
    struct pooler *pooler = client->clients->owner;
    if (client->console_role != CONSOLE_NONE)
        console_start(&pooler->console, client, bytes, size);
    else
        session_start(client, bytes, size);
}

static void on_cancel_request(struct client *client, const uint8_t *key, size_t size)
{
    struct pooler *pooler = client->clients->owner;
    struct client *target = cancel_find_target(&pooler->cancels, client, key, size);
    if (target == NULL)
        return;
    if (target->console_role == CONSOLE_ADMIN)
        console_cancel(&pooler->console, target);
    cancel_begin(&pooler->cancels, client, target);
}

static const struct clients_ops clients_ops = {
    .ready = on_client_ready,
    .cancel = on_cancel_request,
    .gone = on_client_gone,
};

static const struct console_ops console_ops = {
    .reload = reload,
    .apply_setting = on_setting_changed,
    .shut_down = shut_down,
};

static struct listen_options listen_options(void)
{
    const struct settings *settings = settings_current();
    return (struct listen_options){.addresses = settings->listen_addr,
                                   .port = (uint16_t) settings->listen_port,
                                   .backlog = settings->listen_backlog,
                                   .defer_accept = settings->tcp_defer_accept,
                                   .reuse_port = settings->so_reuseport,
                                   .unix_directory = settings->unix_socket_dir,
                                   .unix_mode = settings->unix_socket_mode,
                                   .unix_group = settings->unix_socket_group};
}

static void open_listeners(struct pooler *pooler)
{
    struct listen_options options = listen_options();
    char *error = NULL;
    pooler->listeners =
        listeners_open(pooler->loop, &options, clients_accept, pooler->clients, &error);
    if (pooler->listeners == NULL)
        log_fatal("%s", error);
    if (!listeners_any(pooler->listeners))
        log_fatal("nowhere to listen on");
    set_listener_options(pooler->listeners);
}

static void check_other_instance(void)
{
    struct listen_options options = listen_options();
    if (listeners_unix_socket_in_use(&options))
        log_fatal("unix socket is in use, cannot continue");
    pidfile_check(settings_current()->pidfile);
}

static void assemble(struct pooler *pooler, struct tls_setup *tls)
{
    pooler->loop = loop_create();
    if (pooler->loop == NULL)
        log_fatal("could not set up the event loop");
    pooler->pools = pools_create(pooler->loop, tls);
    if (pooler->pools == NULL)
        log_fatal("could not set up the pools");
    pooler->offload = offload_create(pooler->loop, OFFLOAD_THREADS, OFFLOAD_QUEUE);
    pooler->clients = clients_create(pooler->pools, pooler->offload, &clients_ops, pooler);
    pooler->cancels.clients = pooler->clients;
    pooler->drain.task.run = on_servers_gone;
    pooler->hang_up.run = on_hang_up;
    pooler->console = (struct console){.pools = pooler->pools,
                                       .clients = pooler->clients,
                                       .cancels = &pooler->cancels,
                                       .ops = &console_ops,
                                       .owner = pooler,
                                       .version = version_text()};
}

struct pooler *pooler_create(const struct options *options, struct tls_setup *tls)
{
    struct pooler *pooler = memory_new(sizeof(*pooler));
    char libraries[256];
    pooler->options = *options;
    if (options->daemon && settings_current()->pidfile[0] == '\0')
        log_fatal("daemon needs pidfile configured");
    check_other_instance();
    if (options->daemon) {
        process_daemonize();
        pooler->options.quiet = true;
        open_log(&pooler->options);
    }
    process_raise_descriptor_limit(config_current());
    assemble(pooler, tls);
    add_signals(pooler);
    open_listeners(pooler);
    pidfile_write(settings_current()->pidfile);
    version_libraries(event_base_get_method(pooler->loop->base), libraries, sizeof(libraries));
    log_info(NULL, "process up: %s, %s", version_text(), libraries);
    process_notify("READY=1");
    return pooler;
}

void pooler_run(struct pooler *pooler)
{
    loop_run(pooler->loop);
}

void pooler_destroy(struct pooler *pooler)
{
    bool threads_are_gone;
    pidfile_remove(settings_current()->pidfile);
    listeners_destroy(pooler->listeners);
    pools_cancel_drain(pooler->pools, &pooler->drain);
    clients_close(pooler->clients);
    cancels_close(&pooler->cancels);
    pools_close(pooler->pools);
    threads_are_gone = offload_destroy(pooler->offload);
    for (size_t i = 0; i < countof(pooler->signals); i++)
        event_free(pooler->signals[i]);
    farewell_close_all(pooler->loop);
    loop_destroy(pooler->loop);
    clients_destroy(pooler->clients);
    pools_destroy(pooler->pools);
    slab_release(client_slab());
    slab_release(session_slab());
    slab_release(server_slab());
    config_destroy(config_use(NULL));
    log_close();
    free(pooler);
    if (!threads_are_gone)
        _exit(0); /* PAM or LDAP hangs: that must not keep us, nor meet the end of its library */
}
