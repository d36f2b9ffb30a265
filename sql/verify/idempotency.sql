-- Verify hive:idempotency on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.idempotency_keys', :'cell'), $$
    column user_id uuid not null
    column key text not null
    column operation text not null
    column fingerprint bytea not null
    column status smallint
    column headers jsonb
    column body text
    column created_at timestamp with time zone not null now()
    constraint idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255)))
    constraint idempotency_keys_fingerprint_check CHECK ((octet_length(fingerprint) = 32))
    constraint idempotency_keys_status_check CHECK (((status >= 200) AND (status <= 299)))
    constraint idempotency_keys_reply_check CHECK (((status IS NOT NULL) OR ((headers IS NULL) AND (body IS NULL))))
    constraint idempotency_keys_headers_check CHECK ((jsonb_typeof(headers) = 'object'::text))
    constraint idempotency_keys_pkey PRIMARY KEY (user_id, key)
    index unique idempotency_keys_pkey btree (user_id, key)
    index idempotency_keys_created btree (created_at)
    option fillfactor=80
    option autovacuum_vacuum_scale_factor=0.05
    grant select
    grant insert
    grant update
    grant delete
$$);

rollback;
