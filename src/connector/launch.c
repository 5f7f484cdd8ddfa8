/* launch.c: see launch.h. Words are cut by command.c, so that nothing is ever given to a shell. */
#include "connector/launch.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "connector/command.h"
#include "connector/locate.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_INTERPRETER "python3"
#define DEFAULT_PATH        "/bin:/usr/bin" /* of execvp where PATH is not set */

void qn_launch_dispose(struct qn_launch *launch)
{
    for (int i = 0; i < launch->n; i++) {
        qn_free(launch->argv[i]);
    }
    qn_free(launch->argv);
    *launch = (struct qn_launch){ 0 };
}

static enum qn_status add(struct qn_launch *launch, const char *word, struct qn_error *err)
{
    char **argv = qn_realloc_array(launch->argv, (size_t)launch->n + 2, sizeof *argv);
    if (argv == NULL) {
        return qn__no_memory(err);
    }
    launch->argv = argv;
    launch->argv[launch->n] = qn_strdup(word);
    launch->argv[launch->n + 1] = NULL;
    if (launch->argv[launch->n] == NULL) {
        return qn__no_memory(err);
    }
    launch->n++;
    return QN_OK;
}

static bool is_file(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

/* ---- where files are ---- */

/* Add the path of a file that has to be there. */
static enum qn_status add_file(struct qn_launch *launch, const char *folder, const char *path, const char *what,
                               struct qn_error *err)
{
    qn_auto_buffer full = QN_BUFFER_INIT;
    QN_TRY(qn_locate_path(folder, path, &full, err));
    if (!is_file(full.data)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s \"%s\" was not found", what, full.data);
    }
    return add(launch, full.data, err);
}

bool qn_launch_is_on_path(const char *program)
{
    const char *path = getenv("PATH");
    qn_auto_buffer candidate = QN_BUFFER_INIT;
    for (const char *at = path != NULL ? path : DEFAULT_PATH;; at++) {
        size_t size = strcspn(at, ":");
        qn_buffer_reset(&candidate);
        qn_buffer_append(&candidate, at, size);
        qn_buffer_printf(&candidate, "%s%s", size > 0 ? "/" : "", program);
        if (candidate.failure == QN_BUFFER_FINE && is_file(candidate.data) && access(candidate.data, X_OK) == 0) {
            return true;
        }
        at += size;
        if (*at == '\0') {
            return false;
        }
    }
}

/* Add a program: a path, or a name that is looked up on PATH. */
static enum qn_status add_program(struct qn_launch *launch, const char *folder, const char *program, const char *hint,
                                  struct qn_error *err)
{
    if (strchr(program, '/') != NULL) {
        return add_file(launch, folder, program, "program", err);
    }
    if (!qn_launch_is_on_path(program)) {
        qn_error_set(err, QN_ERR_CONFIG, "program \"%s\" was not found on PATH", program);
        if (hint != NULL) {
            qn_error_hint(err, "%s", hint);
        }
        return QN_ERR_CONFIG;
    }
    return add(launch, program, err);
}

/* ---- ipc ---- */

static enum qn_status add_interpreter(struct qn_launch *launch, const char *interpreter, struct qn_error *err)
{
    struct qn_command command = { 0 };
    if (interpreter == NULL || strchr(interpreter, '/') == NULL || !is_file(interpreter)) {
        QN_TRY(qn_command_split(interpreter != NULL ? interpreter : DEFAULT_INTERPRETER, NULL, &command, err));
    }
    char current[PATH_MAX]; /* the process may run in another folder */
    const char *program = command.n > 0 ? command.argv[0] : interpreter;
    const char *folder = getcwd(current, sizeof current);
    enum qn_status status = add_program(launch, folder, program, NULL, err);
    for (size_t i = 1; status == QN_OK && i < command.n; i++) {
        status = add(launch, command.argv[i], err);
    }
    qn_command_dispose(&command);
    return status;
}

/* The words after a program: the first that is no option may be a file below `folder`. */
static enum qn_status add_words(struct qn_launch *launch, const char *folder, char *const *words, struct qn_error *err)
{
    bool looked = folder == NULL;
    for (; *words != NULL; words++) {
        qn_auto_buffer full = QN_BUFFER_INIT;
        if (!looked && (*words)[0] != '-') {
            looked = true;
            QN_TRY(qn_locate_path(folder, *words, &full, err));
        }
        QN_TRY(add(launch, full.size > 0 && is_file(full.data) ? full.data : *words, err));
    }
    return QN_OK;
}

static enum qn_status launch_ipc(const struct qn_command *command, const char *folder, const char *interpreter,
                                 struct qn_launch *out, struct qn_error *err)
{
    char *const *words = command->argv;
    const char *script = qn_locate_script(command);
    if (script != NULL) {
        QN_TRY(add_interpreter(out, interpreter, err));
        QN_TRY(add_file(out, folder, script, "script", err));
        return add_words(out, NULL, words + 2, err);
    }
    QN_TRY(add_program(out, folder, words[0], NULL, err));
    return add_words(out, folder, words + 1, err);
}

/* ---- all three ---- */

enum qn_status qn_launch_ipc(const char *entrypoint, const char *folder, const char *interpreter, struct qn_launch *out,
                             struct qn_error *err)
{
    struct qn_command command;
    struct qn_launch launch = { 0 };
    /* "" as the interpreter marks a bare script: it is no word that a command could begin with. */
    QN_TRY(qn_command_split(entrypoint, "", &command, err));
    enum qn_status status = launch_ipc(&command, folder, interpreter, &launch, err);
    qn_command_dispose(&command);
    if (status != QN_OK) {
        qn_launch_dispose(&launch);
        return status;
    }
    *out = launch;
    return QN_OK;
}

static enum qn_status launch_java(const struct qn_command *command, const char *folder, struct qn_launch *out,
                                  struct qn_error *err)
{
    QN_TRY(add_program(out, NULL, "java", "java:: connectors need a Java runtime", err));
    QN_TRY(add(out, "-jar", err));
    QN_TRY(add_file(out, folder, command->argv[0], "jar", err));
    return add_words(out, NULL, command->argv + 1, err);
}

static enum qn_status launch_docker(const struct qn_command *command, struct qn_launch *out, struct qn_error *err)
{
    static const char *const words[] = { "run", "-i", "--rm" };
    if (command->argv[0][0] == '-') {
        return qn_error_set(err, QN_ERR_CONFIG, "\"%s\" is not an image", command->argv[0]);
    }
    QN_TRY(add_program(out, NULL, "docker", "docker:: connectors need the docker program", err));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        QN_TRY(add(out, words[i], err));
    }
    return add_words(out, NULL, command->argv, err);
}

static enum qn_status launch(const char *entrypoint, const char *folder, bool java, struct qn_launch *out,
                             struct qn_error *err)
{
    struct qn_command command;
    struct qn_launch made = { 0 };
    QN_TRY(qn_command_split(entrypoint, "", &command, err));
    enum qn_status status = command.argv[0][0] == '\0'
                                ? qn_error_set(err, QN_ERR_CONFIG, "\"%s\" is a script: see ipc::", command.argv[1])
                            : java ? launch_java(&command, folder, &made, err)
                                   : launch_docker(&command, &made, err);
    qn_command_dispose(&command);
    if (status != QN_OK) {
        qn_launch_dispose(&made);
        return status;
    }
    *out = made;
    return QN_OK;
}

enum qn_status qn_launch_java(const char *entrypoint, const char *folder, struct qn_launch *out, struct qn_error *err)
{
    return launch(entrypoint, folder, true, out, err);
}

enum qn_status qn_launch_docker(const char *entrypoint, struct qn_launch *out, struct qn_error *err)
{
    return launch(entrypoint, NULL, false, out, err);
}
