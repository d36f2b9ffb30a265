-- Deploy hive:events to pg

begin;

-- The outbox. A row is appended by the statement that makes the change, with
-- the sequence number of the changed row as its offset: gap-free per channel
-- because that row is locked by the same statement. Rows are never updated;
-- old ones are deleted by age, which the block-range index serves.
create table :"cell".events (
    channel    text not null,
    "offset"   bigint not null,
    type       text not null,
    data       jsonb not null,
    created_at timestamptz not null default now(),
    primary key (channel, "offset"),
    constraint events_channel_check check (length(channel) between 3 and 200),
    constraint events_offset_check check ("offset" >= 1),
    constraint events_type_check check (length(type) between 3 and 100)
) with (
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

create index events_created_at on :"cell".events
    using brin (created_at) with (autosummarize = on);

grant select, insert, delete on :"cell".events to hive;

commit;
