-- Deploy hive:idempotency to pg

begin;

-- A request that came with an Idempotency-Key and the reply it was given.
-- `status` null: still running, seen by its own transaction only.
-- `fingerprint` is an HMAC-SHA256 of what was asked, so that a key used for
-- something else is noticed. The user is zero for requests of nobody in
-- particular (register). No reference to users: rows live for a day, and
-- the reference would lock the user's row on every POST.
create table :"cell".idempotency_keys (
    user_id     uuid not null,
    key         text not null,
    operation   text not null,
    fingerprint bytea not null,
    status      smallint,
    headers     jsonb,
    body        text,
    created_at  timestamptz not null default now(),
    primary key (user_id, key),
    constraint idempotency_keys_key_check check (
        length(key) between 1 and 255),
    constraint idempotency_keys_fingerprint_check check (
        octet_length(fingerprint) = 32),
    constraint idempotency_keys_status_check check (
        status between 200 and 299),
    constraint idempotency_keys_reply_check check (
        status is not null or (headers is null and body is null)),
    constraint idempotency_keys_headers_check check (
        jsonb_typeof(headers) = 'object')
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- What has ended its day is found by it.
create index idempotency_keys_created on :"cell".idempotency_keys (created_at);

grant select, insert, update, delete on :"cell".idempotency_keys to hive;

commit;
