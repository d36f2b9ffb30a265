-- Verify hive:events on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.events', :'cell'), $$
    column channel text not null
    column offset bigint not null
    column type text not null
    column data jsonb not null
    column created_at timestamp with time zone not null now()
    constraint events_channel_check CHECK (((length(channel) >= 3) AND (length(channel) <= 200)))
    constraint events_offset_check CHECK (("offset" >= 1))
    constraint events_type_check CHECK (((length(type) >= 3) AND (length(type) <= 100)))
    constraint events_pkey PRIMARY KEY (channel, "offset")
    index unique events_pkey btree (channel, "offset")
    index events_created_at brin (created_at) WITH (autosummarize='on')
    option autovacuum_vacuum_insert_scale_factor=0.05
    option autovacuum_analyze_scale_factor=0.05
    grant select
    grant insert
    grant delete
$$);

rollback;
