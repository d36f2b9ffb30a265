/* policy.c: which new passwords are refused (password.h).
 *
 * No rules of composition (NIST SP 800-63B, 5.1.1.2; OWASP ASVS 5.0, 6.2):
 * a length, a list of what is guessed first, and words of this context. What
 * such a word is padded with does not count unless it is a password's worth
 * of itself. */

#include "password.h"

#include <stdlib.h>
#include <string.h>

/* What must be left of a password without the guessable word in it. */
#define REST_MIN 6

/* The commonest, lower case, sorted by bytes (bsearch). Those too short to
 * pass by themselves are here for what people add to them: "summer2024!". */
static const char *const common[] = {
    "00000000", "0000000000", "01234567", "012345678", "0123456789",
    "0987654321", "1029384756", "11111111", "111111111", "1111111111",
    "11112222", "11223344", "1122334455", "12121212", "12312312", "123123123",
    "1231231234", "12341234", "12344321", "1234512345", "123454321",
    "123456123", "123456123456", "12345678", "123456789", "1234567890",
    "12345678900", "12345678910", "123456789a", "123456789q", "12345678a",
    "12345678q", "1234567a", "1234567q", "123456aa", "123456ab", "123456abc",
    "123456qwe", "1234abcd", "1234qwer", "123abc123", "123qwe123", "123qweasd",
    "123qweasdzxc", "13131313", "147258369", "147852369", "159357159",
    "159753159", "1a2b3c4d", "1a2b3c4d5e", "1q1q1q1q", "1q2w3e4r",
    "1q2w3e4r5t", "1q2w3e4r5t6y", "1qaz1qaz", "1qaz2wsx", "1qaz2wsx3edc",
    "1qazxsw2", "22222222", "222222222", "23232323", "31415926", "33333333",
    "44444444", "55555555", "66666666", "77777777", "789456123", "87654321",
    "88888888", "963852741", "987654321", "9876543210", "99999999",
    "999999999", "a1234567", "a12345678", "a123456789", "a1b2c3d4", "a1s2d3f4",
    "aa123456", "aa12345678", "aaaaaaaa", "aaaaaaaaaa", "abc", "abc12345",
    "abc123456", "abc123abc", "abcabcabc", "abcd", "abcd1234", "abcd12345",
    "abcde12345", "abcdef", "abcdefg1", "abcdefgh", "abcdefghi", "abcdefghij",
    "access", "access14", "admin", "adminadmin", "administrator", "alexander",
    "alexandra", "anderson", "andrew", "angel", "angelica", "anthony1",
    "apple", "april", "arsenal1", "asdasdasd", "asdf", "asdf1234", "asdfasdf",
    "asdfgh", "asdfghjk", "asdfghjkl", "asdfghjkl1", "asdfqwer", "asdqwe123",
    "ashley", "august", "autumn", "babygirl", "babygirl1", "banana",
    "baseball", "baseball1", "basketball", "batman", "beautiful", "benjamin",
    "berlin", "bismillah", "blink182", "bluebird", "brooklyn", "butterfly",
    "butterfly1", "caroline", "changeit", "changeme", "changethis", "charlie",
    "charlie1", "charlotte", "cheese", "chelsea1", "chocolate", "chocolate1",
    "christian", "christina", "christine", "christmas", "christopher",
    "colorado", "computer", "computer1", "consumer", "cookie", "correcthorse",
    "correcthorsebatterystaple", "corvette", "courtney", "cristina", "dallas",
    "daniel", "danielle", "database", "debian", "december", "default",
    "default1", "diamond1", "docker", "dolphin1", "dolphins", "dragon",
    "dragon12", "dragonball", "einstein", "elephant", "elizabeth", "explorer",
    "facebook", "february", "fernando", "ferrari", "fireball", "firebird",
    "firefighter", "florence", "flower", "football", "football1", "forever",
    "forever1", "formula1", "franklin", "freedom", "freedom1", "friday",
    "friendly", "friends1", "fuckyou1", "garfield", "george", "gfhjkmgfhjkm",
    "ginger", "golden", "goldfish", "google", "guardian", "guest", "hello",
    "hello123", "hellohello", "hellokitty", "hercules", "hibernia", "hockey",
    "hunter", "iloveyou", "iloveyou!", "iloveyou1", "iloveyou2", "infinity",
    "internet", "isabella", "isabelle", "january", "jennifer", "jessica",
    "jessica1", "johncena", "jonathan", "jordan", "jordan23", "joshua", "july",
    "june", "justin01", "katherine", "killer", "kimberly", "kristina",
    "lebron23", "letmein", "letmein1", "letmein123", "letmeinnow", "linkedin",
    "linux", "liverpool", "liverpool1", "login", "lollipop", "london", "love",
    "lovelove", "lovely", "loveyou1", "magdalena", "manchester", "march",
    "marlboro", "maryjane", "master", "masterkey", "matthew", "maverick",
    "mercedes", "metallica", "michael", "michael1", "michelle", "michigan",
    "microsoft", "midnight", "minecraft", "monday", "monkey", "monkey123",
    "mountain", "mustang", "mustang1", "mypassword", "mysql", "nginx",
    "nicholas", "nintendo", "nothing1", "november", "october", "oracle",
    "orange", "p@$$w0rd", "p@55w0rd", "p@ssw0rd", "p@ssword", "pa$$w0rd",
    "pa55word", "panasonic", "paradise", "paris", "pass", "passpass",
    "passw0rd", "passwd", "password", "password!", "password1", "password12",
    "password123", "password1234", "passwordpassword", "patricia", "peaches1",
    "pepper", "personal", "phoenix1", "platinum", "playstation", "pokemon1",
    "porsche", "porsche1", "portugal", "postgres", "postgresql", "precious",
    "predator", "princesa", "princess", "princess1", "purple", "q1w2e3r4",
    "q1w2e3r4t5", "q1w2e3r4t5y6", "qawsedrf", "qazwsx123", "qazwsxedc",
    "qazxswedc", "qq123456", "qqqqqqqq", "qwaszx12", "qwe123qwe", "qweasdzxc",
    "qweqweqwe", "qwer1234", "qwerasdf", "qwerqwer", "qwert", "qwert123",
    "qwert12345", "qwerty", "qwerty12", "qwerty123", "qwerty1234",
    "qwerty12345", "qwerty123456", "qwertyqwerty", "qwertyui", "qwertyuio",
    "qwertyuiop", "rainbow1", "ranger", "rangers1", "realmadrid", "remember",
    "robert", "rockstar", "root", "rootroot", "rush2112", "samantha",
    "samsung", "samsung1", "santiago", "scarface", "scorpion", "sebastian",
    "secret", "secret123", "secretsecret", "security", "september", "serenity",
    "server", "shadow", "shithead", "silver", "slipknot", "snickers",
    "snowball", "soccer", "spiderman", "spongebob", "spring", "startrek",
    "starwars", "stephanie", "summer", "sunday", "sunflower", "sunshine",
    "sunshine1", "superman", "superman1", "superstar", "sweetheart",
    "swordfish", "system", "temppass", "tennis12", "test", "test1234",
    "testing", "testtest", "thomas", "thomas12", "thunder1", "tinkerbell",
    "tottenham", "trustno1", "ubuntu", "undefined", "undertaker", "user",
    "valentina", "vanessa1", "veronica", "victoria", "wallpaper", "warcraft",
    "warriors", "welcome", "welcome1", "welcome123", "westside", "whatever",
    "whatever1", "william1", "williams", "windows", "winston1", "winter",
    "wolverine", "wordpass", "xxxxxxxx", "yankees1", "yourmom1", "zaq12wsx",
    "zaq1zaq1", "zaqxswcde", "zxcvbn", "zxcvbnm", "zxcvbnm1", "zxcvbnm123",
    "zxcvbnmzxcvbnm", "zzzzzzzz"
};

static int
common_compare(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *) item);
}

static int
is_common(const char *lower)
{
    return bsearch(lower, common, sizeof(common) / sizeof(common[0]),
               sizeof(common[0]), common_compare) != NULL;
}

static char
lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c | 0x20) : c;
}

static int
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c & 0x80) != 0;
}

/* Whether `word` (any case) is in `text` (lower) and leaves fewer than
 * REST_MIN characters when each occurrence is taken out. */
static int
is_mostly(const char *text, size_t len, slice_t word)
{
    size_t rest = 0;
    int found = 0;

    if (word.len < 3) {
        return 0;
    }
    for (size_t i = 0; i < len; ) {
        size_t n = 0;

        while (n < word.len && i + n < len
               && text[i + n] == lower_of(word.data[n]))
        {
            n++;
        }
        if (n == word.len) {
            found = 1;
            i += n;
        } else {
            rest++;
            i++;
        }
    }
    return found && rest < REST_MIN;
}

const char *
password_refused(slice_t password, slice_t email, const char **why)
{
    char lower[PASSWORD_MAX + 1];
    const char *at;
    size_t len = password.len;
    slice_t local = email;

    if (len < PASSWORD_MIN) {
        *why = "must have at least 8 bytes";
        return "too_short";
    }
    if (len > PASSWORD_MAX) {
        *why = "must have at most 1024 bytes";
        return "too_long";
    }

    for (size_t i = 0; i < len; i++) {
        lower[i] = lower_of(password.data[i]);
    }
    lower[len] = '\0';
    at = email.len > 0 ? memchr(email.data, '@', email.len) : NULL;
    if (at != NULL) {
        local.len = (size_t) (at - email.data);
    }

    if (is_mostly(lower, len, SLICE("hive")) || is_mostly(lower, len, email)
        || is_mostly(lower, len, local))
    {
        *why = "is little more than the name of this service or yours";
        return "too_guessable";
    }

    *why = "is one of the commonest passwords";
    if (is_common(lower)) {
        return "too_common";
    }
    for (size_t cut = 1; cut < REST_MIN && cut < len; cut++) {
        if (is_letter(lower[len - cut])) {
            break;
        }
        lower[len - cut] = '\0';
        if (is_common(lower)) {
            return "too_common";
        }
    }
    *why = NULL;
    return NULL;
}
