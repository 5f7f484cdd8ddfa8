/* command.c: see command.h. Threads: no state. */
#include "connector/command.h"

#include "base/memory.h"
#include "base/text.h"

/* Copy the word at `at` to `into`, without its quotes; where it ends, or NULL where a quote or a \ has no end. */
static const char *cut_word(const char *at, char **into)
{
    char quote = '\0';
    for (; *at != '\0' && (quote != '\0' || !qn_ascii_space(*at)); at++) {
        if (*at == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*at == '\'' || *at == '"')) {
            quote = *at;
        } else if (*at == '\\' && (quote == '\0' || (quote == '"' && (at[1] == '"' || at[1] == '\\')))) {
            if (*++at == '\0') {
                return NULL;
            }
            *(*into)++ = *at;
        } else {
            *(*into)++ = *at;
        }
    }
    *(*into)++ = '\0';
    return quote == '\0' ? at : NULL;
}

static bool is_script(const char *word)
{
    size_t size = strlen(word);
    return size > 3 && qn_text_equal(word + size - 3, ".py");
}

/* Put the words into command->argv, whose room is for all that there may be. */
static enum qn_status cut(const char *text, struct qn_command *command, struct qn_error *err)
{
    char *into = command->memory;
    const char *at = text;
    for (;;) {
        while (qn_ascii_space(*at)) {
            at++;
        }
        if (*at == '\0') {
            break;
        }
        if (command->n == QN_COMMAND_MAX_WORDS) {
            return qn_error_set(err, QN_ERR_CONFIG, "a command has more than %d words", QN_COMMAND_MAX_WORDS);
        }
        command->argv[1 + command->n++] = into;
        at = cut_word(at, &into);
        if (at == NULL) {
            return qn_error_set(err, QN_ERR_CONFIG, "command \"%s\": a quote or a \\ has no end", text);
        }
    }
    if (command->n == 0 || command->argv[1][0] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "command \"%s\" names no program", text);
    }
    return QN_OK;
}

enum qn_status qn_command_split(const char *text, const char *interpreter, struct qn_command *out, struct qn_error *err)
{
    const char *python = interpreter != NULL ? interpreter : "python3";
    size_t size = strlen(text) + 1;
    struct qn_command command = { .argv = qn_calloc(QN_COMMAND_MAX_WORDS + 2, sizeof *command.argv) };
    command.memory = qn_malloc(size + strlen(python) + 1);
    if (command.argv == NULL || command.memory == NULL) {
        qn_command_dispose(&command);
        return qn__no_memory(err);
    }
    enum qn_status status = cut(text, &command, err);
    if (status != QN_OK) {
        qn_command_dispose(&command);
        return status;
    }
    if (is_script(command.argv[1])) {
        command.argv[0] = memcpy(command.memory + size, python, strlen(python) + 1);
        command.n++;
    } else {
        memmove(command.argv, command.argv + 1, (command.n + 1) * sizeof *command.argv);
    }
    *out = command;
    return QN_OK;
}

void qn_command_dispose(struct qn_command *command)
{
    qn_free(command->argv);
    qn_free(command->memory);
    *command = (struct qn_command){ 0 };
}
