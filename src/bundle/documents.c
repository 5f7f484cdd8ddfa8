/*
 * documents.c: what a bundle says of itself, as JSON (docs/formats/bundle_documents.md).
 *
 * Texts are written in the canonical form of commits, members in the order in which the documents list them. Threads: see
 * bundle_private.h.
 */
#include "base/memory.h"
#include "bundle/bundle_private.h"

enum qn_status qn__document_take(struct qn_buffer *buffer, char **out, struct qn_error *err)
{
    QN_TRY(qn_buffer_check(buffer, "a document of the bundle", err));
    char *text = qn_buffer_steal(buffer);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    *out = text;
    return QN_OK;
}
