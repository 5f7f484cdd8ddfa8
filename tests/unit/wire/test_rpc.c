/* JSON-RPC messages: what is read out of them, and what is refused. */
#include "fixture.h"
#include "wire/rpc.h"

static enum qn_status read_text(const char *text, struct qn_rpc_message *out)
{
    return qn_rpc_read(text, strlen(text), out, &error);
}

static void replies__have_an_id_and_a_result(void **state)
{
    (void)state;
    struct qn_rpc_message message;
    ok(read_text("{\"jsonrpc\": \"2.0\", \"id\": 7, \"result\": {\"ok\": true}, \"more\": 1}", &message));
    assert_int_equal(message.kind, QN_RPC_RESULT);
    assert_true(message.has_id);
    assert_int_equal(message.id, 7);
    assert_true(json_is_true(json_object_get(message.result, "ok")));
    qn_rpc_message_dispose(&message);
    ok(read_text("{\"jsonrpc\": \"2.0\", \"id\": 8, \"result\": null}", &message)); /* as stable_url without one */
    assert_int_equal(message.kind, QN_RPC_RESULT);
    assert_true(json_is_null(message.result));
    qn_rpc_message_dispose(&message);
}

static void errors__say_what_they_are(void **state)
{
    (void)state;
    struct qn_rpc_message message;
    ok(read_text("{\"jsonrpc\": \"2.0\", \"id\": 1, \"error\": {\"code\": -32000, \"message\": \"two\\nlines\","
                 " \"data\": {\"kind\": \"rate_limited\", \"retryable\": true, \"retry_after_ms\": 250}}}",
                 &message));
    assert_int_equal(message.kind, QN_RPC_ERROR);
    assert_int_equal(message.error.code, -32000);
    assert_int_equal(message.error.kind, QN_RPC_RATE_LIMITED);
    assert_true(message.error.retryable);
    assert_int_equal(message.error.retry_after_ms, 250);
    assert_string_equal(message.error.message, "two lines");
    assert_int_equal(qn_rpc_error_raise(&message.error, &error), QN_ERR_QUERY);
    assert_string_equal(error.message, "two lines");
    assert_true(error.retryable);
    qn_rpc_message_dispose(&message);

    /* data of any other form, no id: as JSON-RPC allows */
    ok(read_text(
        "{\"jsonrpc\": \"2.0\", \"id\": null, \"error\": {\"code\": -32700, \"message\": \"\", \"data\": [1]}}",
        &message));
    assert_false(message.has_id);
    assert_int_equal(message.error.kind, QN_RPC_FAILED);
    assert_string_equal(message.error.message, "(no message)");
    qn_rpc_message_dispose(&message);
}

static void errors__become_ours(void **state)
{
    (void)state;
    static const struct {
        const char *error;
        enum qn_status status;
    } cases[] = {
        { "{\"code\": -32000, \"message\": \"m\"}", QN_ERR_QUERY },
        { "{\"code\": -32601, \"message\": \"m\"}", QN_ERR_UNSUPPORTED },
        { "{\"code\": -32602, \"message\": \"m\"}", QN_ERR_QUERY },
        { "{\"code\": -32000, \"message\": \"m\", \"data\": {\"kind\": \"cancelled\"}}", QN_ERR_CANCELLED },
        { "{\"code\": -32000, \"message\": \"m\", \"data\": {\"kind\": \"unavailable\"}}", QN_ERR_CONNECTION },
        { "{\"code\": -32000, \"message\": \"m\", \"data\": {\"kind\": \"authentication\"}}", QN_ERR_QUERY },
        { "{\"code\": -32000, \"message\": \"m\", \"data\": {\"kind\": \"of another time\"}}", QN_ERR_QUERY },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json;
        struct qn_rpc_error read;
        ok(qn_json_parse(cases[i].error, strlen(cases[i].error), "an error", &json, &error));
        ok(qn_rpc_error_read(json, &read, &error));
        refused(qn_rpc_error_raise(&read, &error), cases[i].status, "m");
        json_decref(json);
    }
}

static void notifications__have_a_method(void **state)
{
    (void)state;
    struct qn_rpc_message message;
    ok(read_text("{\"jsonrpc\": \"2.0\", \"method\": \"progress\", \"params\": {\"rows\": 5}}", &message));
    assert_int_equal(message.kind, QN_RPC_NOTIFICATION);
    assert_string_equal(message.method, "progress");
    assert_int_equal(json_integer_value(json_object_get(message.params, "rows")), 5);
    qn_rpc_message_dispose(&message);
    ok(read_text("{\"jsonrpc\": \"2.0\", \"method\": \"log\"}", &message));
    assert_null(message.params);
    qn_rpc_message_dispose(&message);
}

static void what_is_no_message__is_refused_and_shown(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        { "", "is not JSON" },
        { "hello from print()", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 1", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 1} x", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"id\": 2, \"result\": 1}", "duplicate" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": NaN}", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": Infinity}", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 9223372036854775808}", "too big integer" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 1e999}", "overflow" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": \"\\u0000\"}", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": \"\xff\"}", "is not JSON" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": \"\\ud800\"}", "is not JSON" },
        { "[]", "it is no object" },
        { "3", "it is no object" },
        { "{}", "\"jsonrpc\" is not \"2.0\"" },
        { "{\"jsonrpc\": \"1.0\", \"id\": 1, \"result\": 1}", "\"jsonrpc\" is not \"2.0\"" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1}", "neither method, result nor error" },
        { "{\"jsonrpc\": \"2.0\", \"id\": \"1\", \"result\": 1}", "its id is no integer" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1.0, \"result\": 1}", "its id is no integer" },
        { "{\"jsonrpc\": \"2.0\", \"id\": null, \"result\": 1}", "its id is no integer" },
        { "{\"jsonrpc\": \"2.0\", \"result\": 1}", "its id is no integer" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 1, \"error\": {}}", "a result and an error" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"error\": \"text\"}", "an error is not" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"error\": {\"code\": \"1\"}}", "an error is not" },
        { "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"data\"}", "it is a request" },
        { "{\"jsonrpc\": \"2.0\", \"method\": 1}", "its method is no name" },
        { "{\"jsonrpc\": \"2.0\", \"method\": \"log\", \"params\": 1}", "its params" },
        { "{\"jsonrpc\": \"2.0\", \"method\": \"log\", \"result\": 1}", "at once" },
    };
    struct qn_rpc_message message;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        refused(read_text(texts[i][0], &message), QN_ERR_PROTOCOL, texts[i][1]);
    }
    refused(read_text("Traceback\tof \x1b[31mred", &message), QN_ERR_PROTOCOL, ": Traceback of  [31mred");
}

/* `size` bytes around and of `filling`, repeated. */
static char *repeated(const char *before, const char *filling, size_t times, const char *after)
{
    size_t size = strlen(filling);
    char *text = malloc(strlen(before) + size * times + strlen(after) + 1);
    assert_non_null(text);
    char *at = stpcpy(text, before);
    for (size_t i = 0; i < times; i++, at += size) {
        memcpy(at, filling, size);
    }
    strcpy(at, after);
    return text;
}

static void limits__of_depth_values_and_names(void **state)
{
    (void)state;
    json_t *json = NULL;
    char *text = repeated("", "[", 64, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    ok(qn_json_parse(text, strlen(text), "a text", &json, &error));
    json_decref(json);
    free(text);
    text = repeated("", "[", 65, "");
    refused(qn_json_parse(text, 65, "a text", &json, &error), QN_ERR_PROTOCOL, "deeper than 64");
    free(text);
    text = repeated("[\"", "[{,\\\"", 1000, "\"]"); /* what stands in a text counts for nothing */
    ok(qn_json_parse(text, strlen(text), "a text", &json, &error));
    assert_int_equal(json_array_size(json), 1);
    json_decref(json);
    free(text);
    text = repeated("[0", ",0", QN_RPC_MAX_VALUES, "]");
    refused(qn_json_parse(text, strlen(text), "a text", &json, &error), QN_ERR_PROTOCOL,
            "has more than 8388608 values");
    free(text);
    text = repeated("[{\"", "n", QN_RPC_MAX_NAME, "\": 1}]");
    ok(qn_json_parse(text, strlen(text), "a text", &json, &error));
    json_decref(json);
    free(text);
    text = repeated("[{\"", "n", QN_RPC_MAX_NAME + 1, "\": 1}]");
    refused(qn_json_parse(text, strlen(text), "a text", &json, &error), QN_ERR_PROTOCOL, "a name is longer");
    free(text);
}

static void what_is_written__is_one_line_each(void **state)
{
    (void)state;
    qn_auto_buffer out = QN_BUFFER_INIT;
    qn_auto_json *params = json_pack("{s:s}", "location", "Z\xc3\xbcrich\n\"quoted\"");
    ok(qn_rpc_write_request(3, "data", params, &out, &error));
    ok(qn_rpc_write_notification("cancel", params, &out, &error));
    assert_string_equal(out.data, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"data\",\"params\":{\"location\":"
                                  "\"Z\xc3\xbcrich\\n\\\"quoted\\\"\"}}\n"
                                  "{\"jsonrpc\":\"2.0\",\"method\":\"cancel\",\"params\":{\"location\":"
                                  "\"Z\xc3\xbcrich\\n\\\"quoted\\\"\"}}\n");
}

static void what_is_too_long_to_write__is_refused_before(void **state)
{
    (void)state;
    qn_auto_buffer out = QN_BUFFER_INIT;
    char *text = repeated("", "x", QN_WIRE_MAX_LINE, "");
    qn_auto_json *params = json_pack("{s:s}", "location", text);
    free(text);
    refused(qn_rpc_write_request(3, "data", params, &out, &error), QN_ERR_ARGUMENT, "the parameters of \"data\"");
    assert_int_equal(out.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies__have_an_id_and_a_result),
        cmocka_unit_test(errors__say_what_they_are),
        cmocka_unit_test(errors__become_ours),
        cmocka_unit_test(notifications__have_a_method),
        cmocka_unit_test(what_is_no_message__is_refused_and_shown),
        cmocka_unit_test(limits__of_depth_values_and_names),
        cmocka_unit_test(what_is_written__is_one_line_each),
        cmocka_unit_test(what_is_too_long_to_write__is_refused_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
