-- schema.sql: what the database itself refuses, and what the workers' role
-- may do. pgTAP, run by schema.t as the superuser.

begin;

select no_plan();

insert into users (id, email, name) values
    ('00000000-0000-7000-8000-000000000001', 'Ada@example.org', 'Ada');

-- users
select throws_ok(
    $$insert into users (id, email, name) values
        (gen_random_uuid(), 'ADA@EXAMPLE.ORG', 'Other')$$,
    '23505', null, 'an address in another case is the same address');
select throws_ok(
    format($$insert into users (id, email, name)
        values (gen_random_uuid(), %L, 'X')$$, bad),
    '23514', null, 'not an address: ' || left(bad, 20))
from unnest(array['', 'a', 'a@', '@a', 'a b@c.d', E'a@b.c\n', 'ä@b.c',
    repeat('a', 251) || '@b.c']) as bad;
select throws_ok(
    $$update users set name = ''$$, '23514', null, 'a name is not empty');
select throws_ok(
    format('update users set name = %L', repeat('x', 201)),
    '23514', null, 'a name is at most 200 characters');
select lives_ok(
    format('update users set name = %L', repeat('ä', 200)),
    '200 characters of two bytes are a name');

-- credentials
select throws_ok(
    format($$insert into credentials values
        ('00000000-0000-7000-8000-000000000001', %L)$$, bad),
    '23514', null, 'not a hash: ' || left(bad, 20))
from unnest(array['', 'password', '$2b$12$abc',
    '$argon2i$v=19$m=1,t=1,p=1$a$b']) as bad;
select lives_ok(
    $$insert into credentials values
        ('00000000-0000-7000-8000-000000000001',
         '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn')$$,
    'a PHC string is a hash');
select throws_ok(
    $$insert into credentials values
        (gen_random_uuid(), '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn')$$,
    '23503', null, 'credentials are somebody''s');

-- sessions
select throws_ok(
    $$insert into sessions (id, user_id, expires_at) values
        (gen_random_uuid(), '00000000-0000-7000-8000-000000000001', now())$$,
    '23514', null, 'a session ends after it began');

-- setup_tokens
select throws_ok(
    $$insert into setup_tokens (token_hash, expires_at)
        values ('secret', now())$$,
    '23514', null, 'a token is kept as its hash only');
insert into setup_tokens (token_hash, expires_at) values (sha256('a'), now());
select throws_ok(
    $$insert into setup_tokens (token_hash, expires_at)
        values (sha256('b'), now())$$,
    '23505', null, 'there is one set-up token at most');

-- events
insert into events (channel, "offset", type, data)
    values ('project:1', 1, 'project.created', '{}');
select throws_ok(
    $$insert into events (channel, "offset", type, data)
        values ('project:1', 1, 'project.updated', '{}')$$,
    '23505', null, 'an offset is taken once in a channel');
select throws_ok(
    $$insert into events (channel, "offset", type, data)
        values ('project:1', 0, 'project.updated', '{}')$$,
    '23514', null, 'offsets begin at 1');
select matches((select epoch from outbox_epoch), '^[0-9a-f]{16}$',
    'offsets have an epoch');
select throws_ok('insert into outbox default values', '23505', null,
    'which is one');
select isnt(outbox_renew(), (select epoch from outbox_epoch),
    'and can be renewed');
select throws_ok(
    $$insert into tickets values ('secret', gen_random_uuid(),
        gen_random_uuid(), now())$$,
    '23514', null, 'a ticket is kept as its hash only');

-- idempotency_keys
select throws_ok(
    $$insert into idempotency_keys (user_id, key, operation, fingerprint)
        values (gen_random_uuid(), '', 'x', sha256('a'))$$,
    '23514', null, 'a key is not empty');
select throws_ok(
    $$insert into idempotency_keys (user_id, key, operation, fingerprint)
        values (gen_random_uuid(), 'k', 'x', 'a')$$,
    '23514', null, 'a fingerprint has 32 bytes');
select throws_ok(
    $$insert into idempotency_keys
        (user_id, key, operation, fingerprint, status, body)
        values (gen_random_uuid(), 'k', 'x', sha256('a'), 500, '{}')$$,
    '23514', null, 'a failure is not stored');
select throws_ok(
    $$insert into idempotency_keys (user_id, key, operation, fingerprint, body)
        values (gen_random_uuid(), 'k', 'x', sha256('a'), '{}')$$,
    '23514', null, 'no reply without a status');
insert into idempotency_keys (user_id, key, operation, fingerprint)
    values ('00000000-0000-0000-0000-000000000000', 'k', 'x', sha256('a'));
select throws_ok(
    $$insert into idempotency_keys (user_id, key, operation, fingerprint)
        values ('00000000-0000-0000-0000-000000000000', 'k', 'y',
                sha256('b'))$$,
    '23505', null, 'a key is used once by one user');
select lives_ok(
    $$insert into idempotency_keys (user_id, key, operation, fingerprint)
        values (gen_random_uuid(), 'k', 'x', sha256('a'))$$,
    'and again by another');

-- projects
select throws_ok(
    $$insert into projects (id, owner_id, name)
        values (gen_random_uuid(), gen_random_uuid(), 'x')$$,
    '23503', null, 'a project is somebody''s');
select throws_ok(
    format($$insert into projects (id, owner_id, name, description, config)
        values (gen_random_uuid(), '00000000-0000-7000-8000-000000000001',
                %L, %L, %L)$$, name, description, config),
    state, null, 'not a project: ' || what)
from (values
    ('', '', '{}', 'no name', '23514'),
    (repeat('x', 201), '', '{}', 'a long name', '22001'),
    ('x', repeat('x', 10001), '{}', 'a long description', '22001'),
    ('x', '', '[]', 'a list as configuration', '23514')
) as t (name, description, config, what, state);
insert into projects (id, owner_id, name, description)
    values (gen_random_uuid(), '00000000-0000-7000-8000-000000000001',
            'Bee hives', 'keeping and counting them');
select results_eq(
    $$select name::text from projects
      where to_tsvector('simple', name || ' ' || description)
          @@ websearch_to_tsquery('simple', 'counting hives')$$,
    $$values ('Bee hives')$$, 'name and description are searched');
select results_eq(
    $$select version::bigint, event_seq::bigint from projects$$,
    $$values (1::bigint, 1::bigint)$$, 'versions and offsets begin at 1');

-- the role of the workers
select ok(not rolsuper and not rolcreatedb and not rolcreaterole
          and not rolbypassrls, 'hive is an ordinary role')
from pg_roles where rolname = 'hive';
select is_empty(
    $$select oid::regclass from pg_class where relowner = 'hive'::regrole$$,
    'hive owns nothing');
select ok(not has_schema_privilege('hive', s, 'create'),
          'hive makes nothing in ' || s)
from unnest(array['hive', 'cell0', 'sqitch', 'public']) as s;
select is_empty(
    $$select relname, p
      from pg_class,
           unnest(array['truncate', 'references', 'trigger']) as p
      where relnamespace in ('hive'::regnamespace, 'cell0'::regnamespace)
            and relkind in ('r', 'p') and has_table_privilege('hive', oid, p)$$,
    'hive truncates nothing and attaches nothing');

set local role hive;
select throws_ok($$update events set data = '{}'$$, '42501', null,
    'what happened stays as it was');
select throws_ok($$delete from events$$, '42501', null,
    'for as long as it is kept');
select throws_ok($$select outbox_renew()$$, '42501', null,
    'hive does not renew the epoch');
select matches((select epoch from outbox_epoch), '^[0-9a-f]{16}$',
    'but reads it');
select throws_ok($$delete from users$$, '42501', null,
    'hive deletes no users');
select throws_ok($$update sqitch.changes set change = 'x'$$, '42501', null,
    'hive does not write the version');
select lives_ok($$select change from sqitch.changes$$, 'hive reads the version');
reset role;

-- deletion
delete from users;
select is_empty('select id from projects', 'projects go with their owner');
select is_empty('select user_id from credentials', 'and so do credentials');

select * from finish();
rollback;
