/*
 * test_sdk_c.c: the helpers of sdk/c/qanat_connector.h, beside the public headers, which have the same Arrow structs.
 */
#include <qanat/stream.h>
#include <qanat_connector.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void member__is_a_text_or_a_value_as_it_stands(void **state)
{
    (void)state;
    static const struct {
        const char *object, *name, *value;
    } cases[] = {
        { "{}", "a", NULL },
        { "[]", "a", NULL },
        { "{\"a\":", "a", NULL },
        { "{\"a\":1}", "a", "1" },
        { "{\"ab\":1}", "a", NULL },
        { "{\"a\":1}", "ab", NULL },
        { "{\"a\":\"\"}", "a", "" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "b", "c" },
        { "{\"x\":{\"a\":1},\"a\":2}", "a", "2" },
        { "{\"x\":[\"a\",{\"a\":1}],\"a\":-2.5e3}", "a", "-2.5e3" },
        { "{ \"a\" : \"x\" , \"b\":[1,{\"c\":\"}\"}] , \"c\" : true }", "b", "[1,{\"c\":\"}\"}]" },
        { "{ \"a\" : \"x\" , \"b\":[1,{\"c\":\"}\"}] , \"c\" : true }", "c", "true" },
        { "{\"a\":\"q\\\"\\\\\\n\\u00e4\\u20ac\\ud83d\\ude00\\/\"}", "a",
          "q\"\\\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80/" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *value = qanat_member(cases[i].object, cases[i].name);
        if (cases[i].value == NULL) {
            assert_null(value);
        } else {
            assert_non_null(value);
            assert_string_equal(value, cases[i].value);
        }
        free(value);
    }
}

static void quote__can_be_read_back(void **state)
{
    (void)state;
    static const char *const texts[] = { "", "plain", "a\"\\\n\x01\x1f\t", "\xc3\xa4\xf0\x9f\x98\x80" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char object[128];
        char *quoted = qanat_quote(texts[i]);
        assert_non_null(quoted);
        assert_true(snprintf(object, sizeof object, "{\"x\":%s}", quoted) < (int)sizeof object);
        char *again = qanat_member(object, "x");
        assert_non_null(again);
        assert_string_equal(again, texts[i]);
        free(again);
        free(quoted);
    }
}

static void fail__is_a_stream_that_says_why(void **state)
{
    (void)state;
    struct ArrowArrayStream stream = { 0 };
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    char text[] = "no such city";
    assert_int_not_equal(qanat_fail(&stream, text), 0);
    text[0] = 'N'; /* it was copied */
    assert_int_not_equal(stream.get_schema(&stream, &schema), 0);
    assert_int_not_equal(stream.get_next(&stream, &array), 0);
    assert_string_equal(stream.get_last_error(&stream), "no such city");
    stream.release(&stream);
    assert_null(stream.release);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(member__is_a_text_or_a_value_as_it_stands),
        cmocka_unit_test(quote__can_be_read_back),
        cmocka_unit_test(fail__is_a_stream_that_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
