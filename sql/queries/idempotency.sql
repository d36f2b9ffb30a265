-- Idempotency keys, kept for 24 hours. $1 is the caller, the zero uuid for
-- nobody (register).

-- name: idempotency_claim
-- A row when user $1 may run operation $3 under key $2 with fingerprint $4.
-- No row: the key is taken. Waits while another transaction holds it.
insert into idempotency_keys as k (user_id, key, operation, fingerprint)
values ($1::uuid, $2::text, $3::text, $4::bytea)
on conflict (user_id, key) do update
set operation = excluded.operation, fingerprint = excluded.fingerprint,
    status = null, headers = null, body = null, created_at = now()
where k.created_at <= now() - interval '24 hours'
returning true as claimed

-- name: idempotency_replay
-- The reply stored under key $2 of user $1, and whether it is that of the
-- fingerprint $3. No row: none is.
select fingerprint = $3::bytea as same, status::int as status,
       headers, body
from idempotency_keys
where user_id = $1::uuid and key = $2::text and status is not null

-- name: idempotency_store
-- Stores the reply to the request that claimed key $2 of user $1.
update idempotency_keys
set status = $3::smallint, headers = $4::jsonb, body = $5::text
where user_id = $1::uuid and key = $2::text

-- name: idempotency_sweep
-- Deletes at most $1 expired keys that nobody is working on.
delete from idempotency_keys
where (user_id, key) in (
    select user_id, key from idempotency_keys
    where created_at <= now() - interval '24 hours'
    order by created_at
    limit $1::int
    for update skip locked)
