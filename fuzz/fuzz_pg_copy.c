/*
 * fuzz_pg_copy.c: contexts of COPY errors and rows of lookups, as a server may send them. The first byte chooses; a
 * context's first line is the table's name.
 */
#include "db/postgres/copy.h"
#include "db/postgres/lookup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void context(const char *text, size_t size)
{
    char *copy = malloc(size + 1);
    if (copy == NULL) {
        return;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    char *rest = strchr(copy, '\n');
    if (rest != NULL) {
        *rest++ = '\0';
        int64_t row = -1;
        char column[16];
        if (qn_pg_copy_context(rest, copy, &row, column, sizeof column) &&
            (row < 0 || strlen(column) >= sizeof column)) {
            abort();
        }
    }
    free(copy);
}

static void lookup_row(const char *bytes, size_t size)
{
    struct qn_pg_lookup_row row;
    if (!qn_pg_lookup_parse(bytes, size, &row)) {
        return;
    }
    for (int i = 0; i < row.n_fields; i++) {
        if (row.text[i] != NULL && (row.text[i] < bytes || row.text[i] + row.size[i] > bytes + size)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        context((const char *)data + 1, size - 1);
    } else {
        lookup_row((const char *)data + 1, size - 1);
    }
    return 0;
}
