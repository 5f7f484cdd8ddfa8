/*
 * fuzz_ffi.c: what a library says through the C functions of qanat_connector.h: texts of discover and stable_url, errors,
 * and what any connector says of its locations. The library is this program: ffi.c is included, and its functions are ours.
 *
 * The first byte decides what is asked and whether it fails; the rest is the text.
 */
#include "connector/ffi.c" /* NOLINT(bugprone-suspicious-include): its parsers are reached through its own calls */

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *text;
static size_t text_size;
static int32_t code;
static int pages;

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static int32_t say(const char *arguments, char **out)
{
    must(arguments[0] == '{');
    *out = malloc(text_size + 1);
    must(*out != NULL);
    memcpy(*out, text, text_size);
    (*out)[text_size] = '\0';
    return ++pages > 3 ? 1 : code; /* pages without an end have one */
}

static int32_t say_url(const char *location, const char *arguments, char **out)
{
    must(location[0] == '{');
    return say(arguments, out);
}

static void free_text(char *given)
{
    free(given);
}

static int32_t fail_data(const char *location, const char *arguments, struct ArrowArrayStream *out)
{
    (void)out;
    must(location[0] == '{' && arguments[0] == '{');
    return code;
}

static enum qn_status take(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)context;
    (void)err;
    must(location->location != NULL && location->format != NULL && location->version != NULL);
    must(location->num_rows >= -1 && strlen(location->location) <= QN_LOCATION_MAX_NAME);
    json_t *again = qn_location_write(location);
    struct qn_location read;
    must(again != NULL && qn_location_read(again, &read, NULL) == QN_OK);
    must(qn_text_equal(read.location, location->location) && qn_text_equal(read.version, location->version));
    must(read.must_copy == location->must_copy && read.num_rows == location->num_rows);
    json_decref(again);
    return QN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    char arguments[] = "{\"city\":\"Oslo\"}";
    char file[] = "fuzz.so";
    struct ffi ffi = {
        .arguments = arguments, .file = file, .discover = say, .stable_url = say_url, .data = fail_data
    };
    struct qn_error err = QN_ERROR_INIT;
    struct qn_location location = QN_LOCATION_INIT;
    char *url = NULL;
    ffi.free = free_text;
    location.location = "x";
    text = data + 1;
    text_size = size - 1;
    code = data[0] & 1;
    pages = 0;
    enum qn_status status = (data[0] & 2) != 0 ? ffi_stable_url(&ffi, &location, &url, &err)
                                               : ffi_discover(&ffi, NULL, 0, take, NULL, &err);
    must(status == QN_OK || (err.status == status && err.message[0] != '\0' && strchr(err.message, '\n') == NULL));
    must(qn_utf8_valid(err.message, strlen(err.message)));
    must(status != QN_OK || code == 0);
    must(url == NULL || status == QN_OK);
    free(url);
    return 0;
}
