/*
 * sample.c - prints what settings.def says: the sample ini and the list of the manual page.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <string.h>

#include "config/config.h"

static const char introduction[] =
    "; pgweir.ini - sample configuration of pgweir. Lines that begin with ; or # are comments.\n"
    ";\n"
    "; All settings are here with their defaults, commented out. The file of a PgBouncer works as\n"
    "; it is. Test a file with: pgweir --check FILE\n"
    "\n"
    "; One line for each database that clients may name: name = key=value key=value ...\n"
    "; Keys: dbname host port user password pool_size min_pool_size reserve_pool_size pool_mode\n"
    "; max_db_connections max_db_client_connections server_lifetime query_wait_timeout\n"
    "; load_balance_hosts target_session_attrs connect_query client_encoding datestyle timezone\n"
    "; application_name.\n"
    "; The name * stands for every database that has no line.\n"
    "[databases]\n"
    ";app = host=127.0.0.1 port=5432 dbname=app pool_size=20\n"
    ";* = host=127.0.0.1\n"
    "\n"
    "; Limits of single users. Keys: pool_mode pool_size reserve_pool_size max_user_connections\n"
    "; max_user_client_connections query_timeout query_wait_timeout idle_transaction_timeout\n"
    "; transaction_timeout client_idle_timeout.\n"
    "[users]\n"
    ";reports = pool_mode=session max_user_connections=5\n"
    "\n"
    "[pgbouncer]\n";

/* How much of the text goes on a line of that width: whole words, at least one. */
static size_t line_length(const char *text, size_t width)
{
    size_t length = strlen(text), end = width;
    if (length <= width)
        return length;
    while (end > 0 && text[end] != ' ')
        end--;
    return end > 0 ? end : strcspn(text, " ");
}

/* Prints the text in lines that begin with "; ", of at most 96 columns where words allow it. */
static void print_comment(const char *text)
{
    while (*text != '\0') {
        size_t length = line_length(text, 94);
        printf("; %.*s\n", (int) length, text);
        text += length + strspn(text + length, " ");
    }
}

static const char *remark(const struct setting *setting)
{
    if (setting->state == SETTING_LATER)
        return " (Not supported yet: it has no effect.)";
    if (setting->state == SETTING_NO_EFFECT)
        return " (Accepted, without effect.)";
    return setting->when == SETTING_RESTART ? " (A change needs a restart.)" : "";
}

void config_print_sample(void)
{
    fputs(introduction, stdout);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        char text[1024];
        snprintf(text, sizeof(text), "%s%s", setting->doc, remark(setting));
        putchar('\n');
        print_comment(text);
        printf(";%s = %s\n", setting->name,
               setting->default_text != NULL ? setting->default_text : "");
    }
}

void config_print_manual(void)
{
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        printf(".It Cm %s\n%s%s\n", setting->name, setting->doc, remark(setting));
        if (setting->default_text == NULL)
            printf("Unset by default.\n");
        else if (setting->default_text[0] == '\0')
            printf("Default: empty.\n");
        else
            printf("Default: %s.\n", setting->default_text);
    }
}
