/*
 * outside_check.c - asks PAM or LDAP, off the loop.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/outside_check.h"

#include <stdlib.h>

#include "auth/ldap_auth.h"
#include "auth/pam.h"
#include "base/memory.h"

/* In a thread. */
static void work(struct offload_job *job)
{
    struct outside_check *check = container_of(job, struct outside_check, job);
    if (check->method == AUTH_PAM)
        check->right = pam_check(check->user, check->host, &check->password, check->problem,
                                 sizeof(check->problem));
    else
        check->right = ldap_check(check->ldap, check->user, &check->password, check->problem,
                                  sizeof(check->problem));
}

/* Here or in a thread. */
static void release(struct offload_job *job)
{
    struct outside_check *check = container_of(job, struct outside_check, job);
    free(check->user);
    free(check->host);
    ldap_options_destroy(check->ldap);
    secret_release(&check->password);
    free(check);
}

static void on_done(struct task *task)
{
    struct outside_check *check = container_of(task, struct outside_check, job.task);
    check->answered(check);
}

struct outside_check *outside_check_begin(struct offload *offload,
                                          const struct outside_question *question,
                                          void (*answered)(struct outside_check *check),
                                          void *owner)
{
    struct outside_check *check = memory_new(sizeof(*check));
    check->job.work = work;
    check->job.release = release;
    check->job.task.run = on_done;
    check->answered = answered;
    check->owner = owner;
    check->method = question->method;
    check->user = memory_copy_text(question->user);
    check->host = memory_copy_text(question->host);
    secret_copy(&check->password, question->password);
    check->ldap = question->ldap;
    if (offload_submit(offload, &check->job))
        return check;
    release(&check->job);
    return NULL;
}

void outside_check_end(struct outside_check *check)
{
    if (check != NULL)
        offload_abandon(&check->job);
}
