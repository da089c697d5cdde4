/*
 * answers_fuzz.c - the queue of expected answers against a model of PostgreSQL.
 *
 * The model reads the client's messages as PostgresMain() does: COPY, the skipping after an error
 * of the extended protocol, simple queries of several statements. The input decides what the client
 * sends, when the server reads it and what it answers; when messages are sent ahead of their
 * answers is up to it, too. Whatever happens, a queue that is settled must owe nothing, or the next
 * client would get this one's answers. Unless a COPY has left it in doubt, a real answer must be
 * accepted; and with everything read, it must not wait for what will not come.
 *
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"
#include "server/answers.h"

#define PENDING_MAX 300

struct model {
    struct answers answers;
    uint8_t pending[PENDING_MAX]; /* sent by the client and not read by the server */
    size_t count;
    bool skipping;   /* up to the next Sync */
    uint8_t copying; /* 'Q' or 'E' while it reads COPY data for one, else 0 */
    bool over;       /* an answer was refused: this ends the session */
};

/* The server says something, now and then with something unasked before it. */
static void answer(struct model *model, struct input *input, const char *types)
{
    for (; *types != '\0' && !model->over; types++) {
        uint8_t noise = take_byte(input);
        if (noise >= 250)
            HOLDS(answers_received(&model->answers, (uint8_t) "ANS"[noise % 3]));
        model->over = !answers_received(&model->answers, (uint8_t) *types);
        HOLDS(!model->over || model->answers.in_doubt);
    }
}

static void fail_extended(struct model *model, struct input *input)
{
    answer(model, input, "E");
    model->skipping = true;
}

/* Statements of a simple query, from the start or behind a COPY, up to the end or to a COPY. */
static void run_statements(struct model *model, struct input *input, bool any)
{
    static const char *const results[] = {"C", "TC", "TDDC", "HddcC", "HC", "C"};
    for (;;) {
        uint8_t choice = take_byte(input);
        if (choice % 8 < 6) {
            answer(model, input, results[choice % 8]);
        } else if (choice % 8 == 6) {
            answer(model, input, "G");
            model->copying = 'Q';
            if (choice < 160)
                return;
            model->copying = 0; /* fails before it reads */
            answer(model, input, "E");
            break;
        } else {
            answer(model, input, any || choice < 128 ? "E" : "I");
            break;
        }
        any = true;
        if (choice < 200)
            break;
    }
    answer(model, input, "Z");
}

static void read_execute(struct model *model, struct input *input)
{
    static const char *const results[] = {"C", "DDC", "s", "DDs", "I", "HddcC"};
    uint8_t choice = take_byte(input) % 8;
    if (choice < 6) {
        answer(model, input, results[choice]);
    } else if (choice == 6) {
        answer(model, input, "G");
        model->copying = 'E';
        if (take_byte(input) % 4 == 0) { /* fails before it reads */
            model->copying = 0;
            fail_extended(model, input);
        }
    } else {
        answer(model, input, "D"); /* rows, and then an error */
        fail_extended(model, input);
    }
}

/* One message of the extended protocol with one answer, or an error. */
static void read_extended(struct model *model, struct input *input, const char *result)
{
    if (take_byte(input) % 4 == 0)
        fail_extended(model, input);
    else
        answer(model, input, result);
}

/* A COPY is over: with an error unless the client ended it and the server is content. */
static void end_copy(struct model *model, struct input *input, bool well)
{
    uint8_t owner = model->copying;
    model->copying = 0;
    if (!well && owner == 'E') {
        fail_extended(model, input);
    } else if (!well) {
        answer(model, input, "EZ");
    } else {
        answer(model, input, "C");
        if (owner == 'Q' && take_byte(input) % 4 == 0)
            run_statements(model, input, true);
        else if (owner == 'Q')
            answer(model, input, "Z");
    }
}

static void read_in_copy(struct model *model, struct input *input, uint8_t type)
{
    switch (type) {
    case 'd':
        if (take_byte(input) % 8 == 0)
            end_copy(model, input, false);
        break;
    case 'c':
        end_copy(model, input, take_byte(input) % 4 != 0);
        break;
    case 'S':
    case 'H':
        break;
    default:
        end_copy(model, input, false);
        break;
    }
}

static void read_message(struct model *model, struct input *input, uint8_t type)
{
    switch (type) {
    case 'Q':
        run_statements(model, input, false);
        break;
    case 'F':
        answer(model, input, take_byte(input) % 2 ? "VZ" : "EZ");
        break;
    case 'P':
        read_extended(model, input, "1");
        break;
    case 'B':
        read_extended(model, input, "2");
        break;
    case 'C':
        read_extended(model, input, "3");
        break;
    case 'D':
        read_extended(model, input, take_byte(input) % 2 ? "tT" : "n");
        break;
    case 'E':
        read_execute(model, input);
        break;
    case 'S':
        answer(model, input, "Z");
        break;
    default: /* Flush, and what belongs to COPY */
        break;
    }
}

static void read_next(struct model *model, struct input *input)
{
    uint8_t type = model->pending[0];
    model->count--;
    memmove(model->pending, model->pending + 1, model->count);
    if (model->copying != 0) {
        read_in_copy(model, input, type);
    } else if (model->skipping && type != 'S') {
        return;
    } else {
        model->skipping = false;
        read_message(model, input, type);
    }
}

/* As the relay does it: COPY data that would be ignored does not travel. */
static void send(struct model *model, uint8_t type)
{
    bool copy = type == 'd' || type == 'c' || type == 'f';
    if (model->count == PENDING_MAX || (copy && answers_settled(&model->answers)))
        return;
    answers_expect(&model->answers, type);
    model->pending[model->count++] = type;
}

/* Nothing that the server may read now makes it say anything. */
static bool owes_nothing(const struct model *model)
{
    if (model->skipping || model->copying != 0)
        return false;
    for (size_t i = 0; i < model->count; i++)
        if (strchr("Hdcf", model->pending[i]) == NULL)
            return false;
    return true;
}

static void check(const struct model *model)
{
    if (model->over)
        return;
    if (answers_settled(&model->answers))
        HOLDS(owes_nothing(model));
    if (model->count == 0 && !model->answers.in_doubt)
        HOLDS(!answers_will_come(&model->answers));
}

/* The client ends what it began; then both must agree that it is over. */
static void finish(struct model *model, struct input *input)
{
    struct input nothing = {.left = 0};
    while (model->count > 0)
        read_next(model, input);
    if (model->copying != 0)
        send(model, 'f');
    while (model->count > 0)
        read_next(model, &nothing);
    send(model, 'S');
    while (model->count > 0)
        read_next(model, &nothing);
    check(model);
    HOLDS(model->over || owes_nothing(model));
    HOLDS(model->over || model->answers.in_doubt || answers_settled(&model->answers));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char types[] = "QFPBDECSHdcf";
    struct input input = {data, size};
    struct model model = {.count = 0};
    while (input.left > 0 && !model.over) {
        uint8_t step = take_byte(&input);
        if (step >= 128 && model.count > 0) {
            read_next(&model, &input);
        } else if (step == 127 && answers_settled(&model.answers) && model.count == 0) {
            answers_expect_swallowed(&model.answers);
            HOLDS(answers_swallows_next(&model.answers));
            HOLDS(answers_received(&model.answers, 'C') && answers_received(&model.answers, 'Z'));
        } else {
            send(&model, (uint8_t) types[step % (sizeof(types) - 1)]);
        }
        check(&model);
    }
    finish(&model, &input);
    answers_release(&model.answers);

    /* And a server that says anything must not break it. */
    input = (struct input){data, size};
    while (input.left > 0) {
        uint8_t step = take_byte(&input);
        uint32_t count = model.answers.count;
        if (step % 2 == 0)
            answers_expect(&model.answers, (uint8_t) types[(step >> 1) % (sizeof(types) - 1)]);
        else if (!answers_received(&model.answers, take_byte(&input)))
            HOLDS(model.answers.count == count);
        HOLDS(model.answers.count <= count + 1);
    }
    answers_release(&model.answers);
    return 0;
}
