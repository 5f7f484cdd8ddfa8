/*
 * plan.c: the plan of a processor, as JSON, turned into a processor or refused with the key that is wrong.
 *
 * Nothing is opened or started. Threads: no state.
 */
#include "processor/plan.h"

#include "arrow/ipc.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define NANOS_PER_SECOND 1e9
#define MIB              (INT64_C(1) << 20)

/* What a statement may import where the plan does not say: the names of the document. */
static const char *const standard_modules[] = {
    "string",         "math",       "itertools",    "random",     "warnings",
    "base64",         "io",         "json",         "xml",        "ssl",
    "time",           "datetime",   "yaml",         "httpx",      "pandas",
    "numpy",          "deepdiff",   "passlib.hash", "jose",       "jose.backends",
    "jose.constants", "jose.utils", "openai",       "matplotlib", "matplotlib.pyplot",
};
#define N_STANDARD_MODULES (sizeof standard_modules / sizeof *standard_modules)

static const char *const known_keys[] = {
    "statement", "name",    "output",  "input",  "mode",         "batch_rows", "concurrency", "checkpoint",
    "allow",     "network", "timeout", "memory", "output_limit", "log_limit",  "runtime",
};
#define N_KNOWN_KEYS (sizeof known_keys / sizeof *known_keys)

static enum qn_status check_keys(const json_t *plan, struct qn_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)plan, key, value)
    {
        (void)value;
        size_t i = 0;
        while (i < N_KNOWN_KEYS && strcmp(known_keys[i], key) != 0) {
            i++;
        }
        if (i == N_KNOWN_KEYS) {
            return qn_error_set(err, QN_ERR_CONFIG, "%s is not a key of a processor's plan", key);
        }
    }
    return QN_OK;
}

/* ---- the statement ---- */

static enum qn_status take_statement(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    const json_t *value = json_object_get(plan, "statement");
    if (value == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "statement is missing");
    }
    if (!json_is_string(value)) {
        return qn_error_set(err, QN_ERR_CONFIG, "statement is %s; it must be a string", qn__plan_type_name(value));
    }
    out->statement_size = json_string_length(value);
    if (out->statement_size > QN_STATEMENT_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "statement has %zu bytes; at most %d are allowed", out->statement_size,
                            QN_STATEMENT_MAX);
    }
    /* A NUL in it is for the interpreter to refuse, with the line. */
    out->statement = qn_strndup(json_string_value(value), out->statement_size);
    if (out->statement == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn__plan_text(plan, "", "name", &out->name, err));
    if (out->name == NULL) {
        out->name = qn_strdup("statement.py");
    } else if (strlen(out->name) > QN_PLAN_NAME_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "name has %zu bytes; at most %d are allowed", strlen(out->name),
                            QN_PLAN_NAME_MAX);
    }
    return out->name != NULL ? QN_OK : qn__no_memory(err);
}

/* ---- schemas and the checkpoint ---- */

/* The output schema in the layouts in which the worker writes it, and the message that tells the worker. */
static enum qn_status set_output(const struct ArrowSchema *schema, struct qn_processor *out, struct qn_error *err)
{
    struct qn_ipc_encoder *encoder = NULL;
    QN_TRY(qn_ipc_encoder_new(schema, &encoder, err));
    enum qn_status status = qn_schema_copy(qn_ipc_encoder_schema(encoder), &out->output, err);
    if (status == QN_OK) {
        status = qn_ipc_encode_schema(encoder, &out->output_message, err);
    }
    if (status == QN_OK) {
        status = qn_buffer_check(&out->output_message, "the output schema", err);
    }
    qn_ipc_encoder_free(encoder);
    return status == QN_OK ? qn_schema_freeze(&out->output, err) : status;
}

static enum qn_status take_schemas(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    const json_t *output = json_object_get(plan, "output");
    if (output == NULL || json_is_null(output)) {
        return qn_error_set(err, QN_ERR_CONFIG, "output is missing: the fields that the statement returns");
    }
    qn_auto_buffer types = QN_BUFFER_INIT;
    qn_auto_schema schema = { 0 };
    QN_TRY(qn__plan_schema("output", output, &schema, &types, err));
    QN_TRY(set_output(&schema, out, err));
    QN_TRY(qn_buffer_check(&types, "the types of a plan", err));
    out->output_types = qn_buffer_steal(&types);
    if (out->output_types == NULL) {
        return qn__no_memory(err);
    }
    const json_t *input = json_object_get(plan, "input");
    if (input != NULL && !json_is_null(input)) {
        QN_TRY(qn__plan_schema("input", input, &out->input, NULL, err));
    }
    qn_auto_free char *checkpoint = NULL;
    QN_TRY(qn__plan_text(plan, "", "checkpoint", &checkpoint, err));
    out->checkpoint = -1;
    if (checkpoint != NULL) {
        out->checkpoint = qn_schema_find(&out->output, checkpoint);
        if (out->checkpoint < 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "checkpoint is \"%s\"; that is not a field of output", checkpoint);
        }
    }
    return QN_OK;
}

/* ---- how it runs ---- */

static enum qn_status take_mode(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    qn_auto_free char *mode = NULL;
    QN_TRY(qn__plan_text(plan, "", "mode", &mode, err));
    if (mode != NULL && strcmp(mode, "row") != 0 && strcmp(mode, "bulk") != 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "mode is \"%s\"; it must be \"row\" or \"bulk\"", mode);
    }
    out->bulk = mode != NULL && strcmp(mode, "bulk") == 0;
    QN_TRY(qn__plan_integer(plan, "batch_rows", 0, QN_PLAN_MAX_BATCH_ROWS, &out->batch_rows, err));
    out->concurrency = 1;
    QN_TRY(qn__plan_integer(plan, "concurrency", 1, QN_PLAN_MAX_CONCURRENCY, &out->concurrency, err));
    if (out->bulk && out->concurrency > 1) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "concurrency is for mode \"row\"; in bulk mode the statement itself "
                            "decides what it does at once");
    }
    return QN_OK;
}

static enum qn_status take_limits(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    const json_t *timeout = json_object_get(plan, "timeout");
    double seconds = 30;
    if (timeout != NULL && !json_is_null(timeout)) {
        if (!json_is_number(timeout)) {
            return qn_error_set(err, QN_ERR_CONFIG, "timeout is %s; it must be a number of seconds",
                                qn__plan_type_name(timeout));
        }
        seconds = json_number_value(timeout);
        if (!(seconds > 0) || seconds > QN_PLAN_MAX_TIMEOUT) {
            return qn_error_set(err, QN_ERR_CONFIG, "timeout is %g; it must be above 0 and at most %d seconds", seconds,
                                QN_PLAN_MAX_TIMEOUT);
        }
    }
    out->timeout = (int64_t)ceil(seconds * NANOS_PER_SECOND);
    out->memory = 512 * MIB;
    out->output_limit = 1024 * MIB;
    out->log_limit = MIB;
    QN_TRY(qn__plan_integer(plan, "memory", QN_PLAN_MIN_MEMORY, INT64_C(1) << 46, &out->memory, err));
    QN_TRY(qn__plan_integer(plan, "output_limit", 1, INT64_C(1) << 46, &out->output_limit, err));
    return qn__plan_integer(plan, "log_limit", 0, INT64_C(1) << 32, &out->log_limit, err);
}

/* ---- what it may use ---- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum qn_status standard_list(struct qn_texts *out, struct qn_error *err)
{
    struct qn_texts texts = { .items = qn_calloc(N_STANDARD_MODULES + 1, sizeof *texts.items) };
    if (texts.items == NULL) {
        return qn__no_memory(err);
    }
    for (; texts.n < N_STANDARD_MODULES; texts.n++) {
        texts.items[texts.n] = qn_strdup(standard_modules[texts.n]);
        if (texts.items[texts.n] == NULL) {
            qn_texts_dispose(&texts);
            return qn__no_memory(err);
        }
    }
    *out = texts;
    return QN_OK;
}

/* Dotted names of letters, digits and underscores: they are written one a line to the worker. */
static bool is_module_name(const char *name)
{
    bool start = true;
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        bool letter = c == '_' || (c | 0x20U) - 'a' < 26U || c >= 0x80;
        if (c == '.' && !start) {
            start = true;
        } else if (letter || (!start && c >= '0' && c <= '9')) {
            start = false;
        } else {
            return false;
        }
    }
    return !start;
}

static enum qn_status take_allow(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    bool found = false;
    QN_TRY(qn__plan_texts(plan, "", "allow", &out->allow, &found, err));
    if (!found) {
        qn_texts_dispose(&out->allow);
        QN_TRY(standard_list(&out->allow, err));
    }
    for (size_t i = 0; i < out->allow.n; i++) {
        if (!is_module_name(out->allow.items[i])) {
            return qn_error_set(err, QN_ERR_CONFIG, "allow[%zu] is \"%s\"; that is not the name of a module", i,
                                out->allow.items[i]);
        }
    }
    qsort(out->allow.items, out->allow.n, sizeof *out->allow.items, compare_texts);
    return QN_OK;
}

static enum qn_status take_network(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    const json_t *value = json_object_get(plan, "network");
    if (value == NULL || json_is_null(value)) {
        return QN_OK;
    }
    enum qn_status status;
    const char *text = json_string_value(value);
    if (json_is_array(value)) {
        struct qn_texts hosts = { 0 };
        QN_TRY(qn__plan_texts(plan, "", "network", &hosts, NULL, err));
        status = hosts.n == 0 ? QN_OK
                              : qn_network_policy_new(QN_NETWORK_LIST, (const char *const *)hosts.items, hosts.n,
                                                      &out->network, err);
        qn_texts_dispose(&hosts);
    } else if (text != NULL && strcmp(text, "public") == 0) {
        status = qn_network_policy_new(QN_NETWORK_PUBLIC, NULL, 0, &out->network, err);
    } else if (text != NULL && strcmp(text, "off") == 0) {
        return QN_OK;
    } else {
        return qn_error_set(
            err, QN_ERR_CONFIG, "network is %s%s%s; it must be \"off\", \"public\" or a list of \"host:port\"",
            text != NULL ? "\"" : "", text != NULL ? text : qn__plan_type_name(value), text != NULL ? "\"" : "");
    }
    if (status == QN_ERR_CONFIG) {
        qn_error_prefix(err, "network");
    }
    return status;
}

/* Everything that makes two interpreters different, but for tier and modules, which are put behind it later. */
static enum qn_status make_zygote_key(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    char *runtime = json_dumps(json_object_get(plan, "runtime"), JSON_COMPACT | JSON_SORT_KEYS);
    if (runtime == NULL) {
        return qn__no_memory(err);
    }
    qn_buffer_append_text(&out->zygote_key, runtime);
    free(runtime);
    for (size_t i = 0; i < out->allow.n; i++) {
        qn_buffer_append_byte(&out->zygote_key, '\n');
        qn_buffer_append_text(&out->zygote_key, out->allow.items[i]);
    }
    return qn_buffer_check(&out->zygote_key, "the key of an interpreter", err);
}

static enum qn_status fill(const json_t *plan, struct qn_processor *out, struct qn_error *err)
{
    QN_TRY(check_keys(plan, err));
    QN_TRY(take_statement(plan, out, err));
    QN_TRY(take_schemas(plan, out, err));
    QN_TRY(take_mode(plan, out, err));
    QN_TRY(take_limits(plan, out, err));
    QN_TRY(take_allow(plan, out, err));
    QN_TRY(take_network(plan, out, err));
    QN_TRY(qn__plan_runtime(json_object_get(plan, "runtime"), &out->runtime, err));
    return make_zygote_key(plan, out, err);
}

static void processor_dispose(struct qn_processor *self)
{
    qn_free(self->statement);
    qn_free(self->name);
    qn_schema_release(&self->output);
    qn_buffer_dispose(&self->output_message);
    qn_schema_release(&self->input);
    qn_free(self->output_types);
    qn_texts_dispose(&self->allow);
    qn_network_policy_free(self->network);
    qn__runtime_dispose(&self->runtime);
    qn_buffer_dispose(&self->zygote_key);
    qn_free(self->modules);
    (void)pthread_mutex_destroy(&self->lock);
    qn_free(self);
}

static enum qn_status parse(const char *json, size_t size, json_t **out, struct qn_error *err)
{
    if (size > QN_PLAN_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "the plan has %zu bytes; at most %d are allowed", size, QN_PLAN_MAX);
    }
    json_error_t problem;
    json_t *plan = json_loadb(json, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (plan == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the plan is not JSON: %s (line %d, column %d)", problem.text,
                            problem.line, problem.column);
    }
    if (!json_is_object(plan)) {
        json_decref(plan);
        return qn_error_set(err, QN_ERR_CONFIG, "the plan is not a JSON object");
    }
    *out = plan;
    return QN_OK;
}

static enum qn_status make(const json_t *plan, struct qn_processor **out, struct qn_error *err)
{
    struct qn_processor *made = qn_calloc(1, sizeof *made);
    if (made == NULL) {
        return qn__no_memory(err);
    }
    atomic_init(&made->references, 1);
    (void)pthread_mutex_init(&made->lock, NULL);
    enum qn_status status = fill(plan, made, err);
    if (status != QN_OK) {
        processor_dispose(made);
        return status;
    }
    *out = made;
    return QN_OK;
}

enum qn_status qn_processor_new(const char *json, size_t size, struct qn_processor **out, struct qn_error *err)
{
    json_t *plan = NULL;
    QN_TRY(parse(json, size, &plan, err));
    enum qn_status status = make(plan, out, err);
    json_decref(plan);
    return status;
}

struct qn_processor *qn__processor_ref(struct qn_processor *processor)
{
    (void)atomic_fetch_add_explicit(&processor->references, 1, memory_order_relaxed);
    return processor;
}

void qn_processor_free(struct qn_processor *processor)
{
    if (processor != NULL && atomic_fetch_sub_explicit(&processor->references, 1, memory_order_acq_rel) == 1) {
        processor_dispose(processor);
    }
}

enum qn_status qn_processor_schema(const struct qn_processor *processor, struct ArrowSchema *out, struct qn_error *err)
{
    return qn_schema_share(&processor->output, out, err);
}
