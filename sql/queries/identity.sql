-- name: user_by_email (read)
-- The account of address $1 in any case, with its hash (null: it has none).
select u.id, u.email, u.name, u.is_active, u.is_superuser,
       u.email_verified_at, u.created_at, u.updated_at, u.version,
       c.password_hash as _password_hash
from users u
left join credentials c on c.user_id = u.id
where lower(u.email collate "C") = lower($1::text collate "C")

-- name: user_by_id (read)
-- Account $1. No row: deleted or deactivated.
select id, email, name, is_active, is_superuser, email_verified_at,
       created_at, updated_at, version
from users
where id = $1::uuid and is_active

-- name: user_create
-- Account $1 of address $2, name $3, hash $4. No row: the address is taken.
with account as (
    insert into users (id, email, name)
    values ($1::uuid, $2::text, $3::text)
    on conflict (lower(email collate "C")) do nothing
    returning id, email, name, is_active, is_superuser, email_verified_at,
              created_at, updated_at, version
), credential as (
    insert into credentials (user_id, password_hash)
    select id, $4::text from account
)
select * from account

-- name: session_create
-- Session $1 of user $2 for $3 seconds from agent $4 at address $5; some of
-- the user's expired ones go. No row: the account is gone or deactivated.
with expired as (
    delete from sessions
    where id in (
        select id from sessions
        where user_id = $2::uuid and expires_at < now()
        order by expires_at
        limit 20
        for update skip locked)
)
insert into sessions (id, user_id, expires_at, user_agent, client_ip)
select $1::uuid, id, now() + $3::bigint * interval '1 second',
       $4::text, $5::text::inet
from users
where id = $2::uuid and is_active
returning id

-- name: session_refresh
-- The session $1 of refresh token number $2 goes on for $3 seconds, $4 at most
-- since it began. `n` is the number of the token to give out: the next, or,
-- when the last one has been given out less than $5 seconds ago and so may not
-- have arrived, that one again. Whoever presents an older one has a copy: then
-- the session ends, and `n` is null. No row: it had ended, or the account is
-- gone or deactivated.
with s as (
    select s.id, s.user_id, s.refresh_n,
           case when s.refresh_n = $2::bigint then s.refresh_n + 1
                when s.refresh_n = $2::bigint + 1
                     and s.refreshed_at > now() - $5::bigint * interval '1 second'
                then s.refresh_n end as n
    from sessions s
    where s.id = $1::uuid and (s.expires_at > now()) is true
    for update
), renewed as (
    update sessions t
    set refresh_n = s.n,
        refreshed_at = case when s.n > t.refresh_n then now()
                       else t.refreshed_at end,
        expires_at = greatest(t.expires_at, least(
            now() + $3::bigint * interval '1 second',
            t.created_at + $4::bigint * interval '1 second'))
    from s where t.id = s.id and s.n is not null
), ended as (
    delete from sessions t using s where t.id = s.id and s.n is null
)
select s.n, u.id, u.email, u.name, u.is_superuser
from s join users u on u.id = s.user_id
where u.is_active

-- name: session_end
-- Session $1 of user $2 ends.
delete from sessions where id = $1::uuid and (user_id = $2::uuid) is true

-- name: ticket_create
-- The ticket of hash $1 for session $2 of user $3, for $4 seconds; some that
-- have run out go. No row: the session has ended, or the account is gone or
-- deactivated.
with expired as (
    delete from tickets
    where token_hash in (
        select token_hash from tickets
        where expires_at < now()
        order by expires_at
        limit 20
        for update skip locked)
)
insert into tickets (token_hash, user_id, session_id, expires_at)
select $1::bytea, s.user_id, s.id, now() + $4::bigint * interval '1 second'
from sessions s
join users u on u.id = s.user_id
where s.id = $2::uuid and (s.user_id = $3::uuid) is true
  and (s.expires_at > now()) is true and u.is_active
returning expires_at

-- name: ticket_redeem
-- Uses up the ticket of hash $1: whose it is, and until when (seconds since
-- 1970) it is as good as an access token, which lives $2 seconds. No row: it is not good (any more), or they are
-- not.
with ticket as (
    delete from tickets
    where token_hash = $1::bytea
    returning user_id, session_id, expires_at
)
select u.id as user_id, s.id as session_id, u.is_superuser,
       floor(extract(epoch from least(s.expires_at,
           now() + $2::bigint * interval '1 second')))::bigint as expires_at
from ticket t
join users u on u.id = t.user_id
join sessions s on s.id = t.session_id
where t.expires_at > now() and u.is_active and (s.expires_at > now()) is true

-- name: credential_rehash
-- Puts hash $3 in the place of $2 for user $1. No row: it is another by now.
update credentials
set password_hash = $3::text, updated_at = now()
where user_id = $1::uuid and password_hash = $2::text
returning user_id

-- name: setup_token_create
-- The first-run token of hash $1, for $2 seconds, instead of any before. No
-- row: there is an administrator.
insert into setup_tokens (token_hash, expires_at)
select $1::bytea, now() + $2::bigint * interval '1 second'
where not exists (select from users where is_superuser)
on conflict ((true)) do update
set token_hash = excluded.token_hash, created_at = now(),
    expires_at = excluded.expires_at, used_at = null
returning expires_at

-- name: setup_state (read)
-- Whether there is an administrator, and whether hash $1 could make one.
select exists (select from users where is_superuser) as administrator,
       exists (select from setup_tokens
               where token_hash = $1::bytea and used_at is null
                     and expires_at > now()) as valid

-- name: setup_complete
-- Uses up the token of hash $1 and makes administrator $2 of address $3, name
-- $4, hash $5, both or neither. No row: the token is not good (any more), or
-- there is an administrator. A taken address is a violation, and leaves the
-- token as it was.
with token as (
    update setup_tokens
    set used_at = now()
    where token_hash = $1::bytea and used_at is null and expires_at > now()
          and not exists (select from users where is_superuser)
    returning token_hash
), account as (
    insert into users (id, email, name, is_superuser)
    select $2::uuid, $3::text, $4::text, true from token
    returning id, email, name, is_active, is_superuser, email_verified_at,
              created_at, updated_at, version
), credential as (
    insert into credentials (user_id, password_hash)
    select id, $5::text from account
)
select * from account
