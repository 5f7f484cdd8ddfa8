/* Command lines cut into words as a shell does. */
#include "connector/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct qn_error error;

static void words__are_those_of_a_shell(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *words[5];
    } cases[] = {
        { "cat", { "cat" } },
        { "  node \t index.js\n", { "node", "index.js" } },
        { "a 'b c' \"d e\"", { "a", "b c", "d e" } },
        { "a'b 'c\" d\"", { "ab c d" } },
        { "a '' \"\"", { "a", "", "" } },
        { "a\\ b \\'c \\\\", { "a b", "'c", "\\" } },
        { "x 'it\\s' \"q\\\"\\\\\\n\"", { "x", "it\\s", "q\"\\\\n" } },
        { "echo $HOME `ls` *|>&;#", { "echo", "$HOME", "`ls`", "*|>&;#" } },
        { "Z\xc3\xbcrich --x='\xc3\xa4 b'", { "Z\xc3\xbcrich", "--x=\xc3\xa4 b" } },
        { "connector.py --fast", { "/the/python", "connector.py", "--fast" } },
        { "'my script.py'", { "/the/python", "my script.py" } },
        { "python connector.py", { "python", "connector.py" } },
        { ".py", { ".py" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_command command;
        assert_int_equal(qn_command_split(cases[i].text, "/the/python", &command, &error), QN_OK);
        size_t n = 0;
        for (; n < 5 && cases[i].words[n] != NULL; n++) {
            assert_true(n < command.n);
            assert_string_equal(command.argv[n], cases[i].words[n]);
        }
        assert_int_equal(command.n, n);
        assert_null(command.argv[n]);
        qn_command_dispose(&command);
    }
}

static void scripts__run_under_python3_where_nothing_else_is_named(void **state)
{
    (void)state;
    struct qn_command command;
    assert_int_equal(qn_command_split("a.py", NULL, &command, &error), QN_OK);
    assert_string_equal(command.argv[0], "python3");
    assert_string_equal(command.argv[1], "a.py");
    qn_command_dispose(&command);
}

static void commands__that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        { "", "names no program" },    { " \t\n", "names no program" }, { "'' a", "names no program" },
        { "a 'b", "a quote or a \\" }, { "a \"b'", "a quote or a \\" }, { "a \\", "a quote or a \\" },
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct qn_command command;
        assert_int_equal(qn_command_split(texts[i][0], NULL, &command, &error), QN_ERR_CONFIG);
        assert_non_null(strstr(error.message, texts[i][1]));
    }
    char *many = malloc(2 * QN_COMMAND_MAX_WORDS + 3);
    assert_non_null(many);
    for (size_t i = 0; i <= QN_COMMAND_MAX_WORDS; i++) {
        memcpy(many + 2 * i, "a ", 3);
    }
    struct qn_command command;
    assert_int_equal(qn_command_split(many, NULL, &command, &error), QN_ERR_CONFIG);
    many[2 * QN_COMMAND_MAX_WORDS] = '\0';
    assert_int_equal(qn_command_split(many, NULL, &command, &error), QN_OK);
    assert_int_equal(command.n, QN_COMMAND_MAX_WORDS);
    qn_command_dispose(&command);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words__are_those_of_a_shell),
        cmocka_unit_test(scripts__run_under_python3_where_nothing_else_is_named),
        cmocka_unit_test(commands__that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
