-- Deploy hive:events to pg

begin;

-- The outbox. A row is appended by the statement that makes the change, with
-- the sequence number of the changed row as its offset: gap-free per channel,
-- and in the order of commits, because that row is locked by the same
-- statement. Rows are never updated, and go with the partition of their day
-- (sql/deploy/retention.sql); what falls outside of all days is in the default
-- one. `first`: the event stands for the offsets from there on (progress, of
-- which the last word says all); null: for its own alone.
--
-- Checks are domains: a check constraint is parsed from its stored text by
-- every statement that inserts, which costs some microseconds each.
create domain :"cell".ordinal as bigint check (value >= 1);
create domain :"cell".identifier as varchar(200) collate "C" check (
    length(value) >= 3);

-- When an id was made (UUIDv7: its first 48 bits are milliseconds): nothing has
-- happened to what it is of before. -infinity: it does not tell. Not "strict",
-- which would keep it from being inlined.
create function :"cell".id_time(id uuid) returns timestamptz
language sql immutable parallel safe
return case when substr(id::text, 15, 1) = '7' then to_timestamp(('x' ||
    substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint
    / 1000.0) else '-infinity' end;

create table :"cell".events (
    channel    :"cell".identifier not null,
    "offset"   :"cell".ordinal not null,
    first      bigint,
    type       :"cell".identifier not null,
    data       jsonb not null,
    created_at timestamptz not null default now(),
    primary key (channel, "offset", created_at)
) partition by range (created_at);
create table :"cell".events_default
    partition of :"cell".events default;

-- The events of a channel behind offset `after`, of which there are some when
-- `head` is beyond it: up to `most` of them, in order, of those made from
-- `since` on and before `till`: partitions of other days are not looked at.
create function :"cell".events_after(asked text, after bigint, head bigint,
    most bigint, since timestamptz, till timestamptz)
returns table ("offset" bigint, first bigint, type text, data jsonb,
    created_at timestamptz)
language sql stable parallel safe
begin atomic
    select e."offset", e.first, e.type, e.data, e.created_at
    from :"cell".events e
    where e.channel = asked and e."offset" > after and after < head
      and e.created_at >= since and e.created_at < till
    order by e."offset"
    limit most;
end;

-- Channels that are about no row of another table (user:<id>, system) have
-- their counter here; whoever appends to one locks it.
create table :"cell".channels (
    channel   :"cell".identifier primary key,
    event_seq :"cell".ordinal not null default 1
) with (fillfactor = 80);

-- Offsets are comparable within an epoch. It is another one when they may have
-- gone back: after a restore into another cluster (its system identifier), to
-- a point in time, or a failover to a standby that lacked the end of the log
-- (the timeline), into another database of this cluster (its oid), or into
-- this one (the row of `outbox` is then another). What none of these tells, a
-- cold copy of the files put back in their place, the owner tells by hand:
-- select outbox_renew();
create table :"cell".outbox (
    mark uuid not null default gen_random_uuid()
);
create unique index outbox_single on :"cell".outbox ((true));
insert into :"cell".outbox default values;

-- Where we are. "Immutable" has it looked up when a statement is planned: a plan
-- lives in one session, and no session sees it change.
create function :"cell".outbox_place() returns text
language sql immutable
begin atomic
    select concat_ws(' ', s.system_identifier,
        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), d.oid)
    from pg_control_system() s
    join pg_database d on d.datname = current_database();
end;

create view :"cell".outbox_epoch as
    select left(encode(sha256(convert_to(concat_ws(' ', o.mark, o.xmin,
        o.tableoid, :"cell".outbox_place()), 'UTF8')), 'hex'), 16) as epoch
    from :"cell".outbox o;

create function :"cell".outbox_renew() returns text
language sql
begin atomic
    update :"cell".outbox set mark = gen_random_uuid();
    select e.epoch from :"cell".outbox_epoch e;
end;
revoke all on function :"cell".outbox_renew() from public;

grant select, insert on :"cell".events to hive;
grant select, insert, update on :"cell".channels to hive;
grant select on :"cell".outbox_epoch to hive;

commit;
