
/*
 * What differs between the nginx versions that Hive builds against:
 * Debian 12's 1.22 and mainline.
 */


#ifndef _NGX_HTTP_HIVE_COMPAT_H_INCLUDED_
#define _NGX_HTTP_HIVE_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* since 1.23.0 headers of one name are linked; ngx_list_push() does not zero */

#if (nginx_version >= 1023000)
#define ngx_http_hive_header_init(h)  (h)->next = NULL
#else
#define ngx_http_hive_header_init(h)
#endif


/* the requests of one HTTP/2 or HTTP/3 connection have fake connections */

#if (NGX_HTTP_V3)
#define ngx_http_hive_is_h3(r)  ((r)->http_version >= NGX_HTTP_VERSION_30)
#else
#define ngx_http_hive_is_h3(r)  0
#endif

#if (NGX_HTTP_V2)
#define ngx_http_hive_is_multiplexed(r)                                       \
    ((r)->stream != NULL || ngx_http_hive_is_h3(r))
#else
#define ngx_http_hive_is_multiplexed(r)  ngx_http_hive_is_h3(r)
#endif


#endif /* _NGX_HTTP_HIVE_COMPAT_H_INCLUDED_ */
