/*
 * utf8_lookup.h: validation by table lookups on vectors, after J. Keiser and D. Lemire, "Validating UTF-8 In Less Than
 * One Instruction Per Byte" (Software: Practice and Experience, 2021).
 *
 * A template, without a guard: utf8.c includes it once for each instruction set, after its tables and STEP. Before each
 * it defines NAME(x), TARGET (the function attribute), VECTOR, LANES (bytes in one) and the operations V_LOAD, V_TABLE,
 * V_SPLAT, V_AND, V_OR, V_XOR, V_MINUS (saturating), V_UPPER_HALF, V_LOOKUP, V_BEFORE, V_ANY_HIGH and V_ANY; they are
 * taken back at the end, so that the next can define its own. Gives NAME(valid). Included alone it gives nothing.
 *
 * Every wrong pair of neighbours shows in the upper half of the first byte, its lower half and the upper half of the
 * second. Three tables give for each half the set of mistakes that it allows; a mistake is there where all three agree.
 * What spans three or four bytes shows as two continuations in a row, right only two or three places after a lead of
 * that length.
 */
#ifdef NAME

TARGET static inline VECTOR NAME(pair_mistakes)(VECTOR bytes, VECTOR before)
{
    VECTOR first = V_BEFORE(bytes, before, 1);
    VECTOR upper = V_LOOKUP(V_TABLE(first_upper), V_UPPER_HALF(first));
    VECTOR lower = V_LOOKUP(V_TABLE(first_lower), V_AND(first, V_SPLAT(0x0F)));
    VECTOR second = V_LOOKUP(V_TABLE(second_upper), V_UPPER_HALF(bytes));
    return V_AND(V_AND(upper, lower), second);
}

TARGET static inline VECTOR NAME(mistakes)(VECTOR bytes, VECTOR before)
{
    VECTOR third = V_MINUS(V_BEFORE(bytes, before, 2), V_SPLAT(0xE0 - 0x80));
    VECTOR fourth = V_MINUS(V_BEFORE(bytes, before, 3), V_SPLAT(0xF0 - 0x80));
    /* The top bit stands where a third or fourth byte has to be, as that of TWO_CONTINUATIONS where one is. */
    VECTOR wanted = V_AND(V_OR(third, fourth), V_SPLAT(0x80));
    return V_XOR(NAME(pair_mistakes)(bytes, before), wanted);
}

/* Not zero where the last bytes begin a character that they do not end. */
TARGET static inline VECTOR NAME(unfinished)(VECTOR bytes)
{
    return V_MINUS(bytes, V_LOAD(last_bytes + sizeof last_bytes - LANES));
}

TARGET static bool NAME(valid)(const uint8_t *bytes, size_t size)
{
    VECTOR wrong = V_SPLAT(0);
    VECTOR before = V_SPLAT(0);
    size_t i = 0;
    for (; size - i >= STEP; i += STEP) {
        VECTOR parts[STEP / LANES];
        VECTOR all = V_SPLAT(0);
        for (size_t part = 0; part < STEP / LANES; part++) {
            parts[part] = V_LOAD(bytes + i + part * LANES);
            all = V_OR(all, parts[part]);
        }
        if (QN_LIKELY(!V_ANY_HIGH(all))) {
            wrong = V_OR(wrong, NAME(unfinished)(before));
            before = all; /* what stands before now is ASCII: which letters does not matter */
            continue;
        }
        for (size_t part = 0; part < STEP / LANES; part++) {
            wrong = V_OR(wrong, NAME(mistakes)(parts[part], before));
            before = parts[part];
        }
    }
    for (; size - i >= LANES; i += LANES) {
        VECTOR part = V_LOAD(bytes + i);
        wrong = V_OR(wrong, NAME(mistakes)(part, before));
        before = part;
    }
    if (i < size) {
        uint8_t rest[LANES] = { 0 };
        memcpy(rest, bytes + i, size - i);
        wrong = V_OR(wrong, NAME(mistakes)(V_LOAD(rest), before));
        return !V_ANY(wrong); /* a zero stands at the end: nothing is unfinished */
    }
    return !V_ANY(V_OR(wrong, NAME(unfinished)(before)));
}

#undef NAME
#undef TARGET
#undef VECTOR
#undef LANES
#undef V_LOAD
#undef V_TABLE
#undef V_SPLAT
#undef V_AND
#undef V_OR
#undef V_XOR
#undef V_MINUS
#undef V_UPPER_HALF
#undef V_LOOKUP
#undef V_BEFORE
#undef V_ANY_HIGH
#undef V_ANY

#endif
