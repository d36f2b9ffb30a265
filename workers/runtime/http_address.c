/* http_address.c: which addresses are of the public internet (IANA special
 * purpose address registries; RFC 6890 and its updates). */

#include "http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>

typedef struct {
    uint32_t net;
    unsigned bits;
} range4_t;

static const range4_t private4[] = {
    { 0x00000000, 8 },    /* 0.0.0.0/8       this network */
    { 0x0a000000, 8 },    /* 10.0.0.0/8      private */
    { 0x64400000, 10 },   /* 100.64.0.0/10   shared */
    { 0x7f000000, 8 },    /* 127.0.0.0/8     loopback */
    { 0xa83f8110, 32 },   /* 168.63.129.16   the platform, inside Azure */
    { 0xa9fe0000, 16 },   /* 169.254.0.0/16  link-local, metadata */
    { 0xac100000, 12 },   /* 172.16.0.0/12   private */
    { 0xc0000000, 24 },   /* 192.0.0.0/24    protocol assignments */
    { 0xc0000200, 24 },   /* 192.0.2.0/24    documentation */
    { 0xc0586300, 24 },   /* 192.88.99.0/24  6to4 relays */
    { 0xc0a80000, 16 },   /* 192.168.0.0/16  private */
    { 0xc6120000, 15 },   /* 198.18.0.0/15   benchmarks */
    { 0xc6336400, 24 },   /* 198.51.100.0/24 documentation */
    { 0xcb007100, 24 },   /* 203.0.113.0/24  documentation */
    { 0xe0000000, 4 },    /* 224.0.0.0/4     multicast */
    { 0xf0000000, 4 }     /* 240.0.0.0/4     reserved, broadcast */
};

static int
address4_private(uint32_t address)
{
    size_t i;

    for (i = 0; i < sizeof(private4) / sizeof(private4[0]); i++) {
        uint32_t mask = UINT32_MAX << (32 - private4[i].bits);

        if ((address & mask) == private4[i].net) {
            return 1;
        }
    }
    return 0;
}

static uint32_t
embedded4(const uint8_t *bytes)
{
    return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16
        | (uint32_t) bytes[2] << 8 | bytes[3];
}

static int
begins(const uint8_t *address, const char *prefix, size_t len)
{
    return memcmp(address, prefix, len) == 0;
}

static int
address6_private(const uint8_t *address)
{
    if (begins(address, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)
        || begins(address, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0", 12)) {
        return address4_private(embedded4(address + 12));
    }
    /* Only 2000::/3 is handed out. */
    if ((address[0] & 0xe0) != 0x20) {
        return 1;
    }
    if (begins(address, "\x20\x02", 2)) {
        return address4_private(embedded4(address + 2));
    }
    return begins(address, "\x20\x01\x0d\xb8", 4)           /* documentation */
        || (begins(address, "\x20\x01", 2) && address[2] < 2)
                                          /* 2001::/23: Teredo, ORCHID, ... */
        || (begins(address, "\x3f\xff", 2) && address[2] < 16);
                                                /* 3fff::/20 documentation */
}

int
http_address_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, address, sizeof(in));
        return address4_private(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, address, sizeof(in6));
        return address6_private(in6.sin6_addr.s6_addr);
    }
    return 1;
}
