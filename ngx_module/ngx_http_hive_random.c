
/*
 * Numbers for ids, which must be unlike and need not be secret: xoshiro256++
 * (Blackman and Vigna), seeded from the kernel once in each process.
 */


#include "ngx_http_hive.h"

#include <sys/random.h>


static uint64_t   ngx_http_hive_state[4];
static ngx_pid_t  ngx_http_hive_state_pid;


#define ngx_http_hive_rotl(x, k)  (((x) << (k)) | ((x) >> (64 - (k))))


static void ngx_http_hive_seed(void);


uint64_t
ngx_http_hive_random(void)
{
    uint64_t  *s, result, t;

    if (ngx_http_hive_state_pid != ngx_pid) {
        ngx_http_hive_seed();
    }

    s = ngx_http_hive_state;

    result = ngx_http_hive_rotl(s[0] + s[3], 23) + s[0];
    t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = ngx_http_hive_rotl(s[3], 45);

    return result;
}


static void
ngx_http_hive_seed(void)
{
    struct timespec  ts;

    if (getrandom(ngx_http_hive_state, sizeof(ngx_http_hive_state), 0)
        != sizeof(ngx_http_hive_state))
    {
        clock_gettime(CLOCK_REALTIME, &ts);

        ngx_http_hive_state[0] = (uint64_t) ts.tv_nsec << 32 | ngx_pid;
        ngx_http_hive_state[1] = ts.tv_sec;
        ngx_http_hive_state[2] = (uint64_t) ngx_random() << 32;
        ngx_http_hive_state[3] = 1;
    }

    ngx_http_hive_state_pid = ngx_pid;
}
