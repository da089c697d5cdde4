/*
 * hba.c - the rules of auth_hba_file.
 *
 * A file may have a line for each user or each database, so rules are indexed by the hash of the
 * names in their USER column, or else of those in their DATABASE column; only the rest is tried for
 * everybody. The three kinds are merged in the order of the file.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/hba.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/hash.h"
#include "base/memory.h"
#include "config/ldap_options.h"
#include "config/names.h"
#include "config/words.h"

enum connection_type { TYPE_LOCAL, TYPE_HOST, TYPE_HOSTSSL, TYPE_HOSTNOSSL };

enum range { RANGE_ALL, RANGE_NETWORK, RANGE_SAMEHOST, RANGE_SAMENET };

/* Words in the byte order of the network; IPv4 has one of them. */
struct network {
    uint32_t address[4], mask[4];
    sa_family_t family;
};

struct entry {
    struct hba_rule rule;
    enum connection_type type;
    enum range range;
    struct network network; /* of RANGE_NETWORK */
    struct names databases, users;
};

/* A rule to try for names with this hash. */
struct index_item {
    uint32_t hash, rule;
};

struct rule_index {
    struct index_item *items; /* owns; sorted by hash, then by rule */
    size_t count, capacity;
};

struct hba {
    struct entry *entries; /* own; in the order of the file */
    size_t count, capacity;
    struct name_file *files; /* owns; hash */
    struct network *own;     /* owns; the addresses of this machine with their networks */
    size_t own_count;
    bool own_known;
    struct rule_index by_user, by_database, rest; /* the hash is 0 in `rest` */
};

struct parser {
    struct hba *hba;
    struct words words;
    const struct ident *ident;
    struct config_report *report;
};

/* ---- networks ---- */

static unsigned word_count(const struct network *network)
{
    return network->family == AF_INET ? 1 : 4;
}

static bool read_address(const char *text, struct network *ret_network)
{
    *ret_network = (struct network){.family = AF_INET};
    if (inet_pton(AF_INET, text, ret_network->address) == 1)
        return true;
    ret_network->family = AF_INET6;
    return inet_pton(AF_INET6, text, ret_network->address) == 1;
}

static void set_mask_bits(struct network *network, unsigned bits)
{
    for (unsigned i = 0; i < word_count(network); i++) {
        unsigned count = bits < 32 * i ? 0 : bits - 32 * i;
        network->mask[i] = count == 0 ? 0 : htonl(UINT32_MAX << (count < 32 ? 32 - count : 0));
    }
}

/* The number behind the slash, in decimal digits only. */
static bool read_bits(const char *text, unsigned most, unsigned *ret_bits)
{
    size_t length = strlen(text);
    if (length == 0 || length > 3 || strspn(text, "0123456789") != length)
        return false;
    *ret_bits = (unsigned) strtoul(text, NULL, 10);
    return *ret_bits <= most;
}

static bool has_bits_outside(const struct network *network)
{
    uint32_t outside = 0;
    for (unsigned i = 0; i < word_count(network); i++)
        outside |= network->address[i] & ~network->mask[i];
    return outside != 0;
}

/* A network of IPv4 addresses inside of IPv6 becomes what it means. */
static void unmap(struct network *network)
{
    static const uint32_t all = UINT32_MAX;
    if (network->family == AF_INET6 && network->mask[0] == all && network->mask[1] == all &&
        network->mask[2] == all && network->address[0] == 0 && network->address[1] == 0 &&
        network->address[2] == htonl(0xffff)) {
        network->family = AF_INET;
        network->address[0] = network->address[3];
        network->mask[0] = network->mask[3];
    }
}

static bool contains(const struct network *network, const uint32_t *address)
{
    uint32_t difference = 0;
    for (unsigned i = 0; i < word_count(network); i++)
        difference |= (network->address[i] ^ address[i]) & network->mask[i];
    return difference == 0;
}

static bool is_same(const struct network *network, const uint32_t *address)
{
    return memcmp(network->address, address, word_count(network) * sizeof(*address)) == 0;
}

/* ---- the machine's own addresses ---- */

static bool network_from_socket(const struct sockaddr *address, const struct sockaddr *mask,
                                struct network *ret_network)
{
    *ret_network = (struct network){.family = address->sa_family};
    set_mask_bits(ret_network, 128);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const void *) address, *m = (const void *) mask;
        memcpy(ret_network->address, &a->sin_addr, sizeof(a->sin_addr));
        if (m != NULL)
            memcpy(ret_network->mask, &m->sin_addr, sizeof(m->sin_addr));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *) address, *m = (const void *) mask;
        memcpy(ret_network->address, &a->sin6_addr, sizeof(a->sin6_addr));
        if (m != NULL)
            memcpy(ret_network->mask, &m->sin6_addr, sizeof(m->sin6_addr));
    } else {
        return false;
    }
    return true;
}

static bool read_own_addresses(struct hba *hba)
{
    struct ifaddrs *interfaces;
    size_t count = 0;
    if (hba->own_known)
        return true;
    if (getifaddrs(&interfaces) != 0)
        return false;
    for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next)
        count++;
    hba->own = memory_new((count + 1) * sizeof(*hba->own));
    for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next)
        if (i->ifa_addr != NULL &&
            network_from_socket(i->ifa_addr, i->ifa_netmask, &hba->own[hba->own_count]))
            hba->own_count++;
    freeifaddrs(interfaces);
    hba->own_known = true;
    return true;
}

/* ---- the parts of a line ---- */

static bool complain(struct parser *parser, const char *text, const char *problem)
{
    report_error(parser->report, words_place(&parser->words), "\"%.*s\": %s",
                 words_shown_length(text), text, problem);
    return false;
}

static bool expect(struct parser *parser, const char *expected)
{
    words_complain(&parser->words, expected, parser->report);
    return false;
}

static bool read_type(struct parser *parser, struct entry *entry)
{
    static const char *const names[] = {
        [TYPE_LOCAL] = "local",
        [TYPE_HOST] = "host",
        [TYPE_HOSTSSL] = "hostssl",
        [TYPE_HOSTNOSSL] = "hostnossl",
    };
    for (size_t i = 0; i < countof(names); i++) {
        if (words_is_keyword(&parser->words, names[i])) {
            entry->type = (enum connection_type) i;
            words_next(&parser->words);
            return true;
        }
    }
    return expect(parser, "local, host, hostssl or hostnossl");
}

/* "10.0.0.0/8": the current word. */
static bool read_network_with_bits(struct parser *parser, char *text, char *slash,
                                   struct network *network)
{
    unsigned bits;
    *slash = '\0';
    if (!read_address(text, network))
        return complain(parser, text,
                        "not an address: expected an IPv4 or IPv6 address; host names "
                        "are not looked up");
    if (!read_bits(slash + 1, network->family == AF_INET ? 32 : 128, &bits))
        return complain(parser, words_text(&parser->words),
                        network->family == AF_INET ? "expected 0 to 32 bits behind the slash"
                                                   : "expected 0 to 128 bits behind the slash");
    set_mask_bits(network, bits);
    return true;
}

/* "10.0.0.0 255.0.0.0": goes on to the second word. */
static bool read_network_with_mask(struct parser *parser, const char *text, struct network *network)
{
    struct network mask;
    if (!read_address(text, network))
        return complain(parser, text,
                        "not an address: expected all, samehost, samenet, or an IPv4 "
                        "or IPv6 address; host names are not looked up");
    words_next(&parser->words);
    if (!words_is_word(&parser->words) || !read_address(words_text(&parser->words), &mask))
        return complain(parser, text,
                        network->family == AF_INET
                            ? "an address without a mask: write /32 behind it"
                            : "an address without a mask: write /128 behind it");
    if (mask.family != network->family)
        return complain(parser, words_text(&parser->words),
                        "the mask is of another family than the address");
    memcpy(network->mask, mask.address, sizeof(network->mask));
    return true;
}

static bool read_network(struct parser *parser, struct network *network)
{
    char *text = memory_copy_text(words_text(&parser->words));
    char *slash = strchr(text, '/');
    bool good = slash != NULL ? read_network_with_bits(parser, text, slash, network)
                              : read_network_with_mask(parser, text, network);
    if (slash != NULL)
        *slash = '/'; /* for the report */
    if (good && has_bits_outside(network))
        good = complain(parser, text,
                        "the address has bits outside of its mask, so that nobody "
                        "would fit; clear them, or use a longer mask");
    unmap(network);
    free(text);
    return good;
}

static bool read_range(struct parser *parser, struct entry *entry)
{
    struct words *words = &parser->words;
    if (!words_is_word(words))
        return expect(parser, "an address, all, samehost or samenet");
    if (words_is_keyword(words, "all"))
        entry->range = RANGE_ALL;
    else if (words_is_keyword(words, "samehost"))
        entry->range = RANGE_SAMEHOST;
    else if (words_is_keyword(words, "samenet"))
        entry->range = RANGE_SAMENET;
    else
        entry->range = RANGE_NETWORK;
    if (entry->range == RANGE_NETWORK && !read_network(parser, &entry->network))
        return false;
    if ((entry->range == RANGE_SAMEHOST || entry->range == RANGE_SAMENET) &&
        !read_own_addresses(parser->hba))
        return complain(parser, words_text(words), strerror(errno));
    words_next(words);
    return true;
}

static bool read_method(struct parser *parser, struct hba_rule *rule)
{
    static const char *const names[] = {
        [HBA_TRUST] = "trust",         [HBA_REJECT] = "reject", [HBA_MD5] = "md5",
        [HBA_PASSWORD] = "password",   [HBA_PEER] = "peer",     [HBA_CERT] = "cert",
        [HBA_SCRAM] = "scram-sha-256", [HBA_LDAP] = "ldap",
    };
    for (size_t i = 0; i < countof(names); i++) {
        if (words_is_keyword(&parser->words, names[i])) {
            rule->method = (enum hba_method) i;
            return true;
        }
    }
    return expect(parser, "a method: trust, reject, md5, password, scram-sha-256, peer, cert or "
                          "ldap");
}

static bool read_ldap_options(struct parser *parser, struct hba_rule *rule)
{
    char *error = NULL;
    rule->ldap_options = words_take_rest(&parser->words);
    if (rule->ldap_options == NULL)
        return expect(parser, "options of ldap");
    ldap_options_destroy(ldap_options_parse(rule->ldap_options, &error));
    if (error == NULL)
        return true;
    (void) complain(parser, "ldap", error);
    free(error);
    return false;
}

static bool read_options(struct parser *parser, struct hba_rule *rule)
{
    struct words *words = &parser->words;
    const char *text;
    if (rule->method == HBA_LDAP)
        return read_ldap_options(parser, rule);
    words_next(words);
    text = words_text(words);
    if (words_is_word(words) && strncmp(text, "map=", 4) == 0) {
        rule->map = ident_find(parser->ident, text + 4);
        if (rule->map == NULL)
            return complain(parser, text, "no line of auth_ident_file begins with that name");
        words_next(words);
    }
    return words->kind == WORD_END ||
           expect(parser,
                  rule->map != NULL ? "the end of the line" : "map=NAME or the end of the line");
}

static void release_entry(struct entry *entry)
{
    names_release(&entry->databases);
    names_release(&entry->users);
    if (entry->rule.ldap_options != NULL)
        OPENSSL_cleanse(entry->rule.ldap_options, strlen(entry->rule.ldap_options));
    free(entry->rule.ldap_options);
}

static bool read_entry(struct parser *parser, struct entry *entry)
{
    struct words *words = &parser->words;
    struct name_file **files = &parser->hba->files;
    *entry = (struct entry){.rule.line = words->line};
    return read_type(parser, entry) &&
           names_read(words, NAMES_OF_DATABASES, files, parser->report, &entry->databases) &&
           names_read(words, NAMES_OF_USERS, files, parser->report, &entry->users) &&
           (entry->type == TYPE_LOCAL || read_range(parser, entry)) &&
           read_method(parser, &entry->rule) && read_options(parser, &entry->rule);
}

/* ---- the index ---- */

static uint32_t hash_text(const char *text)
{
    return hash_bytes(text, strlen(text));
}

static void index_add(struct rule_index *index, uint32_t hash, size_t rule)
{
    if (index->count == index->capacity) {
        index->capacity = index->capacity == 0 ? 16 : 2 * index->capacity;
        index->items = memory_resize(index->items, index->capacity * sizeof(*index->items));
    }
    index->items[index->count++] = (struct index_item){.hash = hash, .rule = (uint32_t) rule};
}

static void index_names(struct rule_index *index, const struct names *names, size_t rule)
{
    for (size_t i = 0; i < names->own.count; i++)
        index_add(index, hash_text(names->own.items[i]), rule);
}

static int compare_items(const void *a, const void *b)
{
    const struct index_item *left = a, *right = b;
    if (left->hash != right->hash)
        return left->hash < right->hash ? -1 : 1;
    return (left->rule > right->rule) - (left->rule < right->rule);
}

static void index_sort(struct rule_index *index)
{
    if (index->count > 1)
        qsort(index->items, index->count, sizeof(*index->items), compare_items);
}

static void build_index(struct hba *hba)
{
    for (size_t i = 0; i < hba->count; i++) {
        const struct entry *entry = &hba->entries[i];
        if (names_are_plain(&entry->users))
            index_names(&hba->by_user, &entry->users, i);
        else if (names_are_plain(&entry->databases))
            index_names(&hba->by_database, &entry->databases, i);
        else
            index_add(&hba->rest, 0, i);
    }
    index_sort(&hba->by_user);
    index_sort(&hba->by_database);
}

/* Where to look for rules with this hash; `at` moves on, to the end of them all. */
struct candidates {
    const struct index_item *at, *end;
    uint32_t hash;
};

static struct candidates index_find(const struct rule_index *index, uint32_t hash)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->items[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    if (index->count == 0)
        return (struct candidates){0};
    return (struct candidates){
        .at = index->items + low, .end = index->items + index->count, .hash = hash};
}

static uint32_t next_rule(const struct candidates *candidates)
{
    bool any = candidates->at != candidates->end && candidates->at->hash == candidates->hash;
    return any ? candidates->at->rule : UINT32_MAX;
}

/* ---- the list ---- */

struct hba *hba_parse(const char *file, const char *text, size_t size, const struct ident *ident,
                      struct config_report *report)
{
    struct hba *hba = memory_new(sizeof(*hba));
    struct parser parser = {
        .hba = hba, .words = words_of(file, text, size), .ident = ident, .report = report};
    while (words_next_line(&parser.words)) {
        if (hba->count == hba->capacity) {
            hba->capacity = hba->capacity == 0 ? 16 : 2 * hba->capacity;
            hba->entries = memory_resize(hba->entries, hba->capacity * sizeof(*hba->entries));
        }
        if (read_entry(&parser, &hba->entries[hba->count]))
            hba->count++;
        else
            release_entry(&hba->entries[hba->count]);
    }
    words_release(&parser.words);
    build_index(hba);
    return hba;
}

void hba_destroy(struct hba *hba)
{
    if (hba == NULL)
        return;
    for (size_t i = 0; i < hba->count; i++)
        release_entry(&hba->entries[i]);
    free(hba->entries);
    name_files_release(&hba->files);
    free(hba->own);
    free(hba->by_user.items);
    free(hba->by_database.items);
    free(hba->rest.items);
    free(hba);
}

/* ---- matching ---- */

/* The address of a client as IPv4 and as IPv6, where it has that form. */
struct origin {
    uint32_t address[4];
    const uint32_t *ipv4, *ipv6; /* borrow `address`; NULL if it has not */
};

static void find_origin(const struct hba_login *login, struct origin *ret_origin)
{
    *ret_origin = (struct origin){0};
    if (login->family == AF_INET) {
        memcpy(ret_origin->address, &login->ipv4, sizeof(login->ipv4));
        ret_origin->ipv4 = ret_origin->address;
    } else if (login->family == AF_INET6) {
        memcpy(ret_origin->address, &login->ipv6, sizeof(login->ipv6));
        ret_origin->ipv6 = ret_origin->address;
        if (IN6_IS_ADDR_V4MAPPED(&login->ipv6))
            ret_origin->ipv4 = ret_origin->address + 3;
    }
}

static bool comes_from(const struct network *network, const struct origin *origin, bool exactly)
{
    const uint32_t *address = network->family == AF_INET ? origin->ipv4 : origin->ipv6;
    return address != NULL && (exactly ? is_same(network, address) : contains(network, address));
}

static bool is_in_range(const struct hba *hba, const struct entry *entry,
                        const struct origin *origin)
{
    bool found = false;
    switch (entry->range) {
    case RANGE_ALL:
        return true;
    case RANGE_NETWORK:
        return comes_from(&entry->network, origin, false);
    case RANGE_SAMEHOST:
    case RANGE_SAMENET:
        for (size_t i = 0; i < hba->own_count && !found; i++)
            found = comes_from(&hba->own[i], origin, entry->range == RANGE_SAMEHOST);
        break;
    }
    return found;
}

static bool is_of_type(const struct entry *entry, const struct hba_login *login)
{
    bool host = login->family == AF_INET || login->family == AF_INET6;
    switch (entry->type) {
    case TYPE_LOCAL:
        return login->family == AF_UNIX;
    case TYPE_HOST:
        return host;
    case TYPE_HOSTSSL:
        return host && login->tls;
    case TYPE_HOSTNOSSL:
        return host && !login->tls;
    }
    return false;
}

static bool is_for_database(const struct entry *entry, const struct hba_login *login)
{
    const struct names *databases = &entry->databases;
    if (login->physical_replication)
        return names_have_replication(databases);
    return names_have_all(databases) || names_contain(databases, login->database) ||
           (names_have_same_user(databases) && strcmp(login->database, login->user) == 0);
}

static bool is_for_user(const struct entry *entry, const struct hba_login *login)
{
    return names_have_all(&entry->users) || names_contain(&entry->users, login->user);
}

static bool fits(const struct hba *hba, const struct entry *entry, const struct hba_login *login,
                 const struct origin *origin)
{
    return is_of_type(entry, login) &&
           (entry->type == TYPE_LOCAL || is_in_range(hba, entry, origin)) &&
           is_for_database(entry, login) && is_for_user(entry, login);
}

const struct hba_rule *hba_match(const struct hba *hba, const struct hba_login *login)
{
    struct candidates kinds[] = {
        index_find(&hba->by_user, hash_text(login->user)),
        index_find(&hba->by_database, hash_text(login->database)),
        index_find(&hba->rest, 0),
    };
    struct origin origin;
    find_origin(login, &origin);
    for (;;) {
        struct candidates *first = &kinds[0];
        for (size_t i = 1; i < countof(kinds); i++)
            if (next_rule(&kinds[i]) < next_rule(first))
                first = &kinds[i];
        uint32_t rule = next_rule(first);
        if (rule == UINT32_MAX)
            return NULL;
        if (fits(hba, &hba->entries[rule], login, &origin))
            return &hba->entries[rule].rule;
        first->at++;
    }
}
