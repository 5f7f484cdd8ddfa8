/* CRC-32C against the values of RFC 3720, appendix B.4. */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void crc32c__is_that_of_the_standard(void **state)
{
    (void)state;
    uint8_t bytes[32] = { 0 };
    assert_int_equal(qn_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(qn_crc32c(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(qn_crc32c(0, bytes, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(qn_crc32c(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(qn_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(qn_crc32c(0, bytes, 0), 0);
}

static void crc32c__of_pieces_is_that_of_the_whole(void **state)
{
    (void)state;
    static const char text[] = "whatever is cut anywhere stays what it was";
    uint32_t whole = qn_crc32c(0, text, sizeof text);
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        assert_int_equal(qn_crc32c(qn_crc32c(0, text, cut), text + cut, sizeof text - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c__is_that_of_the_standard),
        cmocka_unit_test(crc32c__of_pieces_is_that_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
