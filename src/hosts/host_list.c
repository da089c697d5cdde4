/*
 * host_list.c - the hosts of a database entry, and which one the next connection goes to.
 *
 * SPDX-License-Identifier: ISC
 */
#include "hosts/host_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void host_list_init(struct host_list *list, const char *hosts, bool stay)
{
    *list = (struct host_list){.stay = stay};
    while (hosts != NULL) {
        const char *comma = strchr(hosts, ',');
        size_t length = comma != NULL ? (size_t) (comma - hosts) : strlen(hosts);
        list->names = memory_resize(list->names, (list->count + 1) * sizeof(*list->names));
        list->names[list->count++] = memory_copy_bytes(hosts, length);
        hosts = comma != NULL ? comma + 1 : NULL;
    }
}

void host_list_release(struct host_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct host_list){0};
}

const char *host_list_pick(struct host_list *list)
{
    if (list->count == 0)
        return NULL;
    const char *name = list->names[list->turn % list->count];
    if (!list->stay)
        list->turn = (list->turn + 1) % list->count;
    return name;
}

void host_list_failed(struct host_list *list)
{
    if (list->stay && list->count > 0)
        list->turn = (list->turn + 1) % list->count;
}

bool host_is_unix(const char *host)
{
    return host[0] == '/' || host[0] == '@';
}
