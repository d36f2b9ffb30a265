-- Deploy hive:presence to pg
-- Who watches a channel now, as the hubs in nginx tell it. Nothing of it is
-- logged: after a crash each hub tells all of it again, within half a minute.

begin;

-- A process of nginx. One that was not heard of for a while is dead, and what
-- it told goes.
create unlogged table :"cell".presence_nodes (
    node    uuid primary key,
    seen_at timestamptz not null
);

create unlogged table :"cell".presence (
    channel     :"cell".identifier not null,
    user_id     uuid not null,
    node        uuid not null,
    connections integer not null,
    primary key (channel, user_id, node)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index presence_node on :"cell".presence (node);

insert into :"cell".chores (name) values ('presence');

grant select, insert, update, delete on
    :"cell".presence_nodes, :"cell".presence to hive;

commit;
