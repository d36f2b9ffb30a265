/* utf8.h: UTF-8 as RFC 3629 has it: no overlong forms, no surrogates,
 * nothing above U+10FFFF. */

#ifndef HIVE_UTF8_H
#define HIVE_UTF8_H

#include <stddef.h>

/* Nonzero when all of it is well-formed. ASCII runs at word speed. */
int utf8_valid(const char *data, size_t len);

/* Characters (code points) in well-formed text. */
size_t utf8_length(const char *data, size_t len);

#endif
