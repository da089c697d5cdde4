/*
 * hba_fuzz.c - HBA rules. The rule that a login meets must be the first one that fits, found the
 * slow way, with masks compared bit by bit.
 *
 * The first line of the input is who asks: "[t][r] [ADDRESS] DATABASE USER", t for TLS and r for
 * physical replication; without an address it comes from a Unix socket. The rest is the file.
 *
 * SPDX-License-Identifier: ISC
 */
#include "../../src/config/hba.c"
#include "config/file.h"
#include "fuzz.h"

/* In the place of the one in the library: the @files that there are. */
bool file_read(const char *file, struct buffer *ret_text)
{
    static const struct {
        const char *name, *text;
    } files[] = {
        {"/nonexistent/names", "alice, bob\n\"carol\" # and more\n@more"},
        {"/nonexistent/more", "dave @loop,all\n"},
        {"/nonexistent/loop", "erin\n@loop\n"},
        {"/nonexistent/words", "sameuser replication\n@\"x\",,"},
    };

    for (size_t i = 0; i < countof(files); i++) {
        if (strcmp(files[i].name, file) == 0) {
            put_text(ret_text, files[i].text);
            return true;
        }
    }
    errno = ENOENT;
    return false;
}

/* ---- who asks ---- */

struct asker {
    struct hba_login login; /* borrows the words */
    char words[256];
};

/* Returns false without such a line. */
static bool read_asker(struct asker *asker, const char *line, size_t length)
{
    char *words[4], *rest = asker->words;
    size_t count = 0;
    if (length >= sizeof(asker->words))
        return false;
    memcpy(asker->words, line, length);
    asker->words[length] = '\0';
    while (count < countof(words) && (words[count] = strsep(&rest, " ")) != NULL)
        count++;
    if (count < 4)
        return false;
    asker->login = (struct hba_login){.database = words[2],
                                      .user = words[3],
                                      .tls = strchr(words[0], 't') != NULL,
                                      .physical_replication = strchr(words[0], 'r') != NULL,
                                      .family = AF_UNIX};
    if (inet_pton(AF_INET, words[1], &asker->login.ipv4) == 1)
        asker->login.family = AF_INET;
    else if (inet_pton(AF_INET6, words[1], &asker->login.ipv6) == 1)
        asker->login.family = AF_INET6;
    return true;
}

/* ---- the slow way ---- */

static bool has_name(const struct name_set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i], name) == 0)
            return true;
    return false;
}

/* One set of names, of the list itself or of a file. */
static bool set_is_for_database(const struct name_set *set, const struct hba_login *login)
{
    if (login->physical_replication)
        return set->replication;
    return set->all || has_name(set, login->database) ||
           (set->same_user && strcmp(login->database, login->user) == 0);
}

static bool fits_names(const struct entry *entry, const struct hba_login *login)
{
    bool database = set_is_for_database(&entry->databases.own, login);
    bool user = entry->users.own.all || has_name(&entry->users.own, login->user);
    for (size_t i = 0; i < entry->databases.file_count; i++)
        database |= set_is_for_database(&entry->databases.files[i]->set, login);
    for (size_t i = 0; i < entry->users.file_count; i++)
        user |=
            entry->users.files[i]->set.all || has_name(&entry->users.files[i]->set, login->user);
    return database && user;
}

static bool bit_of(const void *bytes, unsigned place)
{
    return (((const uint8_t *) bytes)[place / 8] >> (7 - place % 8)) & 1;
}

static bool fits_bits(const struct network *network, sa_family_t family, const void *address,
                      bool exactly)
{
    if (network->family != family)
        return false;
    for (unsigned i = 0; i < (family == AF_INET ? 32U : 128U); i++)
        if ((exactly || bit_of(network->mask, i)) &&
            bit_of(network->address, i) != bit_of(address, i))
            return false;
    return true;
}

static bool fits_network(const struct network *network, const struct hba_login *login, bool exactly)
{
    if (login->family == AF_INET)
        return fits_bits(network, AF_INET, &login->ipv4, exactly);
    return fits_bits(network, AF_INET6, &login->ipv6, exactly) ||
           (IN6_IS_ADDR_V4MAPPED(&login->ipv6) &&
            fits_bits(network, AF_INET, login->ipv6.s6_addr + 12, exactly));
}

static bool fits_origin(const struct hba *hba, const struct entry *entry,
                        const struct hba_login *login)
{
    if (entry->type == TYPE_LOCAL || login->family == AF_UNIX)
        return entry->type == TYPE_LOCAL && login->family == AF_UNIX;
    if (entry->type != TYPE_HOST && login->tls != (entry->type == TYPE_HOSTSSL))
        return false;
    if (entry->range == RANGE_NETWORK)
        return fits_network(&entry->network, login, false);
    for (size_t i = 0; entry->range != RANGE_ALL && i < hba->own_count; i++)
        if (fits_network(&hba->own[i], login, entry->range == RANGE_SAMEHOST))
            return true;
    return entry->range == RANGE_ALL;
}

static const struct hba_rule *find_slowly(const struct hba *hba, const struct hba_login *login)
{
    for (size_t i = 0; i < hba->count; i++)
        if (fits_origin(hba, &hba->entries[i], login) && fits_names(&hba->entries[i], login))
            return &hba->entries[i].rule;
    return NULL;
}

/* ---- writing rules ---- */

static void write_names(struct buffer *out, const struct names *names)
{
    bool any = false;

    const struct {
        bool given;
        const char *word;
    } keywords[] = {{names->own.all, "all"},
                    {names->own.same_user, "sameuser"},
                    {names->own.replication, "replication"}};

    for (size_t i = 0; i < countof(keywords); i++) {
        if (keywords[i].given) {
            put_text(out, any ? "," : " ");
            put_text(out, keywords[i].word);
            any = true;
        }
    }
    for (size_t i = 0; i < names->own.count; i++) {
        put_text(out, any ? "," : " ");
        add_quoted(out, names->own.items[i], '"');
        any = true;
    }
}

static void write_network(struct buffer *out, const struct network *network)
{
    char text[INET6_ADDRSTRLEN];
    put_text(out, " ");
    put_text(out, inet_ntop(network->family, network->address, text, sizeof(text)));
    put_text(out, " ");
    put_text(out, inet_ntop(network->family, network->mask, text, sizeof(text)));
}

static void write_entry(struct buffer *out, const struct entry *entry)
{
    static const char *const types[] = {"local", "host", "hostssl", "hostnossl"};
    static const char *const ranges[] = {" all", NULL, " samehost", " samenet"};
    static const char *const methods[] = {" trust", " reject", " md5",           " password",
                                          " peer",  " cert",   " scram-sha-256", " ldap"};
    put_text(out, types[entry->type]);
    write_names(out, &entry->databases);
    write_names(out, &entry->users);
    if (entry->type != TYPE_LOCAL && entry->range == RANGE_NETWORK)
        write_network(out, &entry->network);
    else if (entry->type != TYPE_LOCAL)
        put_text(out, ranges[entry->range]);
    put_text(out, methods[entry->rule.method]);
    if (entry->rule.map != NULL)
        put_text(out, " map=m");
    if (entry->rule.ldap_options != NULL) {
        put_text(out, " ");
        put_text(out, entry->rule.ldap_options);
    }
    put_text(out, "\n");
}

/* Rules without @files can be written, are read the same again, and let the same logins in. */
static void write_again(const struct hba *hba, const struct ident *ident,
                        const struct hba_login *login, const struct hba_rule *met)
{
    struct buffer text = {0};
    struct config_report report = {0};
    for (size_t i = 0; i < hba->count; i++)
        write_entry(&text, &hba->entries[i]);
    end_text(&text);
    struct hba *again =
        hba_parse("/nonexistent/hba", (const char *) text.data, text.size - 1, ident, &report);
    HOLDS(report.error_count == 0 && again->count == hba->count);
    const struct hba_rule *rule = hba_match(again, login);
    HOLDS((rule == NULL) == (met == NULL));
    HOLDS(rule == NULL || (rule->method == met->method && rule->map == met->map &&
                           is_same_text(rule->ldap_options, met->ldap_options) &&
                           container_of_const(rule, struct entry, rule) - again->entries ==
                               container_of_const(met, struct entry, rule) - hba->entries));
    hba_destroy(again);
    config_report_release(&report);
    buffer_release(&text);
}

static bool names_a_file(const struct hba *hba)
{
    for (size_t i = 0; i < hba->count; i++)
        if (hba->entries[i].databases.file_count + hba->entries[i].users.file_count > 0)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ident *ident;
    struct config_report report = {0};
    struct asker asker;
    const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
    if (ident == NULL)
        ident = ident_parse("ident", "m sys all\n", 10, &report);
    if (newline == NULL || !read_asker(&asker, (const char *) data, (size_t) (newline - data)))
        return -1;
    struct input input = {newline + 1, (size_t) (data + size - newline) - 1};
    char *text = (char *) take_bytes(&input, input.left, &size);
    struct hba *hba = hba_parse("/nonexistent/hba", text, size, ident, &report);
    free(text);
    const struct hba_rule *rule = hba_match(hba, &asker.login);
    HOLDS(rule == find_slowly(hba, &asker.login));
    HOLDS(rule == NULL || (rule->ldap_options != NULL) == (rule->method == HBA_LDAP));
    if (!names_a_file(hba))
        write_again(hba, ident, &asker.login, rule);
    hba_destroy(hba);
    config_report_release(&report);
    return 0;
}
