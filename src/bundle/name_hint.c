/*
 * name_hint.c: what an unknown name of a pack or a source may have been meant for, and which there are.
 *
 * It looks through the whole state: for errors only. Threads: see bundle_private.h.
 */
#include "base/text.h"
#include "bundle/bundle_private.h"

#include <jansson.h>

#define SHOWN 20 /* names; of more, the first */

/* The name that an entry tells of, set in `names`: for a source, its connector. */
static void note_name(json_t *names, const struct qn_state_entry *entry, enum qn__named which)
{
    struct qn__source source;
    if (which == QN__NAMED_PACKS && entry->change.kind == QN_CHANGE_ADD) {
        (void)json_object_set_new(names, entry->change.pack, json_null());
    } else if (entry->change.kind == QN_CHANGE_SET && entry->change.object == QN_OBJECT_SOURCE &&
               qn__source_read(entry, &source, NULL) == QN_OK) {
        (void)json_object_set_new(names, which == QN__NAMED_SOURCES ? source.id : source.pack,
                                  which == QN__NAMED_SOURCES ? json_string(source.connector) : json_null());
        qn__source_dispose(&source);
    }
}

/* The name that is most like `typed`, where one is. */
static const char *nearest(json_t *names, const char *typed)
{
    const char *near = NULL, *name;
    size_t least = QN_TEXT_FAR;
    json_t *connector;
    json_object_foreach(names, name, connector)
    {
        size_t far = qn_text_distance(typed, name);
        if (far < least && qn_text_is_near(typed, far)) {
            least = far;
            near = name;
        }
    }
    return near;
}

static void list_names(json_t *names, struct qn_buffer *out)
{
    size_t n = 0;
    const char *name;
    json_t *connector;
    json_object_foreach(names, name, connector)
    {
        if (n++ == SHOWN) {
            qn_buffer_append_text(out, " ...");
            return;
        }
        qn_buffer_printf(out, "%s\"%.80s\"", n > 1 ? ", " : "", name);
        if (json_is_string(connector)) {
            qn_buffer_printf(out, " (%.80s)", json_string_value(connector));
        }
    }
}

void qn__bundle_hint_name(const struct qn_bundle_state *state, enum qn__named which, const char *typed,
                          struct qn_error *err)
{
    static const char *const none[] = {
        [QN__NAMED_PACKS] = "nothing has been put into the bundle, and no source feeds it",
        [QN__NAMED_FED_PACKS] = "no source feeds the bundle: create_source() makes one",
        [QN__NAMED_SOURCES] = "the bundle has no source: create_source() makes one",
    };
    json_t *names = json_object();
    size_t place = 0;
    const struct qn_state_entry *entry;
    qn_auto_buffer listed = QN_BUFFER_INIT;
    while (names != NULL && (entry = qn_bundle_state_next(state, &place)) != NULL) {
        note_name(names, entry, which);
    }
    if (names != NULL && json_object_size(names) == 0) {
        qn_error_hint(err, "%s", none[which]);
    } else if (names != NULL) {
        const char *near = nearest(names, typed);
        list_names(names, &listed);
        qn_error_hint(err, "%s%.80s%s %s; describe() or `qanat bundle status` lists all",
                      near != NULL ? "did you mean \"" : "", near != NULL ? near : "",
                      near != NULL ? "\"? There are" : "there are", qn_buffer_text(&listed));
    }
    json_decref(names);
}
