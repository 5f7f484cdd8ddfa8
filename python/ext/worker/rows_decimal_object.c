/*
 * rows_decimal_object.c: decimal.Decimal objects read and made without a text in between.
 *
 * CPython has no C API for Decimal, so this knows how its C implementation lays one out: the hash, then libmpdec's mpd_t (sign
 * and kinds of specials in flags, exponent, digits, words of 19 digits), then four words inside of the object. That is no
 * promise of anybody's: it is checked when the worker starts, on numbers whose fields and texts are known, and where one thing
 * differs every decimal goes the way of its text. Only finite numbers of one or two words are handled here.
 *
 *   PyObject_HEAD, hash (8), flags (1, padded to 8), exponent (8), digits (8), words used (8), words there (8),
 *   pointer to the words (8), four words (32)
 */
#include "rows_private.h"

#include <string.h>

#define SPECIAL     0x0E /* infinity, NaN, signalling NaN */
#define NEGATIVE    0x01
#define WORD_DIGITS 19
#define WORD_BASE   UINT64_C(10000000000000000000)
#define OWN_WORDS   4

struct decimal_object {
    PyObject_HEAD
    Py_hash_t hash;
    struct {
        uint8_t flags;
        Py_ssize_t exponent, digits, used, there;
        uint64_t *words;
    } number;
    uint64_t own[OWN_WORDS];
};

static bool known_layout;           /* the checks have passed */
static struct decimal_object model; /* a zero: its flags say whose the memory is */

/* ---- reading ---- */

bool rows__decimal_read(PyObject *decimal, int scale, int precision, qn_int128 *out)
{
    const struct decimal_object *object = (const struct decimal_object *)decimal;
    if (!known_layout || (object->number.flags & SPECIAL) != 0 || object->number.used > 2 || object->number.used < 1) {
        return false;
    }
    qn_uint128 value = object->number.words[0];
    if (object->number.used == 2) {
        value += (qn_uint128)object->number.words[1] * WORD_BASE;
    }
    Py_ssize_t shift = object->number.exponent + scale; /* exponents are far from overflow: libmpdec bounds them */
    if (value != 0 && shift != 0) {
        if (shift < -QN_DECIMAL_MAX_DIGITS || shift > QN_DECIMAL_MAX_DIGITS ||
            object->number.digits + shift > QN_DECIMAL_MAX_DIGITS) {
            return false;
        }
        qn_uint128 power = (qn_uint128)qn_decimal_power((int)(shift < 0 ? -shift : shift));
        if (shift < 0 && value % power != 0) {
            return false;
        }
        value = shift < 0 ? value / power : value * power;
    }
    if (value != 0 && object->number.digits + shift > precision) {
        return false;
    }
    *out = (object->number.flags & NEGATIVE) != 0 ? -(qn_int128)value : (qn_int128)value;
    return true;
}

/* ---- making ---- */

static int count_digits(uint64_t value)
{
    int digits = 1;
    for (uint64_t power = 10; digits < WORD_DIGITS && value >= power; power *= 10) {
        digits++;
    }
    return digits;
}

PyObject *rows__decimal_make(qn_int128 value, int scale, bool *made_out)
{
    qn_uint128 magnitude = value < 0 ? -(qn_uint128)value : (qn_uint128)value;
    qn_uint128 high = magnitude <= UINT64_MAX ? (uint64_t)magnitude / WORD_BASE : magnitude / WORD_BASE;
    *made_out = known_layout && high < WORD_BASE;
    if (!*made_out) {
        return NULL;
    }
    struct decimal_object *object = (struct decimal_object *)rows__types.decimal->tp_alloc(rows__types.decimal, 0);
    if (object == NULL) {
        return NULL;
    }
    memcpy(&object->hash, &model.hash, sizeof model - offsetof(struct decimal_object, hash));
    object->number.words = object->own;
    object->own[0] = (uint64_t)(magnitude - high * WORD_BASE);
    object->own[1] = (uint64_t)high;
    object->number.flags |= value < 0 ? NEGATIVE : 0;
    object->number.exponent = -(Py_ssize_t)scale;
    object->number.used = high != 0 ? 2 : 1;
    object->number.digits = high != 0 ? WORD_DIGITS + count_digits((uint64_t)high) : count_digits(object->own[0]);
    return (PyObject *)object;
}

/* ---- the checks ---- */

struct sample {
    const char *text;
    uint8_t flags; /* of sign and specials */
    Py_ssize_t exponent, digits, used;
    uint64_t words[2];
};

static const struct sample samples[] = {
    { "0", 0, 0, 1, 1, { 0, 0 } },
    { "-1.50", NEGATIVE, -2, 3, 1, { 150, 0 } },
    { "7E+5", 0, 5, 1, 1, { 7, 0 } },
    { "9999999999999999999", 0, 0, 19, 1, { WORD_BASE - 1, 0 } },
    { "10000000000000000000", 0, 0, 20, 2, { 0, 1 } },
    { "-12345678901234567890123.4567", NEGATIVE, -4, 27, 2, { UINT64_C(9012345678901234567), 12345678 } },
    { "99999999999999999999999999999999999999", 0, 0, 38, 2, { WORD_BASE - 1, WORD_BASE - 1 } },
};

static PyObject *decimal_of(const char *text)
{
    return PyObject_CallFunction((PyObject *)rows__types.decimal, "s", text);
}

static bool has_fields(const struct decimal_object *object, const struct sample *sample)
{
    return (object->number.flags & (SPECIAL | NEGATIVE)) == sample->flags &&
           object->number.exponent == sample->exponent && object->number.digits == sample->digits &&
           object->number.used == sample->used && object->number.there == OWN_WORDS && object->hash == -1 &&
           object->number.words == object->own && object->own[0] == sample->words[0] &&
           (sample->used == 1 || object->own[1] == sample->words[1]);
}

/* What is made here says the same as what Decimal made of the text. */
static bool makes_same(PyObject *decimal, const struct sample *sample)
{
    bool made, same = false;
    qn_int128 value = (qn_int128)((qn_uint128)sample->words[1] * WORD_BASE + sample->words[0]);
    if (sample->exponent > 0) {
        return true;
    }
    PyObject *mine = rows__decimal_make(sample->flags == NEGATIVE ? -value : value, (int)-sample->exponent, &made);
    PyObject *text = mine == NULL ? NULL : PyObject_Str(mine);
    if (text != NULL) {
        same = PyUnicode_CompareWithASCIIString(text, sample->text) == 0 &&
               PyObject_RichCompareBool(mine, decimal, Py_EQ) == 1 && PyObject_Hash(mine) == PyObject_Hash(decimal);
    }
    Py_XDECREF(text);
    Py_XDECREF(mine);
    return same;
}

void rows__decimal_object_init(void)
{
    known_layout = false;
    if (rows__types.decimal->tp_basicsize != sizeof(struct decimal_object) || rows__types.decimal->tp_itemsize != 0) {
        return;
    }
    bool same = true;
    for (size_t i = 0; same && i < sizeof samples / sizeof *samples; i++) {
        PyObject *decimal = decimal_of(samples[i].text);
        same = decimal != NULL && has_fields((const struct decimal_object *)decimal, &samples[i]);
        if (same && i == 0) {
            memcpy(&model, decimal, sizeof model);
        }
        Py_XDECREF(decimal);
    }
    known_layout = same;
    for (size_t i = 0; known_layout && i < sizeof samples / sizeof *samples; i++) {
        PyObject *decimal = decimal_of(samples[i].text);
        known_layout = decimal != NULL && makes_same(decimal, &samples[i]);
        Py_XDECREF(decimal);
    }
    PyErr_Clear();
}

bool rows__decimal_object_use(bool direct)
{
    bool was = known_layout;
    if (direct) {
        rows__decimal_object_init();
    } else {
        known_layout = false;
    }
    return was;
}
