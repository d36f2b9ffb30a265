-- Deploy hive:events to pg

begin;

-- The outbox. A row is appended by the statement that makes the change, with
-- the sequence number of the changed row as its offset: gap-free per channel
-- because that row is locked by the same statement. Rows are never updated;
-- old ones are deleted by age, which the block-range index serves.
--
-- Checks are domains: a check constraint is parsed from its stored text by
-- every statement that inserts, which costs some microseconds each.
create domain :"cell".ordinal as bigint check (value >= 1);
create domain :"cell".identifier as varchar(200) check (length(value) >= 3);

create table :"cell".events (
    channel    :"cell".identifier not null,
    "offset"   :"cell".ordinal not null,
    type       :"cell".identifier not null,
    data       jsonb not null,
    created_at timestamptz not null default now(),
    primary key (channel, "offset")
) with (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

create index events_created_at on :"cell".events
    using brin (created_at) with (autosummarize = on);

grant select, insert, delete on :"cell".events to hive;

commit;
