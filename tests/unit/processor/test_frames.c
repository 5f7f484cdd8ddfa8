/* Frames out of bytes that come in any pieces, and bytes that are no frames. */
#include "processor/frames.h"

#include "base/memory.h"
#include "processor/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct bytes {
    char *data;
    size_t size;
};

static void add_frame(struct bytes *out, uint32_t kind, const void *payload, size_t size)
{
    const struct qn_frame head = { .kind = kind, .size = size };
    out->data = realloc(out->data, out->size + sizeof head + size);
    assert_non_null(out->data);
    memcpy(out->data + out->size, &head, sizeof head);
    if (size > 0) {
        memcpy(out->data + out->size + sizeof head, payload, size);
    }
    out->size += sizeof head + size;
}

/* Give the bytes in pieces of at most `piece` and put down the kinds and sizes that come out. */
static void cut(const struct bytes *bytes, size_t piece, uint32_t *kinds, size_t *sizes, size_t *n_out)
{
    struct qn_frames frames;
    struct qn_error err = QN_ERROR_INIT;
    size_t at = 0;
    *n_out = 0;
    assert_int_equal(qn_frames_init(&frames, NULL), QN_OK);
    for (;;) {
        struct qn_frame_taken frame = { 0 };
        enum qn_frames_verdict verdict = qn_frames_take(&frames, &frame, &err);
        if (verdict == QN_FRAMES_ONE) {
            for (size_t i = 0; i < frame.size; i++) {
                assert_int_equal((unsigned char)frame.payload[i], (unsigned char)(frame.size + i));
            }
            assert_true(frame.payload == NULL || frame.payload[frame.size] == '\0');
            kinds[*n_out] = frame.kind;
            sizes[(*n_out)++] = frame.size;
            qn_free(frame.payload);
            continue;
        }
        assert_int_equal(verdict, QN_FRAMES_WANT);
        if (at == bytes->size) {
            break;
        }
        size_t room = 0;
        char *into = qn_frames_room(&frames, &room);
        assert_true(room > 0);
        size_t size = bytes->size - at < room ? bytes->size - at : room;
        size = size < piece ? size : piece;
        memcpy(into, bytes->data + at, size);
        qn_frames_filled(&frames, size);
        at += size;
    }
    assert_false(qn_frames_torn(&frames));
    qn_frames_dispose(&frames);
}

static void frames__come_out_whatever_the_pieces(void **state)
{
    (void)state;
    static const struct {
        uint32_t kind;
        size_t size;
    } sent[] = { { QN_FRAME_LOG, 16 },       { QN_FRAME_NEED, 0 },    { QN_FRAME_BATCH, 1 }, { QN_FRAME_BATCH, 16384 },
                 { QN_FRAME_BATCH, 200000 }, { QN_FRAME_LOG, 16400 }, { QN_FRAME_NEED, 0 },  { QN_FRAME_DONE, 100 } };
    enum { N = sizeof sent / sizeof *sent };
    struct bytes bytes = { 0 };
    for (size_t i = 0; i < N; i++) {
        unsigned char *payload = malloc(sent[i].size + 1);
        assert_non_null(payload);
        for (size_t at = 0; at < sent[i].size; at++) {
            payload[at] = (unsigned char)(sent[i].size + at);
        }
        add_frame(&bytes, sent[i].kind, payload, sent[i].size);
        free(payload);
    }
    static const size_t pieces[] = { 1, 7, 15, 16, 17, 4096, 1 << 20 };
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        uint32_t kinds[N];
        size_t sizes[N];
        size_t n = 0;
        cut(&bytes, pieces[p], kinds, sizes, &n);
        assert_int_equal(n, N);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(kinds[i], sent[i].kind);
            assert_int_equal(sizes[i], sent[i].size);
        }
    }
    free(bytes.data);
}

static enum qn_frames_verdict verdict_on(uint32_t kind, uint32_t reserved, uint64_t size, uint64_t batch_limit)
{
    const struct qn_frame head = { .kind = kind, .reserved = reserved, .size = size };
    struct qn_frames frames;
    struct qn_frame_taken frame = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    size_t room = 0;
    assert_int_equal(qn_frames_init(&frames, NULL), QN_OK);
    frames.batch_limit = batch_limit;
    memcpy(qn_frames_room(&frames, &room), &head, sizeof head);
    qn_frames_filled(&frames, sizeof head);
    enum qn_frames_verdict verdict = qn_frames_take(&frames, &frame, &err);
    if (verdict == QN_FRAMES_BROKEN) {
        assert_int_equal(err.status, QN_ERR_PROTOCOL);
    }
    assert_int_equal(qn_frames_torn(&frames), verdict != QN_FRAMES_ONE);
    qn_free(frame.payload);
    qn_frames_dispose(&frames);
    return verdict;
}

static void frames__have_sizes_of_their_kind(void **state)
{
    (void)state;
    const uint64_t most = QN_FRAME_MAX_FROM_RUN;
    assert_int_equal(verdict_on(QN_FRAME_NEED, 0, 0, most), QN_FRAMES_ONE);
    assert_int_equal(verdict_on(QN_FRAME_NEED, 0, 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_NEED, 1, 0, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_READY, 0, 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_LOG, 0, sizeof(struct qn_frame_log) - 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_LOG, 0, sizeof(struct qn_frame_log), most), QN_FRAMES_WANT);
    assert_int_equal(verdict_on(QN_FRAME_LOG, 0, QN_FRAME_MAX_LOG, most), QN_FRAMES_WANT);
    assert_int_equal(verdict_on(QN_FRAME_LOG, 0, QN_FRAME_MAX_LOG + 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_DONE, 0, sizeof(struct qn_frame_done) - 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_DONE, 0, sizeof(struct qn_frame_done), most), QN_FRAMES_WANT);
    assert_int_equal(verdict_on(QN_FRAME_DONE, 0, UINT64_MAX, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_BATCH, 0, 0, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_BATCH, 0, most, most), QN_FRAMES_WANT);
    assert_int_equal(verdict_on(QN_FRAME_BATCH, 0, most + 1, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(QN_FRAME_BATCH, 0, 101, 100), QN_FRAMES_LIMIT);
    assert_int_equal(verdict_on(QN_FRAME_BATCH, 0, 100, 100), QN_FRAMES_WANT);
    assert_int_equal(verdict_on(QN_FRAME_START, 0, 0, most), QN_FRAMES_BROKEN); /* ours to send */
    assert_int_equal(verdict_on(QN_FRAME_INPUT, 0, 0, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(0, 0, 0, most), QN_FRAMES_BROKEN);
    assert_int_equal(verdict_on(UINT32_MAX, 0, 0, most), QN_FRAMES_BROKEN);
}

/* Memory grows with what has come. */
static void frames__do_not_believe_the_size_that_is_announced(void **state)
{
    (void)state;
    const struct qn_frame head = { .kind = QN_FRAME_BATCH, .size = QN_FRAME_MAX_FROM_RUN };
    struct qn_frames frames;
    struct qn_frame_taken frame = { 0 };
    size_t room = 0;
    assert_int_equal(qn_frames_init(&frames, NULL), QN_OK);
    memcpy(qn_frames_room(&frames, &room), &head, sizeof head);
    qn_frames_filled(&frames, sizeof head);
    size_t come = 0;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(qn_frames_take(&frames, &frame, NULL), QN_FRAMES_WANT);
        memset(qn_frames_room(&frames, &room), 0, 1);
        assert_true(frames.capacity <= 2 * (come + (64 << 10)));
        size_t piece = room < 100000 ? room : 100000;
        memset(qn_frames_room(&frames, &room), 0, piece);
        qn_frames_filled(&frames, piece);
        come += piece;
    }
    assert_true(qn_frames_torn(&frames));
    qn_frames_dispose(&frames);
}

/* An end that closes without having read what it got resets the other: what it said before is not lost. */
static void channel__hears_the_last_words_of_one_that_has_not_listened(void **state)
{
    (void)state;
    for (int with_fd = 0; with_fd < 2; with_fd++) {
        int ends[2];
        char said[8] = "";
        int fd = -1;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        assert_int_equal(send(ends[0], "x", 1, MSG_NOSIGNAL), 1);
        assert_int_equal(send(ends[1], "words", 5, MSG_NOSIGNAL), 5);
        (void)close(ends[1]);
        ssize_t got = with_fd ? qn_channel_receive_fd(ends[0], said, sizeof said, &fd)
                              : qn_channel_receive(ends[0], said, sizeof said);
        assert_int_equal(got, 5);
        assert_memory_equal(said, "words", 5);
        assert_int_equal(qn_channel_receive(ends[0], said, sizeof said), 0);
        (void)close(ends[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames__come_out_whatever_the_pieces),
        cmocka_unit_test(frames__have_sizes_of_their_kind),
        cmocka_unit_test(frames__do_not_believe_the_size_that_is_announced),
        cmocka_unit_test(channel__hears_the_last_words_of_one_that_has_not_listened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
