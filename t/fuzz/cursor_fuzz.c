/* cursor_fuzz.c: whatever text is handed back as a cursor, it is refused or it
 * is the one text of the cursor it decodes to. The input is tried as text,
 * and as the bytes of a cursor that is then encoded, damaged and decoded. */

#include "workers/db/cursor.h"

#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void) argc;
    (void) argv;
    cursor_init(SLICE("the secret of the fuzz target"));
    return 0;
}

static void
expect(int condition)
{
    if (!condition) {
        abort();
    }
}

static void
check_text(slice_t text)
{
    static uint8_t scratch[CURSOR_BYTES_MAX];
    static char again[CURSOR_TEXT_MAX];
    cursor_t cursor;

    if (cursor_decode(text, scratch, &cursor) == 0) {
        expect(cursor_encode(&cursor, again) == text.len);
        expect(memcmp(again, text.data, text.len) == 0);
    }
}

static void
check_round_trip(const uint8_t *data, size_t size)
{
    static uint8_t scratch[CURSOR_BYTES_MAX];
    static char text[CURSOR_TEXT_MAX];
    cursor_t cursor = { 0 }, decoded;
    size_t len;
    uint8_t place;

    if (size < 26 || size - 26 > CURSOR_KEY_MAX) {
        return;
    }
    place = data[0];
    cursor.null = data[1] & 1;
    memcpy(&cursor.shape, data + 2, 8);
    memcpy(cursor.id.bytes, data + 10, 16);
    if (!cursor.null) {
        cursor.key = (slice_t) { (const char *) data + 26, size - 26 };
    }
    len = cursor_encode(&cursor, text);
    expect(len <= sizeof(text));
    expect(cursor_decode((slice_t) { text, len }, scratch, &decoded) == 0);
    expect(decoded.null == cursor.null && decoded.shape == cursor.shape);
    expect(uuid_equal(&decoded.id, &cursor.id));
    expect(slice_equal(decoded.key, cursor.key));
    text[place % len] = text[place % len] == 'A' ? 'B' : 'A';
    expect(cursor_decode((slice_t) { text, len }, scratch, &decoded) == -1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text((slice_t) { (const char *) data, size });
    check_round_trip(data, size);
    return 0;
}
