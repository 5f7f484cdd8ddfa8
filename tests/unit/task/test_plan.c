/* Plans: what is refused, and that the message names the key. Nothing is opened. */
#include "base/fault.h"
#include "task/plan.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char valid[] =
    "{\"connections\": {\"ops\": {\"type\": \"sqlite\", \"path\": \"ops.db\"},"
    "                   \"warehouse\": {\"type\": \"postgresql\", \"host\": \"db.example\", \"port\": 5433}},"
    " \"task\": {\"name\": \"late\"},"
    " \"source\": {\"connection\": \"ops\", \"query\": \"select * from t where id > :checkpoint order by id\"},"
    " \"sink\": {\"connection\": \"warehouse\", \"table\": \"public.late\", \"mode\": \"upsert\", \"key\": [\"id\"]},"
    " \"checkpoint\": {\"column\": \"id\", \"initial\": 0, \"every_rows\": 500}}";

static struct qn_task *make(const char *json)
{
    struct qn_task *task = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_task_new(json, strlen(json), &task, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return task;
}

static void plan__is_taken_over_whole(void **state)
{
    (void)state;
    struct qn_task *task = make(valid);
    assert_string_equal(qn_task_name(task), "late");
    assert_string_equal(task->source.connection, "ops");
    assert_string_equal(qn_config_get(task->source.config, "path"), "ops.db");
    assert_string_equal(qn_config_get(task->sink.config, "type"), "postgres");
    assert_string_equal(qn_config_get(task->sink.config, "port"), "5433");
    assert_true(task->source.uses_checkpoint);
    assert_string_equal(task->sink.table, "public.late");
    assert_int_equal(task->sink.mode, QN_INGEST_UPSERT);
    assert_int_equal(task->sink.n_key, 1);
    assert_string_equal(task->sink.key[0], "id");
    assert_string_equal(task->checkpoint.column, "id");
    assert_int_equal(task->checkpoint.initial.kind, QN_CHECKPOINT_NUMBER);
    assert_int_equal(task->checkpoint.every_rows, 500);
    qn_task_free(task);
}

/* The valid plan with the key at `path` ("sink.mode") replaced by a JSON text, or removed where it is NULL. */
static char *changed(const char *path, const char *value)
{
    json_t *root = json_loads(valid, 0, NULL);
    assert_non_null(root);
    json_t *table = root;
    char parts[128];
    (void)snprintf(parts, sizeof parts, "%s", path);
    char *rest = parts;
    for (char *dot = strchr(rest, '.'); dot != NULL; dot = strchr(rest, '.')) {
        *dot = '\0';
        json_t *inner = json_object_get(table, rest);
        if (inner == NULL) {
            inner = json_object();
            json_object_set_new(table, rest, inner);
        }
        table = inner;
        rest = dot + 1;
    }
    if (value == NULL) {
        assert_int_equal(json_object_del(table, rest), 0);
    } else {
        json_t *parsed = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(parsed);
        assert_int_equal(json_object_set_new(table, rest, parsed), 0);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

struct refusal {
    const char *path, *value; /* what is changed in the valid plan */
    enum qn_status status;
    const char *message; /* the whole message, or its beginning where it ends in "..." */
};

static const struct refusal refusals[] = {
    { "sink.mod", "\"append\"", QN_ERR_CONFIG, "sink.mod is not known here; did you mean sink.mode?" },
    { "sink.tabel", "\"t\"", QN_ERR_CONFIG, "sink.tabel is not known here; did you mean sink.table?" },
    { "source.zebra", "1", QN_ERR_CONFIG, "source.zebra is not known here" },
    { "chekpoint", "{}", QN_ERR_CONFIG, "chekpoint is not known here; did you mean checkpoint?" },
    { "sink.mode", "3", QN_ERR_CONFIG, "sink.mode is an integer; it must be a string" },
    { "sink.mode", "\"merge\"", QN_ERR_CONFIG,
      "sink.mode is \"merge\"; it must be one of append, create, replace, truncate, upsert, ignore" },
    { "sink.mode", "\"sync\"", QN_ERR_UNSUPPORTED, "sink.mode: this version does not run sync yet" },
    { "sink.mode", "\"append\"", QN_ERR_CONFIG, "sink.key goes with the modes upsert and ignore, not with append" },
    { "sink.key", NULL, QN_ERR_CONFIG, "sink.key is missing: mode upsert must know..." },
    { "sink.key", "[]", QN_ERR_CONFIG, "sink.key has 0 columns; it must have 1 to 1600" },
    { "sink.key", "[\"a\", 1]", QN_ERR_CONFIG, "sink.key[1] is an integer; it must be the name of a column" },
    { "sink.key", "[\"a\", \"a\"]", QN_ERR_CONFIG, "sink.key names the column \"a\" twice" },
    { "sink.table", "\"\"", QN_ERR_CONFIG, "sink.table is empty" },
    { "sink.table", "\"a.b.c.d\"", QN_ERR_CONFIG, "sink.table: ..." },
    { "sink.table", NULL, QN_ERR_CONFIG, "sink.table is missing" },
    { "sink", NULL, QN_ERR_CONFIG, "the table [sink] is missing" },
    { "sink", "[]", QN_ERR_CONFIG, "sink is an array; it must be a table" },
    { "sink.bundle", "\"b\"", QN_ERR_CONFIG, "[sink] has more than one of connection, bundle" },
    { "sink.pack", "\"base\"", QN_ERR_CONFIG, "sink.pack does not go with connection" },
    { "sink.file", "\"f.csv\"", QN_ERR_UNSUPPORTED, "sink.file: this version does not run files as a sink yet" },
    { "source.connector", "\"c\"", QN_ERR_CONFIG, "[source] has more than one of connection, connector and bundle" },
    { "source.bundle", "\"b\"", QN_ERR_CONFIG, "[source] has more than one of connection, connector and bundle" },
    { "source.args", "{\"a\": \"b\"}", QN_ERR_CONFIG, "source.args does not go with connection" },
    { "source.mode", "\"update\"", QN_ERR_CONFIG, "source.mode does not go with connection" },
    { "source.files", "\"*.csv\"", QN_ERR_UNSUPPORTED, "source.files: this version does not run files as a source..." },
    { "source", "{\"connector\": \"\"}", QN_ERR_CONFIG, "source.connector is empty" },
    { "source", "{\"connector\": \"files\", \"query\": \"select 1\"}", QN_ERR_CONFIG,
      "source.query does not go with connector" },
    { "source", "{\"connector\": \"files\", \"mode\": \"sync\"}", QN_ERR_CONFIG,
      "source.mode is \"sync\"; it must be add or update" },
    { "source", "{\"connector\": \"files\", \"args\": {\"a\": [1]}}", QN_ERR_CONFIG,
      "source.args.a is an array; it must be a string, an integer, a float or a boolean" },
    { "source", "{\"connector\": \"files\"}", QN_ERR_CONFIG,
      "checkpoint.column does not go with a source that has locations: which of them have been moved, and how far, is "
      "the "
      "checkpoint" },
    { "source", "{\"bundle\": \"b\", \"folder\": \"f\"}", QN_ERR_CONFIG, "source.folder does not go with bundle" },
    { "process", "{\"statement\": \"x.py\"}", QN_ERR_CONFIG, "process is a table; it must be an array" },
    { "process", "[1]", QN_ERR_CONFIG, "process[0] is an integer; it must be a table" },
    { "process", "[{\"statement\": \"return []\"}]", QN_ERR_CONFIG, "process[0].output is missing..." },
    { "process", "[{\"statment\": \"return []\"}]", QN_ERR_CONFIG,
      "process[0].statment is not known here; did you mean process[0].statement?" },
    { "process", "[{\"mode\": 3}]", QN_ERR_CONFIG, "process[0].mode is an integer; it must be a string" },
    { "process", "[{\"checkpoint\": \"id\"}]", QN_ERR_CONFIG, "process[0].checkpoint: a task has one checkpoint..." },
    { "schedule", "{\"every\": \"10m\"}", QN_ERR_UNSUPPORTED,
      "schedule: this version does not run schedules ([schedule]) yet" },
    { "checkpoint.overlap", "\"10m\"", QN_ERR_UNSUPPORTED,
      "checkpoint.overlap: this version does not run overlapping runs yet" },
    { "task", NULL, QN_ERR_CONFIG, "the table [task] is missing" },
    { "task.name", NULL, QN_ERR_CONFIG, "task.name is missing" },
    { "task.name", "\"a\\nb\"", QN_ERR_CONFIG, "task.name has a control character in it" },
    { "source.connection", "\"opps\"", QN_ERR_CONFIG,
      "source.connection is \"opps\", but there is no [connections.opps]" },
    { "source.table", "\"t\"", QN_ERR_CONFIG, "[source] has both query and table: it reads one of them" },
    { "source.query", NULL, QN_ERR_CONFIG, "[source] has neither query nor table: it must say what to read" },
    { "source.query", "\"select * from t\"", QN_ERR_CONFIG,
      "source.query does not use :checkpoint, so every run would move every row again" },
    { "source.query", "\"select * from t where a > :since\"", QN_ERR_CONFIG,
      "source.query has the placeholder :since; a task knows :checkpoint" },
    { "source.query", "\"select * from t where a > ?1\"", QN_ERR_CONFIG,
      "source.query has a placeholder without a name; a task knows :checkpoint" },
    { "source.query", "\"select 'open\"", QN_ERR_CONFIG, "source.query: ..." },
    { "source.batch_rows", "0", QN_ERR_CONFIG, "source.batch_rows is 0; it must be from 1 to 1000000" },
    { "source.types", "{\"a\": \"Utf9\"}", QN_ERR_CONFIG, "source.types.a: ..." },
    { "source.types", "{\"a\": 1}", QN_ERR_CONFIG, "source.types.a is an integer; it must be a string" },
    { "checkpoint", NULL, QN_ERR_CONFIG, "source.query uses :checkpoint, but there is no [checkpoint]" },
    { "checkpoint.column", NULL, QN_ERR_CONFIG, "checkpoint.column is missing" },
    { "checkpoint.every_rows", "0", QN_ERR_CONFIG, "checkpoint.every_rows is 0; it must be from 1 to 1000000000000" },
    { "checkpoint.every_rows", "1.5", QN_ERR_CONFIG, "checkpoint.every_rows is a float; it must be an integer" },
    { "checkpoint.initial", "true", QN_ERR_CONFIG,
      "checkpoint.initial is a boolean; it must be a string or an integer or a float or a table" },
    { "checkpoint.initial", "{\"$date\": \"2013-02-30\"}", QN_ERR_CONFIG, "checkpoint.initial: ..." },
    { "checkpoint.initial", "{\"$time\": \"10:00\"}", QN_ERR_CONFIG,
      "checkpoint.initial: it must be an integer, a float, a string, a date or a timestamp" },
    { "connections.ops.type", "\"orcale\"", QN_ERR_CONFIG, "connections.ops.type: ..." },
    { "connections.ops.type", NULL, QN_ERR_CONFIG, "connections.ops.type is missing; it must be one of ..." },
    { "connections.ops.uri", "\"postgresql://h/x\"", QN_ERR_CONFIG,
      "connections.ops.type is \"sqlite\", but the database is one of type \"postgres\"" },
    { "connections.ops.path", "[1]", QN_ERR_CONFIG,
      "connections.ops.path is an array; it must be a string, an integer, a float or a boolean" },
    { "connections.other", "{\"uri\": \"nonsense\"}", QN_ERR_CONFIG, "connections.other.uri: ..." },
    { "include", "\"database.toml\"", QN_ERR_CONFIG, "include: a plan has its connections in itself" },
};

static void expect_refusals(const struct refusal *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct refusal *refusal = &list[i];
        char *json = changed(refusal->path, refusal->value);
        struct qn_error err = QN_ERROR_INIT;
        struct qn_task *task = NULL;
        enum qn_status status = qn_task_new(json, strlen(json), &task, &err);
        free(json);
        size_t size = strlen(refusal->message);
        bool open_end = size > 3 && strcmp(refusal->message + size - 3, "...") == 0;
        if (status != refusal->status || err.status != status ||
            (open_end ? strncmp(err.message, refusal->message, size - 3) : strcmp(err.message, refusal->message)) !=
                0) {
            fail_msg("%s = %s: got %s \"%s\", want %s \"%s\"", refusal->path,
                     refusal->value ? refusal->value : "(none)", qn_status_name(status), err.message,
                     qn_status_name(refusal->status), refusal->message);
        }
        assert_null(task);
    }
}

static void plan__refusals_name_the_key(void **state)
{
    (void)state;
    expect_refusals(refusals, sizeof refusals / sizeof *refusals);
}

#define RUNTIME                                                                                                        \
    "\"runtime\": {\"python\": \"/python\", \"worker\": \"/worker\", \"extension\": \"/e.so\", \"launcher\": \"/l\"}"
#define STEP(input, output)                                                                                            \
    "{\"statement\": \"return INPUT_DATA\", \"name\": \"step.py\", " input "\"output\": [" output "], " RUNTIME "}"
#define FIELD(name, type) "{\"name\": \"" name "\", \"type\": \"" type "\"}"

static const struct refusal step_refusals[] = {
    { "process", "[" STEP("\"mode\": \"all\", ", FIELD("id", "Int64")) "]", QN_ERR_CONFIG,
      "process[0].mode is \"all\"..." },
    { "process", "[" STEP("", FIELD("id", "Int65")) "]", QN_ERR_CONFIG,
      "process[0].output: the type of \"id\": type \"Int65\"..." },
    { "process", "[" STEP("", FIELD("ident", "Int64")) "]", QN_ERR_CONFIG,
      "sink.key: the column \"id\" is not in process[0].output" },
    { "process", "[" STEP("", FIELD("id", "Boolean")) "]", QN_ERR_UNSUPPORTED,
      "checkpoint.column \"id\" is of type Boolean..." },
    { "process", "[" STEP("", FIELD("id", "Int64")) ", " STEP("", FIELD("x", "Int64")) "]", QN_ERR_CONFIG,
      "sink.key: the column \"id\" is not in process[1].output" },
    { "process",
      "[" STEP("", FIELD("id", "Int64")) ", " STEP("\"input\": [" FIELD("id", "Utf8") "], ", FIELD("id", "Int64")) "]",
      QN_ERR_CONFIG,
      "process[1].input is not what process[0] returns: input: field \"id\": expected Utf8, found Int64" },
    { "process",
      "[" STEP("", FIELD("id", "Int64")) ", " STEP("\"input\": [" FIELD("id", "Int64") ", " FIELD("x", "Utf8") "], ",
                                                   FIELD("id", "Int64")) "]",
      QN_ERR_CONFIG,
      "process[1].input is not what process[0] returns: input: field \"x\": expected Utf8, found no such field" },
    { "process",
      "[" STEP("", FIELD("id", "Int64") ", " FIELD("x", "Utf8")) ", " STEP("\"input\": [" FIELD("id", "Int64") "], ",
                                                                           FIELD("id", "Int64")) "]",
      QN_ERR_CONFIG, "process[1].input is not what process[0] returns: input: field \"x\" is not in the input schema" },
};

/* trace: P16 */
static void plan__steps_have_to_fit_together(void **state)
{
    (void)state;
    expect_refusals(step_refusals, sizeof step_refusals / sizeof *step_refusals);
    char *json = changed("process", "[" STEP("", FIELD("id", "Int64!") ", " FIELD("x", "List<Utf8>")) ", " STEP(
                                        "\"input\": [" FIELD("x", "List<Utf8>") ", " FIELD("id", "Int64") "], ",
                                        FIELD("id", "Int64")) "]");
    struct qn_task *task = make(json);
    free(json);
    assert_int_equal(task->n_processes, 2);
    assert_string_equal(task->processes[1].name, "step.py");
    qn_task_free(task);
}

/* trace: P15. With statements the source may leave it to them what is new. */
static void plan__statements_may_take_the_place_of_the_placeholder(void **state)
{
    (void)state;
    static const char json[] =
        "{\"connections\": {\"a\": {\"uri\": \"sqlite:///a.db\"}}, \"task\": {\"name\": \"t\"},"
        "\"source\": {\"connection\": \"a\", \"query\": \"select * from t\"},"
        "\"process\": [" STEP("", FIELD("id", "Int64")) "],"
                                                        "\"sink\": {\"connection\": \"a\", \"table\": \"u\"},"
                                                        "\"checkpoint\": {\"column\": \"id\"}}";
    struct qn_task *task = make(json);
    assert_false(task->source.uses_checkpoint);
    assert_int_equal(task->checkpoint.initial.kind, QN_CHECKPOINT_NONE);
    qn_task_free(task);
}

static void plan__survives_every_failed_allocation(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points\n");
        skip();
    }
    char *json = changed("process", "[" STEP("", FIELD("id", "Int64!") ", " FIELD("x", "Struct<a: Utf8>")) ", " STEP(
                                        "\"input\": [" FIELD("x", "Struct<a: Utf8>") ", " FIELD("id", "Int64") "], ",
                                        FIELD("id", "Int64")) "]");
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        struct qn_error err = QN_ERROR_INIT;
        struct qn_task *task = NULL;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE));
        enum qn_status status = qn_task_new(json, strlen(json), &task, &err);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        assert_true(status == QN_OK || (reached && status == QN_ERR_NO_MEMORY && task == NULL));
        failures += status != QN_OK;
        qn_task_free(task);
        if (!reached) {
            break;
        }
    }
    assert_true(failures > 100);
    free(json);
}

static void plan__modes_that_empty_the_table_have_no_checkpoint(void **state)
{
    (void)state;
    static const char *const modes[] = { "replace", "truncate", "create" };
    for (size_t i = 0; i < 3; i++) {
        char json[1024];
        (void)snprintf(
            json, sizeof json,
            "{\"connections\": {\"a\": {\"type\": \"sqlite\", \"path\": \"a.db\"}}, \"task\": {\"name\": \"t\"},"
            "\"source\": {\"connection\": \"a\", \"table\": \"t\"},"
            "\"sink\": {\"connection\": \"a\", \"table\": \"u\", \"mode\": \"%s\"}, \"checkpoint\": {\"column\": "
            "\"id\"}}",
            modes[i]);
        struct qn_error err = QN_ERROR_INIT;
        struct qn_task *task = NULL;
        assert_int_equal(qn_task_new(json, strlen(json), &task, &err), QN_ERR_CONFIG);
        assert_non_null(strstr(err.message, modes[i]));
    }
}

static void plan__refuses_a_table_copied_onto_itself(void **state)
{
    (void)state;
    static const char json[] = "{\"connections\": {\"a\": {\"uri\": \"sqlite:///a.db\"}}, \"task\": {\"name\": \"t\"},"
                               "\"source\": {\"connection\": \"a\", \"table\": \"t\"},"
                               "\"sink\": {\"connection\": \"a\", \"table\": \"t\"}}";
    struct qn_error err = QN_ERROR_INIT;
    struct qn_task *task = NULL;
    assert_int_equal(qn_task_new(json, strlen(json), &task, &err), QN_ERR_CONFIG);
    assert_string_equal(err.message, "source.table and sink.table are the same table \"t\"");
}

static void plan__refuses_what_is_no_json(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "{", "[]", "1", "{\"a\": 1, \"a\": 2}", "{} x", "{\"a\": 1e999}", "\xff" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_error err = QN_ERROR_INIT;
        struct qn_task *task = NULL;
        assert_int_equal(qn_task_new(bad[i], strlen(bad[i]), &task, &err), QN_ERR_CONFIG);
        assert_true(err.message[0] != '\0');
    }
    assert_int_equal(qn_task_new(valid, (size_t)QN_TASK_PLAN_MAX + 1, &(struct qn_task *){ NULL }, NULL),
                     QN_ERR_CONFIG);
}

static void plan__long_keys_are_cut_between_characters(void **state)
{
    (void)state;
    char json[2048] = "{\"";
    for (int i = 0; i < 400; i++) {
        strcat(json, "\xc3\xa9");
    }
    strcat(json, "\": 1}");
    struct qn_error err = QN_ERROR_INIT;
    struct qn_task *task = NULL;
    assert_int_equal(qn_task_new(json, strlen(json), &task, &err), QN_ERR_CONFIG);
    assert_int_equal(strspn(err.message, "\xc3\xa9") % 2, 0);
    assert_non_null(strstr(err.message, " is not known here"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan__is_taken_over_whole),
        cmocka_unit_test(plan__refusals_name_the_key),
        cmocka_unit_test(plan__steps_have_to_fit_together),
        cmocka_unit_test(plan__statements_may_take_the_place_of_the_placeholder),
        cmocka_unit_test(plan__survives_every_failed_allocation),
        cmocka_unit_test(plan__modes_that_empty_the_table_have_no_checkpoint),
        cmocka_unit_test(plan__refuses_a_table_copied_onto_itself),
        cmocka_unit_test(plan__refuses_what_is_no_json),
        cmocka_unit_test(plan__long_keys_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
