-- Deploy hive:projects to pg

begin;

-- Checks are domains, and the search is an index over an expression, not over
-- a generated column: see events.
create domain :"cell".title as varchar(200) check (value <> '');
create domain :"cell".document as jsonb check (
    jsonb_typeof(value) = 'object');

create table :"cell".projects (
    id          uuid primary key,
    owner_id    uuid not null references hive.users (id) on delete cascade,
    name        :"cell".title not null,
    description varchar(10000) not null default '',
    archived_at timestamptz,
    config      :"cell".document not null default '{}',
    version     :"cell".ordinal not null default 1,
    event_seq   :"cell".ordinal not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
) with (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

-- One for each sort of the list; id ends ties, for the cursor.
create index projects_owner_created
    on :"cell".projects (owner_id, created_at, id);
create index projects_owner_updated
    on :"cell".projects (owner_id, updated_at, id);
create index projects_owner_name on :"cell".projects (owner_id, name, id);
create index projects_search on :"cell".projects
    using gin (to_tsvector('simple', name || ' ' || description));

grant select, insert, update, delete on :"cell".projects to hive;

commit;
