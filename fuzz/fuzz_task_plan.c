/*
 * fuzz_task_plan.c: any bytes are a task or a typed error with a message; nothing is opened.
 */
#include <qanat/qanat.h>

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_task *task = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_task_new((const char *)data, size, &task, &err);
    if (status == QN_OK ? task == NULL : (task != NULL || err.status != status || err.message[0] == '\0')) {
        abort();
    }
    qn_task_free(task);
    return 0;
}
