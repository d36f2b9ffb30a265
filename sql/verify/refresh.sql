-- Verify hive:refresh on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect('hive.sessions', $$
    column refresh_n bigint not null 0
    column refreshed_at timestamp with time zone not null now()
$$);

rollback;
