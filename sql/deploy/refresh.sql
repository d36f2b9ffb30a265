-- Deploy hive:refresh to pg
-- Sessions outlive their access tokens: how often one has been renewed.

begin;

alter table hive.sessions
    add column refresh_n bigint not null default 0,
    add column refreshed_at timestamptz not null default now();

commit;
