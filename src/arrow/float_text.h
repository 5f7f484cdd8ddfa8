/*
 * float_text.h: doubles and floats as decimal text of 15 to 17 (6 to 9) digits, the first that reads back as the same value.
 */
#ifndef QN_ARROW_FLOAT_TEXT_H
#define QN_ARROW_FLOAT_TEXT_H

#include <stddef.h>

#define QN_FLOAT_TEXT_SIZE 32

/* "0.1", "1e+300", "-inf", "nan", with a point whatever the locale; returns the length. */
size_t qn__float64_text(double number, char out[QN_FLOAT_TEXT_SIZE]);
size_t qn__float32_text(float number, char out[QN_FLOAT_TEXT_SIZE]);

#endif
