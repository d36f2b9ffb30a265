/* tokens.h: how many tokens a text is, estimated without a vocabulary: a scan
 * by classes of bytes, within about -8 to +27 % of o200k_base on prose, code,
 * JSON and other scripts (reference/llm.md, section 5). */

#ifndef HIVE_TOKENS_H
#define HIVE_TOKENS_H

#include "common/slice.h"

#include <jansson.h>
#include <stdint.h>

int64_t tokens_of_text(slice_t text);

/* Of all strings in it, names of members and what holds them together. */
int64_t tokens_of_json(const json_t *json);

/* What a message takes beside its content. */
#define TOKENS_PER_MESSAGE 4

#endif
