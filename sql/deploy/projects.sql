-- Deploy hive:projects to pg

begin;

create table :"cell".projects (
    id          uuid primary key,
    owner_id    uuid not null references hive.users (id) on delete cascade,
    name        text not null,
    description text not null default '',
    archived_at timestamptz,
    config      jsonb not null default '{}',
    version     bigint not null default 1,
    event_seq   bigint not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    search      tsvector not null generated always as (
        setweight(to_tsvector('simple', name), 'A')
        || setweight(to_tsvector('simple', description), 'B')) stored,
    constraint projects_name_check check (length(name) between 1 and 200),
    constraint projects_description_check check (
        length(description) <= 10000),
    constraint projects_config_check check (jsonb_typeof(config) = 'object'),
    constraint projects_version_check check (version >= 1),
    constraint projects_event_seq_check check (event_seq >= 1)
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
create index projects_search on :"cell".projects using gin (search);

grant select, insert, update, delete on :"cell".projects to hive;

commit;
