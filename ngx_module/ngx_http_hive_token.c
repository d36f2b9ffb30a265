
/*
 * Bearer tokens. Checking a signature takes 10 to 100 us, so verified tokens
 * are kept, by the SHA-256 of their text, the least recently used leaving
 * first, none beyond its time.
 */


#include "ngx_http_hive.h"

#include <jansson.h>
#include <openssl/evp.h>


struct ngx_http_hive_tokens_s {
    ngx_uint_t                mask;
    ngx_uint_t                count;
    ngx_uint_t                max;
    ngx_queue_t               lru;              /* most recent first */
    ngx_http_hive_token_t   **buckets;
    EVP_MD                   *md;
    EVP_MD_CTX               *md_ctx;
};


static ngx_int_t ngx_http_hive_bearer(ngx_http_request_t *r,
    ngx_str_t *bearer);
static ngx_int_t ngx_http_hive_digest(ngx_http_hive_tokens_t *tokens,
    ngx_str_t *text, u_char *digest);
static ngx_http_hive_token_t **ngx_http_hive_bucket(
    ngx_http_hive_tokens_t *tokens, u_char *digest);
static void ngx_http_hive_token_free(ngx_http_hive_tokens_t *tokens,
    ngx_http_hive_token_t *token);
static jws_status_t ngx_http_hive_verify(ngx_http_hive_main_conf_t *hmcf,
    ngx_str_t *text, u_char *digest, ngx_http_hive_token_t **token);
static ngx_http_hive_token_t *ngx_http_hive_principal(json_t *claims);
static json_t *ngx_http_hive_whoami(json_t *claims);
static json_t *ngx_http_hive_json_time(json_t *value);


ngx_int_t
ngx_http_hive_tokens_init(ngx_cycle_t *cycle, ngx_http_hive_main_conf_t *hmcf)
{
    ngx_uint_t               n;
    ngx_http_hive_tokens_t  *tokens;

    tokens = ngx_pcalloc(cycle->pool, sizeof(ngx_http_hive_tokens_t));
    if (tokens == NULL) {
        return NGX_ERROR;
    }

    for (n = 1; n < hmcf->token_cache; n *= 2) {
        /* void */
    }

    tokens->buckets = ngx_pcalloc(cycle->pool,
                                  n * sizeof(ngx_http_hive_token_t *));
    if (tokens->buckets == NULL) {
        return NGX_ERROR;
    }

    tokens->mask = n - 1;
    tokens->max = hmcf->token_cache;

    ngx_queue_init(&tokens->lru);

    tokens->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    tokens->md_ctx = EVP_MD_CTX_new();

    if (tokens->md == NULL || tokens->md_ctx == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "SHA-256 is not available");
        return NGX_ERROR;
    }

    hmcf->tokens = tokens;

    return NGX_OK;
}


void
ngx_http_hive_tokens_exit(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_queue_t             *q;
    ngx_http_hive_tokens_t  *tokens;

    tokens = hmcf->tokens;

    if (tokens == NULL) {
        return;
    }

    while (!ngx_queue_empty(&tokens->lru)) {
        q = ngx_queue_last(&tokens->lru);
        ngx_http_hive_token_free(tokens,
                             ngx_queue_data(q, ngx_http_hive_token_t, lru));
    }

    EVP_MD_CTX_free(tokens->md_ctx);
    EVP_MD_free(tokens->md);
}


ngx_int_t
ngx_http_hive_token(ngx_http_request_t *r, ngx_http_hive_main_conf_t *hmcf,
    ngx_http_hive_token_t **token, jws_status_t *reason)
{
    ngx_str_t  text;

    if (ngx_http_hive_bearer(r, &text) != NGX_OK) {
        return NGX_DECLINED;
    }

    return ngx_http_hive_token_text(hmcf, &text, token, reason);
}


ngx_int_t
ngx_http_hive_token_text(ngx_http_hive_main_conf_t *hmcf, ngx_str_t *text,
    ngx_http_hive_token_t **token, jws_status_t *reason)
{
    u_char                   digest[32];
    ngx_http_hive_token_t   *t;
    ngx_http_hive_tokens_t  *tokens;

    tokens = hmcf->tokens;

    if (text->len > JWS_TOKEN_MAX) {
        *reason = JWS_MALFORMED;
        goto refused;
    }

    if (ngx_http_hive_digest(tokens, text, digest) != NGX_OK) {
        *reason = JWS_NOMEM;
        return NGX_ABORT;
    }

    for (t = *ngx_http_hive_bucket(tokens, digest); t; t = t->next) {
        if (ngx_memcmp(t->digest, digest, sizeof(digest)) == 0) {
            break;
        }
    }

    if (t) {
        if (t->expires + hmcf->leeway <= ngx_time()) {
            ngx_http_hive_token_free(tokens, t);
            *reason = JWS_EXPIRED;
            goto refused;
        }

        ngx_queue_remove(&t->lru);
        ngx_queue_insert_head(&tokens->lru, &t->lru);

        ngx_http_hive_count(hmcf, token_hits);

        *token = t;

        return NGX_OK;
    }

    ngx_http_hive_count(hmcf, token_misses);

    *reason = ngx_http_hive_verify(hmcf, text, digest, token);

    if (*reason == JWS_OK) {
        return NGX_OK;
    }

refused:

    ngx_http_hive_count(hmcf, token_refused);

    return NGX_ABORT;
}


static ngx_int_t
ngx_http_hive_bearer(ngx_http_request_t *r, ngx_str_t *bearer)
{
    u_char           *p, *last;
    ngx_table_elt_t  *h;

    h = r->headers_in.authorization;

    if (h == NULL || h->value.len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(h->value.data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           != 0)
    {
        return NGX_DECLINED;
    }

    p = h->value.data + sizeof("Bearer ") - 1;
    last = h->value.data + h->value.len;

    while (p < last && *p == ' ') {
        p++;
    }

    bearer->data = p;
    bearer->len = last - p;

    return bearer->len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_digest(ngx_http_hive_tokens_t *tokens, ngx_str_t *text,
    u_char *digest)
{
    if (EVP_DigestInit_ex2(tokens->md_ctx, tokens->md, NULL) != 1
        || EVP_DigestUpdate(tokens->md_ctx, text->data, text->len) != 1
        || EVP_DigestFinal_ex(tokens->md_ctx, digest, NULL) != 1)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_http_hive_token_t **
ngx_http_hive_bucket(ngx_http_hive_tokens_t *tokens, u_char *digest)
{
    ngx_uint_t  hash;

    ngx_memcpy(&hash, digest, sizeof(ngx_uint_t));

    return &tokens->buckets[hash & tokens->mask];
}


static void
ngx_http_hive_token_free(ngx_http_hive_tokens_t *tokens,
    ngx_http_hive_token_t *token)
{
    ngx_http_hive_token_t  **p;

    p = ngx_http_hive_bucket(tokens, token->digest);

    while (*p != token) {
        p = (ngx_http_hive_token_t **) &(*p)->next;
    }

    *p = token->next;

    ngx_queue_remove(&token->lru);
    tokens->count--;

    ngx_free(token);
}


static jws_status_t
ngx_http_hive_verify(ngx_http_hive_main_conf_t *hmcf, ngx_str_t *text,
    u_char *digest, ngx_http_hive_token_t **token)
{
    json_t                   *claims;
    ngx_queue_t              *q;
    jws_expect_t              expect;
    jws_status_t              status;
    ngx_http_hive_token_t    *t, **bucket;
    ngx_http_hive_tokens_t   *tokens;

    expect.issuer = (char *) hmcf->issuer.data;
    expect.audience = (char *) hmcf->audience.data;
    expect.type = "JWT";
    expect.now = ngx_time();
    expect.leeway = (int) hmcf->leeway;

    status = jws_verify(hmcf->keys, (char *) text->data, text->len, &expect,
                        &claims);

    if (status != JWS_OK) {
        return status;
    }

    t = ngx_http_hive_principal(claims);

    json_decref(claims);

    if (t == NULL) {
        return JWS_MALFORMED;
    }

    tokens = hmcf->tokens;

    if (tokens->count == tokens->max) {
        q = ngx_queue_last(&tokens->lru);
        ngx_http_hive_token_free(tokens,
                             ngx_queue_data(q, ngx_http_hive_token_t, lru));
    }

    ngx_memcpy(t->digest, digest, sizeof(t->digest));

    bucket = ngx_http_hive_bucket(tokens, digest);
    t->next = *bucket;
    *bucket = t;

    ngx_queue_insert_head(&tokens->lru, &t->lru);
    tokens->count++;

    *token = t;

    return JWS_OK;
}


/* NULL when the claims do not say who it is. */
static ngx_http_hive_token_t *
ngx_http_hive_principal(json_t *claims)
{
    char                   *text;
    size_t                  len;
    json_t                 *sub, *sid, *whoami;
    hive_uuid_t             user, session;
    ngx_http_hive_token_t  *t;

    sub = json_object_get(claims, "sub");
    sid = json_object_get(claims, "sid");

    if (!json_is_string(sub) || !json_is_string(sid)
        || uuid_parse(json_string_value(sub), json_string_length(sub), &user)
           != 0
        || uuid_parse(json_string_value(sid), json_string_length(sid),
                      &session)
           != 0)
    {
        return NULL;
    }

    whoami = ngx_http_hive_whoami(claims);
    text = whoami ? json_dumps(whoami, JSON_COMPACT) : NULL;

    json_decref(whoami);

    if (text == NULL) {
        return NULL;
    }

    len = ngx_strlen(text);

    t = ngx_calloc(sizeof(ngx_http_hive_token_t) + len,
                   ngx_cycle->log);
    if (t) {
        t->expires = (time_t) json_number_value(json_object_get(claims,
                                                                "exp"));
        t->user = user;
        t->session = session;
        t->principal = WIRE_SIGNED_IN
                       | (json_is_true(json_object_get(claims, "superuser"))
                          ? WIRE_SUPERUSER : 0);

        ngx_memcpy(t->whoami, text, len);
        t->whoami_len = len;
    }

    ngx_free(text);

    return t;
}


static json_t *
ngx_http_hive_whoami(json_t *claims)
{
    json_t  *email, *name;

    email = json_object_get(claims, "email");
    name = json_object_get(claims, "name");

    return json_pack("{s:O, s:O?, s:O?, s:b, s:O, s:o, s:o}",
                     "user_id", json_object_get(claims, "sub"),
                     "email", json_is_string(email) ? email : NULL,
                     "name", json_is_string(name) ? name : NULL,
                     "is_superuser",
                     json_is_true(json_object_get(claims, "superuser")),
                     "session_id", json_object_get(claims, "sid"),
                     "issued_at",
                     ngx_http_hive_json_time(json_object_get(claims, "iat")),
                     "expires_at",
                     ngx_http_hive_json_time(json_object_get(claims, "exp")));
}


static json_t *
ngx_http_hive_json_time(json_t *value)
{
    u_char    text[sizeof("1970-01-01T00:00:00Z") + NGX_INT_T_LEN];
    ngx_tm_t  tm;

    if (!json_is_number(value)) {
        return json_null();
    }

    ngx_gmtime((time_t) json_number_value(value), &tm);

    ngx_sprintf(text, "%4d-%02d-%02dT%02d:%02d:%02dZ%Z",
                tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);

    return json_string((char *) text);
}
