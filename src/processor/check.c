/*
 * check.c: having a statement looked at by the interpreter that will run it, inside the sandbox.
 *
 * Source can be hostile to the parser of CPython itself, so it is parsed nowhere else. What the check finds out is kept: that
 * the statement is fine, or where it is not, and which heavy modules it imports: they choose the interpreter of its runs
 * (pool.h). A check that ends otherwise (a crash, a deadline) is made again the next time.
 */
#include "base/memory.h"
#include "processor/execution.h"

/* Modules of the standard library that cost next to nothing: no interpreter is kept for them. */
static const char *const light_modules[] = {
    "abc",        "array",        "asyncio",   "base64",     "binascii",  "bisect",  "calendar",    "cmath",
    "codecs",     "collections",  "colorsys",  "contextlib", "copy",      "csv",     "dataclasses", "datetime",
    "decimal",    "difflib",      "enum",      "fractions",  "functools", "hashlib", "heapq",       "hmac",
    "html",       "io",           "ipaddress", "itertools",  "json",      "keyword", "locale",      "math",
    "numbers",    "operator",     "pprint",    "queue",      "random",    "re",      "secrets",     "ssl",
    "statistics", "string",       "struct",    "textwrap",   "time",      "types",   "typing",      "unicodedata",
    "urllib",     "urllib.parse", "uuid",      "warnings",   "xml",       "zlib",    "zoneinfo",
};

static bool is_light(const char *name)
{
    for (size_t i = 0; i < sizeof light_modules / sizeof *light_modules; i++) {
        if (strcmp(light_modules[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_line(const char *lines, const char *wanted)
{
    size_t wanted_size = strlen(wanted);
    while (*lines != '\0') {
        size_t size = strcspn(lines, "\n");
        if (size == wanted_size && memcmp(lines, wanted, size) == 0) {
            return true;
        }
        lines += size + (lines[size] == '\n');
    }
    return false;
}

/* Those of the allow list that the statement imports and that are heavy. What else the check may have said does not count: it
 * comes out of the sandbox. */
static enum qn_status heavy_modules(const struct qn_processor *processor, const char *imports, char **out,
                                    struct qn_error *err)
{
    qn_auto_buffer lines = QN_BUFFER_INIT;
    for (size_t i = 0; i < processor->allow.n; i++) {
        const char *name = processor->allow.items[i];
        if (!is_light(name) && has_line(imports, name)) {
            qn_buffer_printf(&lines, "%s\n", name);
        }
    }
    QN_TRY(qn_buffer_check(&lines, "the modules of a statement", err));
    *out = qn_strdup(qn_buffer_text(&lines));
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status run_check(struct qn_processor *processor, struct qn_execution **out, struct qn_error *err)
{
    struct qn_execution *self = NULL;
    QN_TRY(qn__execution_new(processor, &self, err));
    self->check_only = true;
    self->time_left = QN_CHECK_TIMEOUT_NANOS;
    enum qn_status status = qn__execution_take_child(self, "", err);
    if (status == QN_OK) {
        self->ready_at = self->began;
        status = qn__execution_begin(self, NULL, err);
    }
    if (status == QN_OK) {
        status = qn__execution_tell(self, "", err);
    }
    if (status == QN_OK) {
        qn_pool_refill(&self->taken);
        status = qn__execution_pump(self, err);
    }
    if (status != QN_OK) {
        qn_execution_free(self);
        return status;
    }
    *out = self;
    return QN_OK;
}

/* An execution that ended before it began. */
static enum qn_status rejected_before(struct qn_processor *processor, struct qn_execution **out, struct qn_error *err)
{
    struct qn_execution *self = NULL;
    QN_TRY(qn__execution_new(processor, &self, err));
    const struct qn_statement_problem *problem = &processor->problem;
    if (qn_tier_choose(processor->runtime.launcher, &self->tier, NULL) != QN_OK) {
        self->tier = QN_SANDBOX_FULL; /* nothing runs: it is said for the form's sake */
    }
    qn__execution_outcome(self, QN_EXECUTION_REJECTED, problem->message, strlen(problem->message));
    self->check_only = true;
    self->line = problem->line;
    self->column = problem->column;
    self->ended = true;
    self->ended_at = self->began;
    *out = self;
    return QN_OK;
}

static void describe(const struct qn_execution *self, struct qn_statement_problem *out)
{
    *out = (struct qn_statement_problem)QN_STATEMENT_PROBLEM_INIT;
    out->line = self->line > 0 ? self->line : 1;
    out->column = self->column;
    qn__error_copy(out->message, sizeof out->message, qn_buffer_text(&self->message), self->message.size);
}

/* Keep what the check has found out. */
static enum qn_status keep(struct qn_processor *processor, const struct qn_execution *self, struct qn_error *err)
{
    qn_auto_free char *modules = NULL;
    if (self->status == QN_EXECUTION_OK) {
        QN_TRY(heavy_modules(processor, qn_buffer_text(&self->message), &modules, err));
    }
    (void)pthread_mutex_lock(&processor->lock);
    if (!processor->checked && (self->status == QN_EXECUTION_OK || self->status == QN_EXECUTION_REJECTED)) {
        processor->rejected = self->status == QN_EXECUTION_REJECTED;
        if (processor->rejected) {
            describe(self, &processor->problem);
        } else {
            processor->modules = qn_steal(&modules);
        }
        processor->checked = true;
    }
    (void)pthread_mutex_unlock(&processor->lock);
    return QN_OK;
}

enum qn_status qn__processor_check(struct qn_processor *processor, struct qn_execution **out, struct qn_error *err)
{
    (void)pthread_mutex_lock(&processor->lock);
    bool checked = processor->checked;
    bool rejected = processor->rejected;
    (void)pthread_mutex_unlock(&processor->lock);
    *out = NULL;
    if (checked) {
        return rejected ? rejected_before(processor, out, err) : QN_OK;
    }
    struct qn_execution *self = NULL;
    QN_TRY(run_check(processor, &self, err));
    enum qn_status status = keep(processor, self, err);
    if (status != QN_OK || self->status == QN_EXECUTION_OK) {
        qn_execution_free(self);
        return status;
    }
    *out = self;
    return QN_OK;
}

enum qn_status qn_processor_check(struct qn_processor *processor, struct qn_statement_problem *problem,
                                  struct qn_error *err)
{
    struct qn_execution *self = NULL;
    QN_TRY(qn__processor_check(processor, &self, err));
    struct qn_statement_problem found = QN_STATEMENT_PROBLEM_INIT;
    if (self != NULL) {
        describe(self, &found);
        (void)qn_error_set(err, QN_ERR_QUERY, "%s: %s", processor->name, found.message);
        qn_execution_free(self);
    }
    if (problem != NULL) {
        size_t size = problem->struct_size < sizeof found ? problem->struct_size : sizeof found;
        found.struct_size = problem->struct_size;
        memcpy(problem, &found, size);
    }
    return found.line > 0 ? QN_ERR_QUERY : QN_OK;
}
