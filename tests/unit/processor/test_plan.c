/* Plans of processors: what is refused, and that the message names the key. Nothing is started. */
#include "processor/plan.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char valid[] =
    "{\"statement\": \"return INPUT_DATA\", \"name\": \"orders.py\","
    " \"output\": [{\"name\": \"id\", \"type\": \"Int64!\"}, {\"name\": \"tags\", \"type\": \"List<Utf8>\"}],"
    " \"input\": [{\"name\": \"x\", \"type\": \"Utf8\"}], \"mode\": \"row\", \"batch_rows\": 100, \"concurrency\": 7,"
    " \"checkpoint\": \"id\", \"allow\": [\"math\", \"json\", \"passlib.hash\"], \"network\": "
    "[\"api.example.com:443\"],"
    " \"timeout\": 2.5, \"memory\": 67108864, \"output_limit\": 1000, \"log_limit\": 10,"
    " \"runtime\": {\"name\": \"standard\", \"python\": \"/usr/bin/python3\", \"version\": \"3.11\","
    "               \"paths\": [\"/usr/lib/python3\"], \"readable\": [\"/usr/lib\"], \"links\": [\"/lib=usr/lib\"],"
    "               \"worker\": \"/w\", \"extension\": \"/w/_worker.so\", \"launcher\": \"/w/launcher\","
    "               \"environment\": [\"TZ=UTC\"], \"packages\": {\"numpy\": \"1\"}}}";

static struct qn_processor *make(const char *json)
{
    struct qn_processor *processor = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_processor_new(json, strlen(json), &processor, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return processor;
}

static void plan__is_taken_over_whole(void **state)
{
    (void)state;
    struct qn_processor *processor = make(valid);
    assert_string_equal(processor->statement, "return INPUT_DATA");
    assert_int_equal(processor->statement_size, 17);
    assert_string_equal(processor->name, "orders.py");
    assert_int_equal(processor->output.n_children, 2);
    assert_string_equal(processor->output.children[0]->name, "id");
    assert_false(processor->output.children[0]->flags & ARROW_FLAG_NULLABLE);
    assert_string_equal(processor->output_types, "id\tInt64!\ntags\tList<Utf8>\n");
    assert_int_equal(processor->input.n_children, 1);
    assert_false(processor->bulk);
    assert_int_equal(processor->batch_rows, 100);
    assert_int_equal(processor->concurrency, 7);
    assert_int_equal(processor->checkpoint, 0);
    assert_int_equal(processor->allow.n, 3);
    assert_string_equal(processor->allow.items[0], "json"); /* sorted */
    assert_int_equal(qn_network_policy_mode(processor->network), QN_NETWORK_LIST);
    assert_int_equal(processor->timeout, INT64_C(2500000000));
    assert_int_equal(processor->memory, 67108864);
    assert_int_equal(processor->output_limit, 1000);
    assert_int_equal(processor->log_limit, 10);
    assert_string_equal(processor->runtime.name, "standard");
    assert_string_equal(processor->runtime.links.items[0], "/lib=usr/lib");
    assert_string_equal(processor->runtime.environment.items[0], "TZ=UTC");
    struct ArrowSchema schema;
    assert_int_equal(qn_processor_schema(processor, &schema, NULL), QN_OK);
    assert_int_equal(schema.n_children, 2);
    qn_processor_free(processor);
    qn_schema_release(&schema); /* the caller's own */
}

/* The valid plan with the key at `path` ("runtime.python") replaced by a JSON text, or removed where it is NULL. By free(). */
static char *changed(const char *path, const char *value)
{
    json_t *root = json_loads(valid, 0, NULL);
    assert_non_null(root);
    json_t *table = root;
    const char *dot = strchr(path, '.');
    if (dot != NULL) {
        table = json_object_getn(root, path, (size_t)(dot - path));
        path = dot + 1;
    }
    if (value == NULL) {
        (void)json_object_del(table, path);
    } else {
        json_t *parsed = json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(parsed);
        assert_int_equal(json_object_set_new(table, path, parsed), 0);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void plan__has_defaults(void **state)
{
    (void)state;
    static const char minimal[] =
        "{\"statement\": \"\", \"output\": [{\"name\": \"a\", \"type\": \"Utf8\"}], \"input\": null,"
        " \"runtime\": {\"python\": \"/p\", \"worker\": \"/w\", \"extension\": \"/e\","
        " \"launcher\": \"/l\"}}";
    struct qn_processor *processor = make(minimal);
    assert_string_equal(processor->name, "statement.py");
    assert_null(processor->input.release);
    assert_false(processor->bulk);
    assert_int_equal(processor->batch_rows, 0);
    assert_int_equal(processor->concurrency, 1);
    assert_int_equal(processor->checkpoint, -1);
    assert_int_equal(processor->allow.n, 25); /* the names of the document */
    assert_int_equal(qn_network_policy_mode(processor->network), QN_NETWORK_OFF);
    assert_int_equal(processor->timeout, INT64_C(30000000000));
    assert_int_equal(processor->memory, 512 << 20);
    assert_int_equal(processor->output_limit, 1 << 30);
    assert_int_equal(processor->log_limit, 1 << 20);
    qn_processor_free(processor);
}

struct refusal {
    const char *path, *value;
    const char *message; /* the beginning of it */
};

static void plan__names_the_key_that_is_wrong(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        { "statement", NULL, "statement is missing" },
        { "statement", "3", "statement is an integer; it must be a string" },
        { "statment", "\"x\"", "statment is not a key" },
        { "name", "\"\"", "name is empty" },
        { "name", "\"a\\u0000b\"", "name holds a NUL" },
        { "output", NULL, "output is missing" },
        { "output", "[]", "output has 0 fields" },
        { "output", "{\"id\": \"Int64\"}", "output is an object; it must be an array" },
        { "output", "[\"id\"]", "output[0] is a string; it must be an object" },
        { "output", "[{\"name\": \"id\"}]", "output[0].type is missing" },
        { "output", "[{\"type\": \"Int64\"}]", "output[0].name is missing" },
        { "output", "[{\"name\": \"id\", \"type\": \"Int65\"}]",
          "output: the type of \"id\": type \"Int65\" is not known" },
        { "output", "[{\"name\": \"id\", \"type\": 64}]", "output[0].type is an integer" },
        { "output", "[{\"name\": \"i\\td\", \"type\": \"Int64\"}]", "output[0]: names and types may not" },
        { "output", "[{\"name\": \"id\", \"type\": \"Int64\"}, {\"name\": \"id\", \"type\": \"Utf8\"}]",
          "output[1].name is \"id\"; that field is there already" },
        { "input", "[]", "input has 0 fields" },
        { "input", "3", "input is an integer" },
        { "mode", "\"column\"", "mode is \"column\"; it must be \"row\" or \"bulk\"" },
        { "mode", "true", "mode is a boolean" },
        { "mode", "\"bulk\"", "concurrency is for mode \"row\"" },
        { "batch_rows", "-1", "batch_rows is -1; it must be from 0 to 1000000000" },
        { "batch_rows", "1.5", "batch_rows is a number with a fraction; it must be an integer" },
        { "concurrency", "0", "concurrency is 0; it must be from 1 to 10000" },
        { "concurrency", "10001", "concurrency is 10001" },
        { "checkpoint", "\"nr\"", "checkpoint is \"nr\"; that is not a field of output" },
        { "allow", "\"json\"", "allow is a string; it must be an array" },
        { "allow", "[1]", "allow[0] is an integer" },
        { "allow", "[\"a b\"]", "allow[0] is \"a b\"; that is not the name of a module" },
        { "allow", "[\"os\\nsys\"]", "allow[0]" },
        { "allow", "[\".a\"]", "allow[0]" },
        { "allow", "[\"a.\"]", "allow[0]" },
        { "allow", "[\"a..b\"]", "allow[0]" },
        { "allow", "[\"9a\"]", "allow[0]" },
        { "network", "\"on\"", "network is \"on\"; it must be" },
        { "network", "true", "network is a boolean; it must be" },
        { "network", "[\"example.com\"]", "network: " },
        { "timeout", "0", "timeout is 0; it must be above 0" },
        { "timeout", "-1", "timeout is -1" },
        { "timeout", "1e9", "timeout is 1e+09" },
        { "timeout", "\"30\"", "timeout is a string; it must be a number of seconds" },
        { "memory", "1000", "memory is 1000" },
        { "memory", "\"512MB\"", "memory is a string" },
        { "output_limit", "0", "output_limit is 0" },
        { "log_limit", "-1", "log_limit is -1" },
        { "runtime", NULL, "runtime is missing" },
        { "runtime", "\"default\"", "runtime is a string; it must be an object" },
        { "runtime.python", NULL, "runtime.python is missing" },
        { "runtime.python", "\"python3\"", "runtime.python is \"python3\"; it must be an absolute path" },
        { "runtime.worker", NULL, "runtime.worker is missing" },
        { "runtime.extension", NULL, "runtime.extension is missing" },
        { "runtime.launcher", "5", "runtime.launcher is an integer" },
        { "runtime.readable", "\"/usr\"", "runtime.readable is a string" },
        { "runtime.paths", "[null]", "runtime.paths[0] is null" },
        { "runtime.environment", "[\"\"]", "runtime.environment[0] is empty" },
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char *json = changed(refusals[i].path, refusals[i].value);
        struct qn_processor *processor = NULL;
        struct qn_error err = QN_ERROR_INIT;
        enum qn_status status = qn_processor_new(json, strlen(json), &processor, &err);
        if (status != QN_ERR_CONFIG || strncmp(err.message, refusals[i].message, strlen(refusals[i].message)) != 0) {
            fail_msg("%s = %s: %s: %s", refusals[i].path, refusals[i].value, qn_status_name(status), err.message);
        }
        assert_null(processor);
        free(json);
    }
}

static void refuse(const char *json, size_t size, const char *part)
{
    struct qn_processor *processor = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_processor_new(json, size, &processor, &err), QN_ERR_CONFIG);
    if (strstr(err.message, part) == NULL) {
        fail_msg("%s", err.message);
    }
}

static void plan__must_be_a_json_object(void **state)
{
    (void)state;
    refuse("", 0, "the plan is not JSON");
    refuse("{", 1, "the plan is not JSON");
    refuse("[]", 2, "the plan is not a JSON object");
    refuse("{\"statement\": \"\xff\"}", 17, "the plan is not JSON");
    refuse("{\"name\": \"a\", \"name\": \"b\"}", 26, "the plan is not JSON: duplicate");
    char *large = malloc(QN_PLAN_MAX + 1);
    assert_non_null(large);
    memset(large, ' ', QN_PLAN_MAX + 1);
    refuse(large, QN_PLAN_MAX + 1, "at most 16777216 are allowed");
    free(large);
}

/* Where a NUL stands in it is for the interpreter to say. */
static void plan__leaves_the_statement_as_it_is(void **state)
{
    (void)state;
    char *json = changed("statement", "\"a\\u0000b\\r\\n\\tc\"");
    struct qn_processor *processor = make(json);
    assert_int_equal(processor->statement_size, 7);
    assert_memory_equal(processor->statement, "a\0b\r\n\tc", 7);
    qn_processor_free(processor);
    free(json);
}

/* One interpreter serves what has the same runtime and the same list, however they were written. */
static void plan__has_a_key_for_its_interpreter(void **state)
{
    (void)state;
    char *other_order = changed("allow", "[\"passlib.hash\", \"json\", \"math\"]");
    char *other_list = changed("allow", "[\"json\"]");
    char *other_runtime = changed("runtime.environment", "[\"TZ=CET\"]");
    char *other_limit = changed("memory", "1048576");
    const char *const texts[] = { valid, other_order, other_limit, other_list, other_runtime };
    struct qn_processor *made[5];
    for (size_t i = 0; i < 5; i++) {
        made[i] = make(texts[i]);
    }
    assert_string_equal(made[0]->zygote_key.data, made[1]->zygote_key.data);
    assert_string_equal(made[0]->zygote_key.data, made[2]->zygote_key.data);
    assert_string_not_equal(made[0]->zygote_key.data, made[3]->zygote_key.data);
    assert_string_not_equal(made[0]->zygote_key.data, made[4]->zygote_key.data);
    for (size_t i = 0; i < 5; i++) {
        qn_processor_free(made[i]);
    }
    free(other_order);
    free(other_list);
    free(other_runtime);
    free(other_limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan__is_taken_over_whole),           cmocka_unit_test(plan__has_defaults),
        cmocka_unit_test(plan__names_the_key_that_is_wrong),   cmocka_unit_test(plan__must_be_a_json_object),
        cmocka_unit_test(plan__leaves_the_statement_as_it_is), cmocka_unit_test(plan__has_a_key_for_its_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
